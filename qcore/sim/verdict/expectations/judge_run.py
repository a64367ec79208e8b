"""Judges every expectation of a finished run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from qcore.sim.linearizability import LinearizabilityVerdict
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
from qcore.sim.verdict.result import Expectation
from qcore.sim.workload.operations import ClientOperation
from qcore.sim.world.world import World

#: The errors by which a custom state machine answers a request that it does not understand, or breaks its contract.
_ERRORS_OF_MACHINES = ("StoreError", "ResultInvalid", "ResultTooLarge")

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


def judge(world: World, verdict: LinearizabilityVerdict, lost: Sequence[str]) -> list[Expectation]:
    """Judge every expectation of the scenario, and that every declared fault acted.

    Args:
        world: the finished run.
        verdict: the verdict of the linearizability checker.
        lost: the acknowledged writes that are lost; see `qcore.sim.verdict.log_queries.lost_writes`.
    """
    run_facts = RunFacts(world, verdict, lost)
    found = [item for part in _PARTS for item in part(run_facts)]
    idle = world.ledger.idle()
    seen = "; ".join(f"{fault.name} never acted" for fault in idle) or "all did"
    found.append(Expectation("every_fault_acted", not idle, "each at least once", seen))
    found += _custom_machine_answers(world.history)
    if world.services.watches is not None:
        found += judge_watches(world.services.watches, world.scenario.expect)
    return found


def _custom_machine_answers(history: Sequence[ClientOperation]) -> Iterator[Expectation]:
    """Expect that the custom machine answers at least one request of each kind without an error.

    Otherwise the requests do not fit the machine, or it breaks its contract, and the run proves nothing.
    """
    for kind in ("write", "read"):
        asked = [op for op in history if op.is_raw and op.kind == kind]
        errors = Counter(op.note for op in asked if op.note in _ERRORS_OF_MACHINES)
        if errors:
            useful = any(op.outcome == "ok" and op.note not in _ERRORS_OF_MACHINES for op in asked)
            counts = ", ".join(f"{number} {code}" for code, number in sorted(errors.items()))
            counts += f" of {len(asked)}"
            seen = counts if useful else f"only errors: {counts}"
            yield Expectation(f"machine_answers_{kind}s", useful, "not only errors", seen)
