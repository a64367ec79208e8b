"""The facts by which the expectations of a run are judged, and the questions that several of them ask."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from qcore.sim.linearizability import LinearizabilityVerdict
from qcore.sim.scenario.specs.expect_spec import ExpectSpec
from qcore.sim.scenario.values import Count
from qcore.sim.verdict.result import Expectation
from qcore.sim.workload.operations import ClientOperation
from qcore.sim.world.simulated_cluster import SimulatedCluster


class RunFacts:
    """The facts by which the expectations are judged. Times in microseconds."""

    def __init__(
        self, world: SimulatedCluster, verdict: LinearizabilityVerdict, lost: Sequence[str]
    ) -> None:
        self.world = world
        self.verdict = verdict
        self.lost = lost
        self.expect: ExpectSpec = world.scenario.expect
        self.now = world.engine.now
        self.record = world.services.monitor.record
        self.violations = world.services.violations
        #: The time of the last repair; without a repair, of the last action; without an action, of the start.
        action_times = world.timeline_runner.action_times
        self.healed_at = (
            action_times.repairs[-1] if action_times.repairs else action_times.last or 0
        )

    def writes(self) -> Iterator[ClientOperation]:
        """The writes, in the order in which they began."""
        return (op for op in self.world.history if op.kind in ("write", "add"))

    def ok(self, kind: str) -> Iterator[ClientOperation]:
        """The operations of this kind that succeeded, in the order in which they began."""
        return (op for op in self.world.history if op.kind == kind and op.outcome == "ok")


def count(name: str, wanted: Count, number: int) -> Expectation:
    return Expectation(name, wanted.holds(number), str(wanted), str(number))
