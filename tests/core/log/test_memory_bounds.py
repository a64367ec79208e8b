"""The memory of one server is bounded, whatever its peers do."""

from __future__ import annotations

from qcore.core.config import RaftConfig
from qcore.core.effects import MessageDropped
from qcore.core.entry import ENTRY_OVERHEAD_BYTES
from qcore.core.events import PeerUnreachable, SnapshotTaken
from qcore.core.log.raft_log import RaftLog
from qcore.core.messages import InstallSnapshot
from tests.core.support.single_core import THREE, entries, only, receive, restored
from tests.driver.cores import CoreCluster


def test_log_kept_after_a_snapshot_is_bounded_in_bytes() -> None:
    core = restored([1] * 100, term=1, commit=90)
    ten = sum(entry.size_bytes() for entry in core.log_entries()[70:80])
    core.step(SnapshotTaken(80, "x", keep_entries=50, keep_bytes=ten), 1)
    assert core.status().first_log_index == 71, "the bytes allow ten of the fifty entries"
    assert core.last_log_index == 100


def test_the_newest_entries_within_some_bytes_are_counted() -> None:
    log = RaftLog(entries(1, *[1] * 20))
    assert log.count_within(15, 4 * ENTRY_OVERHEAD_BYTES, 99) == 4
    assert log.count_within(15, 4 * ENTRY_OVERHEAD_BYTES - 1, 99) == 3
    assert log.count_within(15, 1 << 30, 5) == 5
    assert log.count_within(3, 1 << 30, 99) == 3
    assert log.count_within(3, 0, 99) == 0
    assert log.count_within(3, 1 << 30, 0) == 0


def test_snapshot_beyond_the_limit_is_not_assembled() -> None:
    core = restored(config=RaftConfig(1, max_snapshot_size=100))
    for total, taken in ((100, True), (101, False)):
        chunk = InstallSnapshot(
            term=2,
            leader_id=2,
            last_included_index=50,
            last_included_term=1,
            last_included_time_us=0,
            membership=THREE,
            offset=0,
            total=total,
            checksum=1,
            data="x" * 50,
            round=0,
        )
        effects = receive(core, 2, chunk)
        if not taken:
            assert "senseless" in only(effects, MessageDropped).reason
        incoming = core._server.incoming_snapshot
        assert incoming is not None
        assert incoming.total == 100


def test_a_silent_follower_keeps_no_old_snapshot_in_memory() -> None:
    cluster = CoreCluster.of(3)
    cluster.elect(1)
    cluster.crash(3)
    cluster.propose(1, "a", "b")
    cluster.settle()
    cluster.take_snapshot(1)
    cluster.step(1, PeerUnreachable(3))
    cluster.propose(1, "c")
    cluster.settle()
    server = cluster.core(1)._server
    for number in range(30):
        cluster.timeout(1)
        cluster.propose(1, f"c{number}")
        cluster.settle()
        if number % 10 == 9:
            cluster.take_snapshot(1)
            transfer = server.progress[3].snapshot
            assert transfer is None or transfer.snapshot is server.snapshot
    assert not server.progress[3].inflight
