"""The cluster's id becomes durable with the first configuration, and a crash in between is made good."""

from __future__ import annotations

import pytest

from qcore.core.effects import AppendLog, SaveHardState, StoreSnapshot
from qcore.core.entry import Entry, HardState, Membership, Snapshot, SnapshotMeta
from qcore.errors import StorageError
from qcore.node.membership_storage import JoiningStorage
from qcore.storage.memory import MemoryStorage

RED = Membership(voters=(1,), addresses=((1, "a:1"),), cluster_id="red")
TERM = SaveHardState(1, HardState(term=2))
CONFIGURATION = AppendLog(2, [Entry(1, 1, "membership", RED.to_json(), 5)])


def test_a_configuration_joins_its_cluster() -> None:
    storage = JoiningStorage(MemoryStorage(1))
    storage.write([TERM])
    assert storage.identity().cluster_id is None
    storage.write([CONFIGURATION])
    assert storage.identity().cluster_id == "red"


def test_a_snapshot_joins_its_cluster() -> None:
    storage = JoiningStorage(MemoryStorage(1))
    snapshot = Snapshot(SnapshotMeta(9, 2, 0, RED), "state")
    storage.write([TERM, StoreSnapshot(2, snapshot, 9, True)])
    assert storage.identity().cluster_id == "red"


def test_a_crash_between_the_two_writes_is_made_good_at_the_next_start() -> None:
    inner = MemoryStorage(1)
    inner.write([TERM, CONFIGURATION])  # and the process dies before `join_cluster`
    storage = JoiningStorage(inner)
    assert storage.identity().cluster_id is None
    storage.load()
    assert inner.identity().cluster_id == "red"


def test_another_cluster_is_refused() -> None:
    storage = JoiningStorage(MemoryStorage(1))
    storage.write([TERM, CONFIGURATION])
    with pytest.raises(StorageError, match="red"):
        storage.join_cluster("blue")
