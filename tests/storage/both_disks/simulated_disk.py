"""The disk of the simulator, as the table needs it."""

from __future__ import annotations

from collections import deque
from random import Random

from qcore.core.effects import Write
from qcore.core.entry import DurableState
from qcore.errors import DiskFull, StorageError
from qcore.sim.faults.ledger import Fault, Firing
from qcore.sim.faults.nodes.disk_damage import begin_errors, damage
from qcore.sim.scenario.actions.disk_clock_actions import BitRot, DiskError
from qcore.sim.world.clock.engine import Engine
from qcore.sim.world.node.disk import SimDisk
from tests.storage.both_disks.rows import DURABLE, SPACE, Event

_SYNC_US = 1000


class SimulatedDisk:
    """One simulated disk, and the events that it reports.

    Args:
        seed: draws whether the writes of a failed sync survive.
    """

    def __init__(self, seed: int = 1) -> None:
        self._engine = Engine()
        self._rng = Random(seed)
        self.disk = SimDisk(self._engine, lambda: _SYNC_US, DurableState())
        self.fault = Fault("fault")
        self._firing = Firing(self.fault)
        self._events: deque[Event] = deque()
        self.disk.on_durable = lambda _write_id: self._events.append(DURABLE)
        self.disk.on_error = self._on_error
        self.disk.on_full = self._on_full

    def _on_error(self, error: StorageError) -> None:
        self._events.append(type(error).__name__)

    def _on_full(self, why: DiskFull | None) -> None:
        self._events.append(SPACE if why is None else type(why).__name__)

    def submit(self, writes: list[Write]) -> None:
        for write in writes:
            self.disk.submit(write)
        self.disk.start_sync()

    def next_event(self) -> Event:
        while not self._events:
            self._engine.env.step()
        return self._events.popleft()

    def is_quiet(self) -> bool:
        self.disk.start_sync()
        self._engine.run(self._engine.now + 1000 * _SYNC_US)
        return not self._events

    def inject(self, fault: str) -> None:
        if fault == "full":
            self.disk.failures.fill_up(self._firing, self.disk.durable, 0)
        elif fault != "nothing":
            times = "all" if fault == "read" else 1
            action = DiskError.model_validate({"nodes": 1, "on": fault, "times": times})
            begin_errors(self.disk, action, self._firing, self._rng, lambda: None)

    def mend(self) -> None:
        self.disk.recover()

    def lose_power(self, writes: list[Write], reached: str) -> None:
        self.submit(writes)
        self._engine.run(self._engine.now + _SYNC_US // 2)
        survivors = len(writes) if reached == "all" else 0
        self.disk.crash(power_loss=True, survivors=survivors, torn=reached == "half")
        assert self.disk.content.is_torn == (reached == "half")

    def damage(self, place: str) -> None:
        where, _, number = place.partition(" ")
        value: dict[str, object] = {"nodes": 1, "in": "snapshot"}
        if where == "entry":
            value = {"nodes": 1, "entry": int(number)}
        damage(self.disk, BitRot.model_validate(value), self.fault, self._rng)

    def start(self) -> DurableState:
        self.disk.crash(power_loss=False)
        return self.disk.load()
