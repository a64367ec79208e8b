"""Parts of the gateway that a request over HTTP does not reach soon, in front of a real cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from prometheus_client import Gauge

from qcore.client import Client
from qcore.errors import ConnectionLost, NotLeader, OutcomeUnknown, Overloaded, QcoreError, TooStale
from qcore.gateway.cluster_facts import ClusterFacts
from qcore.gateway.etcd_errors import etcd_error
from qcore.gateway.json_forms import Fields
from qcore.gateway.machine_access import Machine, Outage
from qcore.gateway.operations.ranges_of_keys import RangeRequest, read_range
from qcore.gateway.operations.watch_stream import WatchStream
from qcore.kv import KeyValue, Put
from qcore.kv.kv_client import DEFAULT_COMMAND_BYTES
from qcore.machines.kv.requests import MAX_TXN_PARTS
from qcore.machines.limits import MAX_OPERATIONS
from qcore.testing import LocalCluster
from tests.gateway.etcd_client import b64
from tests.transport.support.endpoints import async_test


def machine_of(client: Client) -> Machine:
    return Machine(client, Outage(), has_token=False, max_command_bytes=DEFAULT_COMMAND_BYTES)


@pytest.mark.process
@async_test
async def test_a_range_of_any_size_is_sorted_and_counted(kv_cluster: LocalCluster) -> None:
    """The machine sorts and counts at most `MAX_OPERATIONS` keys; the gateway does the rest."""
    size = MAX_OPERATIONS + 100
    async with kv_cluster.client() as client:
        kv = KeyValue(client)
        for first in range(0, size, MAX_TXN_PARTS - 1):
            numbers = range(first, min(size, first + MAX_TXN_PARTS - 1))
            await kv.txn([], [Put(f"many/{number:05}", str(size - number)) for number in numbers])
        machine = machine_of(client)
        named = {"key": b64("many/"), "range_end": b64("many0")}
        revision = await machine.revision()

        async def found(**more: object) -> tuple[list[bytes], int, bool]:
            request = RangeRequest.read(Fields({**named, **more}))
            answer = await read_range(machine, request)
            return [str(kv["key"]).encode() for kv in answer.kvs], answer.count, answer.more

        keys, count, more = await found(sort_target="VALUE", limit=3)
        assert (keys[0], count, more) == (b"many/%05d" % (size - 1), size, True)
        keys, count, more = await found(sort_order="DESCEND")
        assert (keys[0], len(keys), count, more) == (b"many/%05d" % (size - 1), size, size, False)
        keys, count, _ = await found(max_create_revision=str(revision - 1), keys_only=True)
        assert 0 < len(keys) < size == count
        await kv.delete(prefix="many/0000")
        assert await found(revision=revision, count_only=True) == ([], size, False)
        assert await found(count_only=True) == ([], size - 10, False)
        for tens_of_thousands in "012":  # a deletion has a limit, too
            await kv.delete(prefix=f"many/{tens_of_thousands}")


@pytest.mark.process
@async_test
async def test_an_idle_watch_reports_progress_if_asked(kv_cluster: LocalCluster) -> None:
    answers: asyncio.Queue[dict[str, object]] = asyncio.Queue()
    async with kv_cluster.client() as client:
        machine = machine_of(client)
        facts = ClusterFacts(client, ["http://127.0.0.1:2379"])
        stream = WatchStream(machine, facts, answers.put, Gauge("w", "w", registry=None), 0.02)
        before = await KeyValue(client).put("a", "1")
        create = {"key": b64("a"), "progress_notify": True}
        try:
            await stream.take(Fields({"create_request": create}))
            created, first, second = [await answers.get() for _ in range(3)]
            assert created["created"] is True
            assert first.keys() == second.keys() == {"header"}
            assert first["header"]["revision"] == str(before)  # type: ignore[index]  # JSON
            revision = await KeyValue(client).put("a", "2")
            while "events" not in (answer := await answers.get()):
                pass
            progress = await answers.get()
            assert progress["header"] == answer["header"]
            assert answer["header"]["revision"] == str(revision)  # type: ignore[index]  # JSON
        finally:
            await stream.close()


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (OutcomeUnknown("x"), 503, 14),
        (ConnectionLost("x"), 503, 14),
        (NotLeader(), 503, 14),
        (TooStale("x"), 503, 14),
        (Overloaded.because("x", 5), 429, 8),
        (QcoreError("x"), 503, 14),
    ],
    ids=lambda each: type(each).__name__ if isinstance(each, QcoreError) else None,
)
def test_no_error_of_qcore_looks_like_success_or_a_traceback(
    error: QcoreError, status: int, code: int
) -> None:
    shown = etcd_error(error, has_token=False)
    assert (shown.status, int(shown.code)) == (status, code)
    assert shown.text.startswith("etcdserver: ")


def test_an_outage_is_two_lines_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    outage = Outage()
    notes: list[Callable[[], None]] = [
        lambda: outage.note(OutcomeUnknown("no leader")),
        lambda: outage.note(OutcomeUnknown("no answer")),
        lambda: outage.note(None),
        lambda: outage.note(None),
    ]
    with caplog.at_level("INFO", "qcore.gateway"):
        for note in notes:
            note()
    first, second = [record.getMessage() for record in caplog.records]
    assert first == "the cluster does not answer: no leader"
    assert second.startswith("the cluster answers again, after 0.")
