"""Ways of generating runs. Each gives the scenario for a planted fault and a seed, or runs its own search."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Final

from benchmarks.potency.planted_faults import NO_FAULT, PLANTED_FAULTS, PlantedFault, Theme
from qcore.sim import RunResult, Scenario, load_scenario, run_scenario

_AIMED: Final = Path(__file__).parent / "aimed"
#: Shipped scenarios whose faults serve one planted fault.
_SHIPPED_AIMED: Final = {
    "vote_durable_before_reply": "unsynced_vote",
    "commit_own_term_only": "figure_8",
    "lease_drift_margin": "lease_drift_margin",
}
#: A fixed mixture of faults, or a fixed order of them, by the workload that the fault needs.
_CHAOS: Final[dict[Theme, str]] = {
    "registers": "chaos_mixture",
    "sessions": "chaos_sessions",
    "watchers": "chaos_watchers",
    "membership": "membership_churn",
}
#: Faults that each seed draws.
_SWARM: Final = ("chaos", "chaos_sessions", "chaos_watchers")
#: Expectations that say nothing about a fault.
_NO_EVIDENCE: Final = frozenset({"work_done", "every_fault_acted"})

#: The names of the columns whose runs are scenarios.
GENERATORS: Final = ("chaos", "swarm", "aimed")


@cache
def _loaded(name: str) -> Scenario:
    return load_scenario(name)


def scenario_of(generator: str, fault: PlantedFault, seed: int) -> Scenario | None:
    """The scenario that a generator makes for a seed; None if it has none for this fault."""
    if generator == "chaos":
        chosen = _loaded(_CHAOS[fault.theme])
    elif generator == "swarm":
        chosen = _loaded(_SWARM[seed % len(_SWARM)])
    else:
        file = _AIMED / f"{fault.name}.yaml"
        if fault.name in _SHIPPED_AIMED:
            chosen = _loaded(_SHIPPED_AIMED[fault.name])
        elif file.exists():
            chosen = _loaded(str(file))
        else:
            return None
    return fault.scenario(chosen)


def evidence(result: RunResult) -> str:
    """What shows in this run that something is wrong; empty if nothing does."""
    for violation in result.violations:
        return violation.check
    for expectation in result.failed():
        if expectation.name not in _NO_EVIDENCE and not expectation.name.startswith("violation"):
            return expectation.name
    return ""


def run_one(task: tuple[str, str, int]) -> tuple[str, str, int, str | None]:
    """One run of the campaign; for a pool of processes.

    Args:
        task: the generator, the name of the fault, and the seed.

    Returns:
        The task, and what was found: empty if nothing was, None if the generator has no scenario for the fault.
    """
    generator, name, seed = task
    fault = PLANTED_FAULTS.get(name, NO_FAULT)
    with fault.planted():
        scenario = scenario_of(generator, fault, seed)
        found = None if scenario is None else evidence(run_scenario(scenario, seed))
    return generator, name, seed, found
