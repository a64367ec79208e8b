"""Judges every expectation of a finished run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from qcore.sim.verdict.determinism import judge_determinism
from qcore.sim.verdict.expectations.client_expectations import judge_availability
from qcore.sim.verdict.expectations.cluster_expectations import (
    judge_commits,
    judge_outcomes_and_members,
)
from qcore.sim.verdict.expectations.leadership_expectations import (
    judge_elections,
    judge_leadership,
)
from qcore.sim.verdict.expectations.run_facts import RunFacts
from qcore.sim.verdict.expectations.safety_expectations import (
    judge_convergence,
    judge_exactly_once,
    judge_safety,
)
from qcore.sim.verdict.expectations.watch_expectations import judge_watches
from qcore.sim.verdict.expectations.work_done import judge_work
from qcore.sim.verdict.history_verdict import HistoryVerdict
from qcore.sim.verdict.result import Expectation
from qcore.sim.world.simulated_cluster import SimulatedCluster

_PARTS: tuple[Callable[[RunFacts], Iterator[Expectation]], ...] = (
    judge_safety,
    judge_convergence,
    judge_leadership,
    judge_elections,
    judge_availability,
    judge_commits,
    judge_outcomes_and_members,
    judge_exactly_once,
)


def judge(
    world: SimulatedCluster, findings: HistoryVerdict, lost: Sequence[str]
) -> list[Expectation]:
    """Judge every expectation of the scenario, that requests were answered, and that every declared fault acted.

    Args:
        world: the finished run.
        findings: what the checkers of the history and the user's oracles found.
        lost: the acknowledged writes that are lost; see `qcore.sim.verdict.log_queries.lost_writes`.
    """
    run_facts = RunFacts(world, findings.verdict, lost)
    found = [item for part in _PARTS for item in part(run_facts)]
    idle = world.ledger.idle()
    seen = "; ".join(f"{fault.name} never acted" for fault in idle) or "all did"
    found.append(Expectation("every_fault_acted", not idle, "each at least once", seen))
    found.append(judge_work(run_facts))
    for row in findings.rows:
        ok = row.ok or (row.violated and not run_facts.expect.must_be_safe)
        found.append(Expectation(row.name, ok, row.expected, row.seen))
    found += judge_determinism(world)
    if world.services.watches is not None:
        found += judge_watches(world.services.watches, world.scenario.expect)
    return found
