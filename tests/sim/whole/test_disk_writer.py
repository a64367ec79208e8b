"""The disk of a whole node: what its writer reports, and in which order, on a disk that also fails."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qcore.core.effects import AppendLog, SaveHardState, Write
from qcore.core.entry import DurableState, Entry, HardState, Membership
from qcore.core.log.disk_errors import DISK_FULL_RETRY_MS
from qcore.errors import DiskFull, StorageError
from qcore.node.joining_storage import JoiningStorage
from qcore.sim.faults.ledger import Fault, FaultLedger, Firing
from qcore.sim.world.clock.engine import Engine
from qcore.sim.world.node.disk import SimDisk
from qcore.sim.world.node.disk_failures import IoErrors
from qcore.sim.world.whole.disk_storage import DiskStorage, DiskWriter

_SYNC_US = 500


@dataclass
class Bench:
    """A writer, and what it has reported."""

    engine: Engine = field(default_factory=Engine)
    reports: list[tuple[int, str, object]] = field(default_factory=list)
    deferred: list[Callable[[], object]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.disk = SimDisk(self.engine, lambda: _SYNC_US, DurableState())
        self.storage = DiskStorage(1, self.disk, self.disk.load())
        self.writer = DiskWriter(
            self.disk,
            lambda action: self.deferred.append(action),
            JoiningStorage(self.storage),
            lambda action: action(),
            on_durable=lambda number: self.report("durable", number),
            on_error=lambda error: self.report("error", error),
            on_disk_full=lambda why: self.report("full", why is not None),
            on_snapshot_stored=lambda index: self.report("snapshot", index),
            loaded=self.disk.load(),
        )
        self.writer.start()

    def report(self, what: str, value: object) -> None:
        self.reports.append((self.engine.now, what, value))

    def submit(self, *writes: Write, commit: int | None = None) -> None:
        self.writer.submit(writes, commit)

    def end_callback(self) -> None:
        """The callback that submitted is over."""
        deferred, self.deferred = self.deferred, []
        for action in deferred:
            action()

    def run(self, us: int = 10 * _SYNC_US) -> None:
        self.end_callback()
        self.engine.run(self.engine.now + us)


def append(write_id: int, index: int, text: str = "x") -> AppendLog:
    return AppendLog(write_id, [Entry(index, 1, "command", text, 0)])


def firing() -> Firing:
    fault: Fault = FaultLedger().declare("a fault", "disk_error")
    return Firing(fault)


def test_writes_are_reported_once_the_disk_has_synced_them() -> None:
    bench = Bench()
    bench.submit(append(1, 1), append(2, 2))
    bench.submit(SaveHardState(3, HardState(2, 1, 0)), commit=1)
    assert (bench.writer.pending.writes, bench.reports) == (3, [])
    bench.run()
    assert bench.reports == [(_SYNC_US, "durable", 3)], "one sync for all"
    assert bench.disk.durable.hard_state == HardState(2, 1, 1)
    assert (bench.writer.pending.writes, bench.writer.footprint.last_index) == (0, 2)


def test_the_disk_gets_nothing_before_the_callback_is_over() -> None:
    bench = Bench()
    bench.submit(append(1, 1))
    bench.engine.run(10 * _SYNC_US)
    assert bench.disk.is_blank
    bench.run()
    assert not bench.disk.is_blank


def test_a_commit_index_alone_waits_for_the_next_write() -> None:
    bench = Bench()
    bench.submit(append(1, 1))
    bench.run()
    bench.submit(commit=1)
    bench.run()
    assert bench.disk.durable.hard_state.commit == 0
    bench.submit(append(2, 2))
    bench.run()
    assert bench.disk.durable.hard_state.commit == 1


@pytest.mark.parametrize("operation", ["write", "sync"])
def test_after_an_io_error_nothing_is_durable_or_accepted(operation: str) -> None:
    bench = Bench()
    error = IoErrors(firing(), operation, 1, lambda: False, lambda: None)  # type: ignore[arg-type]  # a parameter
    bench.disk.failures.add_errors(error)
    bench.submit(append(1, 1))
    bench.run()
    ((_, what, reported),) = bench.reports
    assert what == "error"
    assert isinstance(reported, StorageError)
    with pytest.raises(StorageError, match="has failed"):
        bench.submit(append(2, 2))
    assert bench.disk.durable == DurableState()


def test_a_full_disk_makes_writes_wait_until_there_is_space() -> None:
    bench = Bench()
    full = firing()
    bench.disk.failures.fill_up(full, bench.disk.durable, 0)
    bench.submit(append(1, 1))
    bench.run()
    assert bench.reports == [(0, "full", True)]
    assert isinstance(bench.writer.full, DiskFull)
    bench.disk.recover(full)
    bench.run(2000 * DISK_FULL_RETRY_MS)
    assert [what for _, what, _ in bench.reports] == ["full", "full", "durable"]
    assert bench.writer.full is None


def test_the_cluster_is_joined_when_its_configuration_is_durable() -> None:
    bench = Bench()
    membership = Membership(voters=(1,), addresses=((1, "node-1:8080"),), cluster_id="them")
    entry = Entry(1, 1, "membership", membership.to_json(), 0)
    bench.submit(AppendLog(1, [entry]))
    bench.end_callback()
    bench.engine.run(_SYNC_US)  # up to this time, and not at it
    assert bench.storage.identity().cluster_id is None
    bench.run()
    assert bench.storage.identity().cluster_id == "them"


@given(st.lists(st.integers(0, 2 * _SYNC_US), min_size=1, max_size=20))
def test_what_is_reported_durable_is_on_the_disk(gaps: list[int]) -> None:
    bench = Bench()
    reported: list[int] = []

    def durable(number: int) -> None:
        reported.append(number)
        assert len(bench.disk.durable.entries) >= number, "write n appends the entry n"

    bench.writer._on_durable = durable
    for number, gap in enumerate(gaps, 1):
        bench.submit(append(number, number))
        bench.run(gap)
    bench.run()
    assert reported == sorted(set(reported))
    assert reported[-1] == len(gaps)
