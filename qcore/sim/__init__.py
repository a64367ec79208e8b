"""The deterministic simulator: runs a scenario with a seed, and returns a verdict and a trace.

    from qcore.sim import run_scenario

    result = run_scenario("leader_isolated", seed=7)  # a name, a file or a Scenario
    print(result.ok, result.trace_sha256)

`World` is a run that a program steps through, looks into and disturbs.

| package | holds |
|---|---|
| `scenario` | what a scenario file may contain: models, rules, and reading it |
| `world` | the simulated cluster: clock, network, nodes, and client programs |
| `workload` | the clients and their operations |
| `faults` | the execution of the timeline: faults, repairs, admin requests |
| `exploration` | the search of all states of a small cluster |
| `invariants`, `linearizability` | the checkers of safety |
| `determinism` | the check that a state machine does the same everywhere |
| `oracles` | what users write to judge their machines: invariants, properties, models |
| `verdict` | the judgement of a run: expectations and metrics |
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qcore.lazy_names import lazy_names

if TYPE_CHECKING:
    from qcore.sim.exploration import Bounds, Counterexample, Exploration, explore
    from qcore.sim.run import run_scenario
    from qcore.sim.scenario import Scenario, load_scenario, parse_scenario
    from qcore.sim.simulation import NodeState, World
    from qcore.sim.verdict.result import Expectation, RunResult
    from qcore.sim.workload.operations import RequestSource
    from qcore.sim.world.services import Violation
    from qcore.trace import TraceWriter
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "qcore.sim.exploration": ("Bounds", "Counterexample", "Exploration", "explore"),
            "qcore.sim.run": ("run_scenario",),
            "qcore.sim.scenario": (
                "Scenario",
                "load_scenario",
                "parse_scenario",
            ),
            "qcore.sim.verdict.result": (
                "Expectation",
                "RunResult",
            ),
            "qcore.sim.workload.operations": ("RequestSource",),
            "qcore.sim.world.services": ("Violation",),
            "qcore.sim.simulation": ("NodeState", "World"),
            "qcore.trace": ("TraceWriter",),
        },
    )

__all__ = [
    "Bounds",
    "Counterexample",
    "Expectation",
    "Exploration",
    "NodeState",
    "RequestSource",
    "RunResult",
    "Scenario",
    "TraceWriter",
    "Violation",
    "World",
    "explore",
    "load_scenario",
    "parse_scenario",
    "run_scenario",
]
