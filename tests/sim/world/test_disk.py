"""The simulated disk: what survives a crash, how writes share syncs, and the storage conformance suite."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from qcore.core.effects import AppendLog, SaveHardState
from qcore.core.entry import DurableState, Entry, HardState
from qcore.core.log.durable_state import apply_write
from qcore.sim.faults.ledger import Fault, Firing
from qcore.sim.scenario.distributions import fixed
from qcore.sim.world.clock.engine import Engine
from qcore.sim.world.node.disk import SimDisk
from qcore.sim.world.node.disk_failures import IoErrors
from qcore.testing.conformance.storage_conformance import NODE_ID, Opener, StorageConformance
from tests.sim.support.disk_storage import SimDiskStorage

SYNC_US = 1000


class TestSimulatedDiskConforms(StorageConformance):
    examples = 100

    def make(self) -> Opener:
        storage = SimDiskStorage(NODE_ID)
        storage.close()
        return storage.reopen


def append(index: int) -> AppendLog:
    return AppendLog(index, [Entry(index, 1, "command", f"c{index}", index)])


def make_disk() -> tuple[Engine, SimDisk, list[int]]:
    engine = Engine()
    disk = SimDisk(engine, lambda: SYNC_US, DurableState())
    durable: list[int] = []
    disk.on_durable = durable.append
    return engine, disk, durable


def indexes(state: DurableState) -> list[int]:
    return [entry.index for entry in state.entries]


def test_writes_during_a_sync_share_the_next_sync() -> None:
    engine, disk, durable = make_disk()
    for index in (1, 2, 3):
        disk.submit(append(index))
        disk.start_sync()
    engine.run(SYNC_US + 1)
    assert durable == [1]
    engine.run(2 * SYNC_US + 1)
    assert durable == [1, 3]
    assert disk.syncs == 2


def test_a_process_crash_keeps_writes_the_system_already_has() -> None:
    engine, disk, durable = make_disk()
    disk.submit(append(1))
    disk.start_sync()
    disk.submit(append(2))  # waits in the process for the sync to end
    engine.run(SYNC_US // 2)
    assert disk.crash(power_loss=False) == 1
    assert indexes(disk.load()) == [1]
    engine.run(10 * SYNC_US)
    assert durable == [], "the sync must not be reported to a dead process"


def test_a_power_loss_loses_every_unsynced_write() -> None:
    engine, disk, _ = make_disk()
    disk.submit(append(1))
    disk.start_sync()
    engine.run(SYNC_US + 1)
    disk.submit(append(2))
    disk.start_sync()
    disk.submit(append(3))
    engine.run(SYNC_US + SYNC_US // 2)
    assert disk.crash(power_loss=True) == 2
    assert indexes(disk.load()) == [1]
    assert disk.writes_lost == 2


def test_the_disk_works_again_after_a_crash_during_a_sync() -> None:
    engine, disk, durable = make_disk()
    disk.submit(append(1))
    disk.start_sync()
    engine.run(SYNC_US // 2)
    disk.crash(power_loss=True)
    disk.submit(append(1))
    disk.start_sync()
    engine.run(SYNC_US + 1)
    assert durable == [], "the end of the old sync must not make the new write durable"
    engine.run(2 * SYNC_US)
    assert durable == [1]


def test_a_stalled_disk_completes_no_sync_until_it_recovers() -> None:
    engine, disk, durable = make_disk()
    fault = Fault("stall")
    disk.stall(Firing(fault))
    disk.submit(append(1))
    disk.start_sync()
    engine.run(50 * SYNC_US)
    assert durable == []
    assert fault.acted == 1
    disk.recover()
    assert durable == [1]


def test_a_stall_without_writes_never_acts() -> None:
    engine, disk, _ = make_disk()
    fault = Fault("stall")
    disk.stall(Firing(fault))
    engine.run(50 * SYNC_US)
    disk.recover()
    assert fault.acted == 0


def test_a_slow_disk_delays_syncs_and_the_fault_acts() -> None:
    engine, disk, durable = make_disk()
    fault = Fault("slow")
    disk.slow_down(lambda: 9 * SYNC_US, Firing(fault))
    disk.submit(append(1))
    disk.start_sync()
    engine.run(10 * SYNC_US - 1)
    assert durable == []
    engine.run(10 * SYNC_US + 1)
    assert durable == [1]
    assert fault.acted == 1


def test_the_commit_index_joins_the_next_write_and_never_falls() -> None:
    engine, disk, _ = make_disk()
    disk.submit(append(1))
    disk.save_commit(1)
    disk.start_sync()
    engine.run(SYNC_US + 1)
    disk.submit(SaveHardState(2, HardState(2, None, 0)))
    disk.start_sync()
    engine.run(3 * SYNC_US)
    assert disk.load().hard_state == HardState(2, None, 1)


@given(
    gaps=st.lists(st.integers(0, 3 * SYNC_US), min_size=1, max_size=12),
    crash_after=st.integers(0, 30 * SYNC_US),
    power_loss=st.booleans(),
)
def test_a_crash_keeps_a_prefix_with_all_durable_writes(
    gaps: list[int], crash_after: int, power_loss: bool
) -> None:
    engine, disk, durable = make_disk()
    due = 0
    submitted: list[AppendLog] = []

    def write(index: int) -> None:
        submitted.append(append(index))
        disk.submit(submitted[-1])
        disk.start_sync()

    for number, gap in enumerate(gaps, start=1):
        due += gap
        engine.at(due, lambda number=number: write(number))  # type: ignore[misc]  # binds the value of the loop
    engine.run(crash_after + 1)
    reported = durable[-1] if durable else 0
    disk.crash(power_loss=power_loss)
    held = indexes(disk.load())
    assert held == list(range(1, len(held) + 1))
    assert len(held) >= reported
    if power_loss:
        assert len(held) == reported
    expected = DurableState()
    for one in submitted[: len(held)]:
        apply_write(expected, one)
    assert disk.load().entries == expected.entries


def test_latency_is_drawn_for_each_sync() -> None:
    engine = Engine()
    disk = SimDisk(engine, fixed(2).sampler(Random(1)), DurableState())
    disk.submit(append(1))
    disk.start_sync()
    engine.run(1999)
    assert not disk.is_idle
    engine.run(2001)
    assert disk.is_idle


def test_wiping_a_disk_blanks_it_and_returns_the_old_state() -> None:
    engine, disk, durable = make_disk()
    disk.submit(SaveHardState(1, HardState(3, 2, 0)))
    disk.submit(append(1))
    disk.start_sync()
    engine.run(SYNC_US + 1)
    disk.submit(append(2))
    disk.start_sync()
    lost = disk.wipe()
    assert (lost.hard_state.term, indexes(lost)) == (3, [1])
    assert disk.load() == DurableState()
    engine.run(5 * SYNC_US)
    assert disk.load() == DurableState(), "writes in progress must not reach the new disk"
    assert durable == [1]
    disk.submit(append(1))
    disk.start_sync()
    engine.run(7 * SYNC_US)
    assert indexes(disk.durable) == [1]
    assert lost.entries is not disk.durable.entries


def test_a_batch_lost_at_a_failed_sync_takes_its_commit_along() -> None:
    """Both are in one transaction. A commit index without its entries would commit others at the next start."""
    engine, disk, _durable = make_disk()
    disk.submit(append(1))
    disk.start_sync()
    engine.run(SYNC_US + 1)
    failing = IoErrors(Firing(Fault("error")), "sync", None, lambda: False, lambda: None)
    disk.failures.add_errors(failing)
    disk.submit(append(2))
    disk.save_commit(2)
    disk.start_sync()
    engine.run(3 * SYNC_US)
    disk.crash(power_loss=False)
    assert indexes(disk.durable) == [1]
    assert disk.durable.hard_state.commit == 0
