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
| `replay` | runs what was kept of a run or of a node again, and stops anywhere in it |
| `oracles` | what users write to judge their machines: invariants, properties, models |
| `elections` | many elections of the core alone: how long a cluster is without a leader |
| `verdict` | the judgement of a run: expectations and metrics |
| `artifacts` | failing runs, saved in directories |
| `sweeps` | many runs in parallel |
| `repetition` | runs a scenario in another process, and compares the two runs |
| `shrinking` | finds the smallest run that fails for the same cause |
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qcore.lazy_names import lazy_names

if TYPE_CHECKING:
    from qcore.sim.artifacts import Artifact, Cause, cause_of, load_artifact, save_artifact
    from qcore.sim.elections.election_figures import ElectionFigures
    from qcore.sim.elections.measure import measure_elections
    from qcore.sim.exploration import Bounds, Counterexample, Exploration, explore
    from qcore.sim.repetition import RunRepetition, repeat_run
    from qcore.sim.replay.replay import Replay
    from qcore.sim.replay.run_replay import RunReplay, replay_run
    from qcore.sim.run import run_scenario
    from qcore.sim.scenario import Scenario, load_scenario, parse_scenario
    from qcore.sim.shrinking import ShrinkResult, shrink
    from qcore.sim.simulation import NodeState, World
    from qcore.sim.sweeps.progress_report import SweepProgress
    from qcore.sim.sweeps.run_sweep import swarm, sweep
    from qcore.sim.sweeps.sweep_result import SweepResult
    from qcore.sim.verdict.result import Expectation, RunResult
    from qcore.sim.workload.operations import RequestSource
    from qcore.sim.world.services import Violation
    from qcore.trace import TraceDifference, TraceWriter, diff_traces
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "qcore.sim.exploration": ("Bounds", "Counterexample", "Exploration", "explore"),
            "qcore.sim.artifacts": (
                "Artifact",
                "Cause",
                "cause_of",
                "load_artifact",
                "save_artifact",
            ),
            "qcore.sim.replay.replay": ("Replay",),
            "qcore.sim.replay.run_replay": ("RunReplay", "replay_run"),
            "qcore.sim.elections.election_figures": ("ElectionFigures",),
            "qcore.sim.elections.measure": ("measure_elections",),
            "qcore.sim.repetition": ("RunRepetition", "repeat_run"),
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
            "qcore.sim.shrinking": ("ShrinkResult", "shrink"),
            "qcore.sim.simulation": ("NodeState", "World"),
            "qcore.sim.sweeps.progress_report": ("SweepProgress",),
            "qcore.sim.sweeps.run_sweep": ("swarm", "sweep"),
            "qcore.sim.sweeps.sweep_result": ("SweepResult",),
            "qcore.trace": ("TraceDifference", "TraceWriter", "diff_traces"),
        },
    )

__all__ = [
    "Artifact",
    "Bounds",
    "Cause",
    "Counterexample",
    "ElectionFigures",
    "Expectation",
    "Exploration",
    "NodeState",
    "Replay",
    "RequestSource",
    "RunRepetition",
    "RunReplay",
    "RunResult",
    "Scenario",
    "ShrinkResult",
    "SweepProgress",
    "SweepResult",
    "TraceDifference",
    "TraceWriter",
    "Violation",
    "World",
    "cause_of",
    "diff_traces",
    "explore",
    "load_artifact",
    "load_scenario",
    "measure_elections",
    "parse_scenario",
    "repeat_run",
    "replay_run",
    "run_scenario",
    "save_artifact",
    "shrink",
    "swarm",
    "sweep",
]
