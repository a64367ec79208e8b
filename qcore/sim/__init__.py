"""The deterministic simulator: runs a scenario with a seed, and returns a verdict and a trace.

    from qcore.sim import run_scenario

    result = run_scenario("scenarios/leader_isolated.yaml", seed=7)
    print(result.ok, result.trace_sha256)

`World` gives access to every part of a run, for notebooks and tests.

| package | holds |
|---|---|
| `scenario` | what a scenario file may contain: models, rules, and reading it |
| `world` | the simulated cluster: clock, network and nodes |
| `workload` | the clients and their operations |
| `faults` | the execution of the timeline: faults, repairs, admin requests |
| `invariants`, `linearizability` | the checkers of safety |
| `verdict` | the judgement of a run: expectations and metrics |
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qcore.sim.run import run_scenario
    from qcore.sim.scenario import Scenario, load_scenario, parse_scenario
    from qcore.sim.verdict.result import Expectation, RunResult
    from qcore.sim.world.world import World

__all__ = [
    "Expectation",
    "RunResult",
    "Scenario",
    "World",
    "load_scenario",
    "parse_scenario",
    "run_scenario",
]

_MODULES = {
    "Expectation": "qcore.sim.verdict.result",
    "RunResult": "qcore.sim.verdict.result",
    "Scenario": "qcore.sim.scenario",
    "World": "qcore.sim.world.world",
    "load_scenario": "qcore.sim.scenario",
    "parse_scenario": "qcore.sim.scenario",
    "run_scenario": "qcore.sim.run",
}


def __getattr__(name: str) -> object:
    """Import a public name on first use. Programs that do not simulate then load no SimPy, networkx or pydantic."""
    if name in _MODULES:
        from importlib import import_module

        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
