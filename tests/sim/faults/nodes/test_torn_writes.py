"""A write that is half on the disk after a power loss is cut away as a whole."""

from __future__ import annotations

from random import Random

import pytest

from qcore.core.effects import AppendLog, SaveHardState, StoreSnapshot, TruncateLog, Write
from qcore.core.entry import DurableState, Entry, HardState, Membership, Snapshot, SnapshotMeta
from qcore.sim.faults.ledger import Fault
from qcore.sim.world.clock.engine import Engine
from qcore.sim.world.node import disk_content
from qcore.sim.world.node.disk import SimDisk
from tests.sim.support.scenario_texts import failures, run, seen


def entries(*indexes: int) -> list[Entry]:
    return [Entry(i, 1, "command", f"command {i}", 1000 + i) for i in indexes]


SNAPSHOT = Snapshot(SnapshotMeta(2, 1, 1002, Membership(voters=(1,))), "the state")
WRITES: list[Write] = [
    AppendLog(9, entries(4, 5, 6)),
    SaveHardState(9, HardState(7, 2, 0)),
    TruncateLog(9, 2),
    StoreSnapshot(9, SNAPSHOT, 2, False),
]


def torn_disk(write: Write) -> SimDisk:
    """A disk with three entries whose power failed in the middle of a write."""
    disk = SimDisk(Engine(), lambda: 1000, DurableState(HardState(1, 1, 0), None, entries(1, 2, 3)))
    disk.submit(write)
    disk.start_sync()
    assert disk.crash(power_loss=True, torn=True) == 1
    assert disk.content.is_torn
    return disk


@pytest.mark.parametrize("write", WRITES, ids=lambda write: type(write).__name__)
def test_a_torn_write_leaves_no_trace_after_the_start(write: Write) -> None:
    disk = torn_disk(write)
    assert disk.load() == DurableState(HardState(1, 1, 0), None, entries(1, 2, 3))
    assert not disk.content.is_torn
    disk.submit(AppendLog(10, entries(4)))
    disk.start_sync()
    disk.crash(power_loss=False)
    assert disk.load().entries == entries(1, 2, 3, 4)


def test_without_checksums_half_of_the_write_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk_content, "is_sound", lambda _stored, _computed: True)
    read = torn_disk(WRITES[0]).load().entries
    assert [entry.index for entry in read] == [1, 2, 3, 4, 5]
    assert read[-1].data == "comm"
    vote = torn_disk(WRITES[1]).load().hard_state
    assert (vote.term, vote.voted_for) == (7, None)
    assert torn_disk(WRITES[3]).load().snapshot == Snapshot(SNAPSHOT.meta, "the ")


def test_without_checksums_rot_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk_content, "is_sound", lambda _stored, _computed: True)
    state = DurableState(HardState(1, 1, 0), SNAPSHOT, [*entries(3), Entry(4, 1, "noop", "", 9)])
    content = disk_content.DiskContent(state, "disk")
    content.rot_snapshot(Fault("rot"), Random(1))
    for entry in state.entries:
        content.rot_entry(entry, Fault("rot"), Random(1))
    found = content.read()
    assert found.snapshot is not None
    assert found.snapshot.data != SNAPSHOT.data
    assert found.entries[0].data != "command 3"
    assert found.entries[1].time_us != 9
    assert content.state == state, "what was written is still known"


def test_a_power_loss_without_a_write_in_progress_tears_none() -> None:
    result = run(
        "[{at_ms: 1000, power_loss: {nodes: 3, torn: true}, for_ms: 100}]",
        until_ms="2000",
        workload="{clients: 0}",
    )
    assert seen(result)["every_fault_acted"] == "timeline[0] power_loss never acted"


@pytest.mark.parametrize("survives", ["none", "1", "random"])
def test_no_acknowledged_write_is_lost_by_torn_writes(survives: str) -> None:
    result = run(
        f"[{{at_ms: 1005, power_loss: {{nodes: all, survives: {survives}, torn: true}}, for_ms: 60,"
        " every_ms: 411, times: 4}]",
        "{unsynced_writes_lost: '> 0', starts_refused: 0, acknowledged_writes_present: true, converges: true}",
        cluster="{nodes: 3, disk: {latency_ms: 20}}",
        workload="{clients: 5, rate_per_s: 300, read_fraction: 0, cas_fraction: 0, keys: 200}",
        until_ms="4000",
    )
    assert result.ok, failures(result)
