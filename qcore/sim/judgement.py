"""Judges a run that is over: the checks of the whole history, the expectations, and the metrics."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

from qcore.sim.scenario.catalogue import is_shipped
from qcore.sim.scenario.model import Scenario
from qcore.sim.verdict.expectations.judge_run import judge
from qcore.sim.verdict.history_verdict import judge_by_oracles
from qcore.sim.verdict.log_queries import lost_writes
from qcore.sim.verdict.result import RunResult
from qcore.sim.verdict.run_metrics import measure
from qcore.sim.verdict.stale_reads import check_stale_reads
from qcore.sim.world.simulated_cluster import SimulatedCluster


def judge_run(world: SimulatedCluster) -> RunResult:
    """The verdict on a run that is over. It adds what it finds to the violations and to the trace."""
    lost = lost_writes(world.logs, world.services.monitor.committed_membership, world.history)
    if lost:
        world.services.report("acknowledged_write_lost", 0, lost[0])
    check_stale_reads(world)
    findings = judge_by_oracles(world)
    expectations = tuple(judge(world, findings, lost))
    return RunResult(
        world.scenario.name,
        world.seed,
        all(expectation.ok for expectation in expectations),
        tuple(world.services.violations),
        expectations,
        measure(world, findings.verdict),
        world.services.trace.sha256(),
        replay_command(world.given_scenario, world.seed),
    )


def replay_command(scenario: Scenario, seed: int) -> str:
    """The command that repeats a run. It names a shipped scenario by its name, which is the same on every machine.

    A scenario that no file holds must be saved first, and the command says so.
    """
    if scenario.edited or not scenario.source or scenario.source.startswith("<"):
        file = f"{scenario.name}_{seed}.yaml"
        return f"qcore sim run {file} --seed {seed}  # after scenario.save({file!r})"
    path = Path(scenario.source)
    name = path.stem if is_shipped(path) else str(path)
    given = "".join(
        f" --set {shlex.quote(f'{key}={json.dumps(value)}')}"
        for key, value in scenario.overrides.items()
    )
    return f"qcore sim run {shlex.quote(name)} --seed {seed}{given}"
