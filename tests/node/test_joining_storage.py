"""The cluster id becomes durable with the first configuration, and a crash in between is repaired."""

from __future__ import annotations

import pytest

from qcore.core.effects import AppendLog, SaveHardState, StoreSnapshot
from qcore.core.entry import Entry, HardState, Membership, Snapshot, SnapshotMeta
from qcore.errors import DiskFull, StorageError
from qcore.node.joining_storage import JoiningStorage
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


def test_a_crash_between_both_writes_is_repaired_at_startup() -> None:
    inner = MemoryStorage(1)
    inner.write([TERM, CONFIGURATION])  # and the process dies before `join_cluster`
    storage = JoiningStorage(inner)
    assert storage.identity().cluster_id is None
    storage.load()
    assert inner.identity().cluster_id == "red"


class NoSpaceToJoin(MemoryStorage):
    """A disk with room for writes, but at first none for the cluster id."""

    is_full = True

    def join_cluster(self, cluster_id: str) -> None:
        if self.is_full:
            raise DiskFull("no space")
        super().join_cluster(cluster_id)


def test_a_full_disk_delays_joining_and_keeps_the_write() -> None:
    """Reported as `DiskFull`, the write would be tried again, and done twice."""
    inner = NoSpaceToJoin(1)
    storage = JoiningStorage(inner)
    storage.write([TERM, CONFIGURATION])
    assert (storage.identity().cluster_id, inner.identity().cluster_id) == ("red", None)
    storage.write([], commit=1)
    assert inner.identity().cluster_id is None
    inner.is_full = False
    storage.write([AppendLog(3, [Entry(2, 2, "command", "x", 5)])])
    assert inner.identity().cluster_id == "red"
    assert [entry.index for entry in storage.load().entries] == [1, 2]


def test_a_full_disk_at_startup_delays_joining_until_idle() -> None:
    inner = NoSpaceToJoin(1)
    inner.write([TERM, CONFIGURATION])
    storage = JoiningStorage(inner)
    storage.load()
    assert storage.identity().cluster_id == "red"
    inner.is_full = False
    storage.idle()
    assert inner.identity().cluster_id == "red"


def test_another_cluster_is_rejected() -> None:
    storage = JoiningStorage(MemoryStorage(1))
    storage.write([TERM, CONFIGURATION])
    with pytest.raises(StorageError, match="red"):
        storage.join_cluster("blue")
