"""The deterministic simulator: scenarios in, verdicts and traces out.

    from qcore.sim import load_scenario, run_scenario

    result = run_scenario("scenarios/leader_isolated.yaml", seed=7)
    print(result.ok, result.trace_sha256)

`World` gives access to every part of a run, for notebooks and tests.
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

_HOMES = {
    "Expectation": "qcore.sim.verdict.result",
    "RunResult": "qcore.sim.verdict.result",
    "Scenario": "qcore.sim.scenario",
    "World": "qcore.sim.world.world",
    "load_scenario": "qcore.sim.scenario",
    "parse_scenario": "qcore.sim.scenario",
    "run_scenario": "qcore.sim.run",
}


def __getattr__(name: str) -> object:
    """Import on first use: SimPy, networkx and pydantic are only paid for by those who simulate."""
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
