"""`qcore.kv.SyncKeyValue` with a real node."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import pytest

from qcore.client import SyncClient
from qcore.errors import LeaseNotFound, WatchCompacted
from qcore.kv import Condition, KeyValue, Put, SyncKeyValue
from qcore.testing import LocalCluster

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def kv() -> Iterator[SyncKeyValue]:
    """The keys of one node."""
    with (
        LocalCluster(size=1, machine="kv") as cluster,
        SyncClient(cluster.endpoints) as client,
    ):
        yield SyncKeyValue(client)


def test_it_has_every_method_of_the_asynchronous_one() -> None:
    public = {
        name for name, _ in inspect.getmembers(KeyValue, callable) if not name.startswith("_")
    }
    assert {name for name in vars(SyncKeyValue) if not name.startswith("_")} == public


def test_keys_are_set_read_and_deleted(kv: SyncKeyValue) -> None:
    revision = kv.put("a/1", "x")
    found = kv.get("a/1")
    assert found is not None
    assert (found.text, found.mod_revision) == ("x", revision)
    done = kv.txn([Condition.exists("a/2", False)], [Put("a/2", b"\xff")])
    assert done.succeeded
    assert [each.value for each in kv.items("a/", page_size=1)] == [b"x", b"\xff"]
    assert kv.delete(prefix="a/").count == 2
    assert kv.get("a/1") is None


def test_errors_are_those_of_the_asynchronous_one(kv: SyncKeyValue) -> None:
    with pytest.raises(LeaseNotFound):
        kv.keep_alive(987_654)


def test_a_watch_is_an_iterator(kv: SyncKeyValue) -> None:
    first = kv.put("w", "1")
    with kv.watch("w", from_revision=first) as changes:
        kv.put("w", "2")
        kv.delete("w")
        seen = [next(changes) for _ in range(3)]
    assert [(change.kind, change.kv.value) for change in seen] == [
        ("put", b"1"),
        ("put", b"2"),
        ("delete", b""),
    ]
    kv.compact(kv.status().revision)
    with pytest.raises(WatchCompacted), kv.watch("w", from_revision=first) as changes:
        next(changes)
