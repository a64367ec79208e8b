"""The facts by which the expectations of a run are judged, and the questions that several of them ask."""

from __future__ import annotations

from collections.abc import Sequence

from qcore.sim.linearizability import LinearizabilityVerdict
from qcore.sim.scenario.specs.expect_spec import ExpectSpec
from qcore.sim.scenario.values import Count
from qcore.sim.verdict.result import Expectation
from qcore.sim.workload.operations import ClientOperation
from qcore.sim.world.node.sim_node import SimNode
from qcore.sim.world.world import World


class RunFacts:
    """The facts by which the expectations are judged. Times in microseconds."""

    def __init__(self, world: World, verdict: LinearizabilityVerdict, lost: Sequence[str]) -> None:
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

    def writes(self) -> list[ClientOperation]:
        return [op for op in self.world.history if op.kind == "write"]

    def ok(self, kind: str) -> list[ClientOperation]:
        return [op for op in self.world.history if op.kind == kind and op.outcome == "ok"]


def equal_register_values(one: object, other: object) -> bool:
    """Equality of register values by the rules of JSON: 1 and true differ."""
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def most_advanced_node(world: World) -> SimNode | None:
    """The running node with the highest apply index; None if no node runs."""
    running = [node for node in world.nodes.values() if node.replica is not None]
    if not running:
        return None
    return max(running, key=lambda node: node.replica.applied_index if node.replica else 0)


def members_at_end(world: World) -> tuple[int, ...]:
    """The members in the configuration of the most advanced node; the first members if no node runs."""
    best = most_advanced_node(world)
    if best is None or best.replica is None:
        return world.scenario.cluster.nodes
    return best.replica.core.membership.members()


def count(name: str, wanted: Count, number: int) -> Expectation:
    return Expectation(name, wanted.holds(number), str(wanted), str(number))
