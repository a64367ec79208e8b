"""Whatever fails in whatever order: a start finds every acknowledged write and no other, or it is refused."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qcore.core.effects import AppendLog
from qcore.core.entry import DurableState, Entry
from qcore.errors import LogCorrupt, StorageError
from qcore.sim.faults.ledger import Fault, Firing
from qcore.sim.faults.nodes.disk_damage import begin_errors
from qcore.sim.scenario.actions.disk_clock_actions import DiskError
from qcore.sim.world.clock.engine import Engine
from qcore.sim.world.node import disk_content
from qcore.sim.world.node.disk import SimDisk

SYNC_US = 1000

ACTIONS = st.one_of(
    st.tuples(st.just("write"), st.integers(1, 3)),
    st.tuples(st.just("time"), st.integers(0, 3 * SYNC_US)),
    st.tuples(st.just("long"), st.just(600_000)),
    st.tuples(st.sampled_from(["sync", "write_error", "read", "full"]), st.integers(1, 2)),
    st.tuples(st.just("recover"), st.just(0)),
    st.tuples(st.sampled_from(["crash", "power", "torn"]), st.integers(0, 2)),
    st.tuples(st.just("rot"), st.integers(0, 99)),
)


def entry(index: int) -> Entry:
    return Entry(index, 1, "command", f"command {index}", index)


class CheckedDisk:
    """A disk, and what its process may rely on."""

    def __init__(self, seed: int) -> None:
        self.engine = Engine()
        self.disk = SimDisk(self.engine, lambda: SYNC_US, DurableState())
        self.rng = Random(seed)
        self.last = self.acknowledged = self.next_id = 0
        self.ends: dict[int, int] = {}  # write id -> last index
        self.stopped = False
        self.rotten: list[int] = []
        self.disk.on_durable = self.on_durable
        self.disk.on_error = self.on_error

    def on_durable(self, write_id: int) -> None:
        assert not self.stopped, "acknowledged after an error"
        self.acknowledged = max(self.acknowledged, self.ends[write_id])

    def on_error(self, error: StorageError) -> None:
        assert not isinstance(error, LogCorrupt)
        assert "I/O error" in str(error)
        self.stopped = True

    def act(self, action: str, number: int) -> None:
        match action:
            case "write" if not self.stopped:
                self.next_id += 1
                first, self.last = self.last + 1, self.last + number
                self.ends[self.next_id] = self.last
                entries = [entry(index) for index in range(first, self.last + 1)]
                self.disk.submit(AppendLog(self.next_id, entries))
                self.disk.start_sync()
            case "time" | "long":
                self.engine.run(self.engine.now + number)
            case "full":
                self.disk.failures.fill_up(Firing(Fault("full")), self.disk.durable, number * 100)
            case "sync" | "write_error" | "read":
                on = action.removesuffix("_error")
                error = DiskError.model_validate({"nodes": 1, "on": on, "times": number})
                begin_errors(self.disk, error, Firing(Fault("error")), self.rng, lambda: None)
            case "recover":
                self.disk.recover()
            case "rot" if self.disk.durable.entries:
                held = self.disk.durable.entries[number % len(self.disk.durable.entries)]
                self.disk.content.rot_entry(held, Fault("rot"), self.rng)
                self.rotten.append(held.index)
            case "crash" | "power" | "torn":
                power_loss = action != "crash"
                self.disk.crash(power_loss=power_loss, survivors=number, torn=action == "torn")
                self.start()

    def start(self) -> None:
        """Start until the disk can be read, and replace it if it is damaged."""
        found, refusal = self._load()
        while refusal is not None and not isinstance(refusal, LogCorrupt):
            assert "cannot read" in str(refusal)
            found, refusal = self._load()
        if self.rotten:
            assert f"entry {min(self.rotten)}: " in str(refusal), "the damage was accepted"
            self.disk.wipe()
            self.rotten, self.acknowledged = [], 0
        assert found == [entry(index) for index in range(1, len(found) + 1)]
        assert len(found) >= self.acknowledged
        self.last, self.stopped = len(found), False

    def _load(self) -> tuple[list[Entry], StorageError | None]:
        try:
            return self.disk.load().entries, None
        except StorageError as error:
            return [], error


def survive(actions: list[tuple[str, int]], seed: int) -> None:
    disk = CheckedDisk(seed)
    for action, number in actions:
        disk.act(action, number)
    disk.act("crash", 0)


@given(st.lists(ACTIONS, max_size=40), st.integers(0, 9))
def test_a_start_finds_what_was_acknowledged_or_is_refused(
    actions: list[tuple[str, int]], seed: int
) -> None:
    survive(actions, seed)


TORN = [("write", 3), ("time", SYNC_US // 2), ("torn", 0)]
ROTTEN = [("write", 3), ("long", 600_000), ("rot", 1), ("crash", 0)]


@pytest.mark.parametrize("actions", [TORN, ROTTEN])
def test_the_property_fails_for_a_disk_without_checksums(
    actions: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    survive(actions, 1)
    monkeypatch.setattr(disk_content, "is_sound", lambda _stored, _computed: True)
    with pytest.raises(AssertionError):
        survive(actions, 1)


def test_the_property_fails_for_a_disk_that_ignores_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    actions = [("sync", 1), ("write", 1), ("long", 600_000), ("power", 0)]
    survive(actions, 1)

    def fail(disk: SimDisk, _error: StorageError) -> None:
        disk.on_durable(1)

    monkeypatch.setattr(SimDisk, "_fail", fail)
    with pytest.raises(AssertionError):
        survive(actions * 8, 1)
