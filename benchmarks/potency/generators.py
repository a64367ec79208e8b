"""Ways of generating runs: one run of each for a planted fault and a seed."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Final

from benchmarks.potency.planted_faults import NO_FAULT, PLANTED_FAULTS, PlantedFault, Theme
from benchmarks.potency.small_worlds import random_priorities
from qcore.sim import RunResult, Scenario, load_scenario, run_scenario
from qcore.sim.scenario.generated.random_scenario import random_scenario

_AIMED: Final = Path(__file__).parent / "aimed"
#: Planted faults whose scenario is a shipped one, or that of another planted fault.
_SHIPPED_AIMED: Final = {
    "vote_durable_before_reply": "unsynced_vote",
    "commit_own_term_only": "figure_8",
    "lease_drift_margin": "lease_drift_margin",
    "snapshot_loses_replies": str(_AIMED / "leaves_replies_out_of_snapshots.yaml"),
}
#: Kinds of faults that each seed draws, by the workload that the planted fault needs.
_DRAWN: Final[dict[Theme, str]] = {
    "registers": "chaos",
    "sessions": "chaos_sessions",
    "watchers": "chaos_watchers",
    "membership": "membership_churn",
}
#: Expectations that say nothing about a fault.
_NO_EVIDENCE: Final = frozenset({"work_done", "every_fault_acted"})

#: The columns of the table whose runs have seeds.
GENERATORS: Final = ("swarm", "chaos", "mixture", "aimed", "pct")


@cache
def _loaded(name: str) -> Scenario:
    return load_scenario(name)


def scenario_of(generator: str, fault: PlantedFault, seed: int) -> Scenario | None:
    """The scenario that a generator makes for a seed; None if it has none for this fault.

    | generator | scenario |
    |---|---|
    | swarm | what `qcore sim swarm` draws: cluster, network, load and faults; the same for every planted fault |
    | chaos | the shipped chaos with the workload that the planted fault needs; each seed draws the faults |
    | mixture | `chaos_mixture`: nine kinds of faults at fixed times |
    | aimed | a scenario that brings about what the planted fault needs |

    With nothing planted, `chaos` and `aimed` take their scenarios in turn.
    """
    if generator == "aimed" and fault is NO_FAULT:
        files = sorted(_AIMED.glob("*.yaml"))
        return _loaded(str(files[seed % len(files)]))
    if generator == "swarm":
        chosen = random_scenario(Scenario(), seed)
    elif generator == "chaos":
        names = [_DRAWN[fault.theme]] if fault is not NO_FAULT else [*_DRAWN.values()]
        chosen = _loaded(names[seed % len(names)])
    elif generator == "mixture":
        if fault.theme != "registers":
            return None
        chosen = _loaded("chaos_mixture")
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


def run_one(task: tuple[str, str, int]) -> str | None:
    """One run of the campaign; for a pool of processes.

    Args:
        task: the generator, the name of the fault, and the seed.

    Returns:
        What was found: the check; empty if nothing was, None if the generator has no run for the fault.
    """
    generator, name, seed = task
    fault = PLANTED_FAULTS.get(name, NO_FAULT)
    with fault.planted():
        if generator == "pct":
            return random_priorities(fault, seed)
        scenario = scenario_of(generator, fault, seed)
        return None if scenario is None else evidence(run_scenario(scenario, seed))
