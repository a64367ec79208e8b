"""The parts of a run that all simulated nodes and faults share: clock, network, trace, monitor and checkers."""

from __future__ import annotations

from dataclasses import dataclass, field

from qcore.compiled_build import register_copies
from qcore.recording.run_recordings import RunRecordings
from qcore.sim.faults.triggers import ArmedTriggers
from qcore.sim.invariants import Invariants
from qcore.sim.invariants.watch_checker import WatchChecker
from qcore.sim.verdict.monitor import Monitor
from qcore.sim.verdict.snapshot_histories import SnapshotHistories
from qcore.sim.world.clock.engine import Engine
from qcore.sim.world.network import Network
from qcore.sim.world.node.node_machine import MachineObserver
from qcore.trace import TraceWriter


@dataclass(frozen=True)
class Violation:
    """A safety property that did not hold. `node` is 0 if the violation belongs to no single node."""

    check: str
    node: int
    t_us: int
    note: str


@dataclass
class Services:
    """The shared parts of one run, and its violations.

    Attributes:
        watches: checks what watchers receive; None without watchers.
        recordings: records what the replicas take; None without recordings.
        machine_observers: see what the state machines do; the nodes use the list as it is when they start.
    """

    engine: Engine
    network: Network
    trace: TraceWriter
    monitor: Monitor
    triggers: ArmedTriggers
    invariants: Invariants
    violations: list[Violation]
    histories: SnapshotHistories = field(default_factory=SnapshotHistories)
    watches: WatchChecker | None = None
    machine_observers: list[MachineObserver] = field(default_factory=list)
    recordings: RunRecordings | None = None

    def report(self, check: str, node: int, note: str) -> None:
        """Record a violation of a safety property."""
        now = self.engine.now
        self.violations.append(Violation(check, node, now, note))
        self.trace.violation(now, node, check, note)


register_copies(globals())
