"""Runs of client programs in the simulator: nodes crash, links fail, clients are paused and killed, clocks drift."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final  # Any: metrics are JSON

from qcore.client.programs.program_context import ClientProgram, ProgramRecord
from qcore.sim import parse_scenario, run_scenario

#: What is wrong with the records of a run, each as a text.
Check = Callable[[Sequence[ProgramRecord]], list[str]]

#: Everything may fail until `QUIET_FROM_S`. From then on, programs must make progress, until `STOP_S`.
QUIET_FROM_S: Final = 12.0
STOP_S: Final = 19.0


def chaos_scenario(
    *,
    loss: float = 0.01,
    every_ms: tuple[int, int] = (300, 4000),
    pause_ms: tuple[int, int] = (50, 3500),
    faults_until_ms: int = 12_000,
    stop_ms: int = 19_000,
    until_ms: int = 22_000,
) -> str:
    """A scenario of faults of all kinds.

    Args:
        loss: which share of the messages between clients and nodes is lost.
        every_ms: the time between two faults of a client.
        pause_ms: how long a client is paused.
        faults_until_ms: the last fault begins before this time.
        stop_ms: the programs are cancelled then. The rest is for them to leave.
        until_ms: the end.
    """
    return f"""
cluster:
  nodes: 3
  machine: kv
  snapshot_entries: 60
  keep_entries: 20
  disk: {{latency_ms: {{uniform: [1, 10]}}}}
network: {{latency_ms: {{uniform: [1, 8]}}, clients: {{loss: {loss}}}}}
workload:
  clients: 4
  program_faults:
    every_ms: {{uniform: [{every_ms[0]}, {every_ms[1]}]}}
    pause_ms: {{uniform: [{pause_ms[0]}, {pause_ms[1]}]}}
    kill_fraction: 0.3
    restart_after_ms: {{uniform: [50, 1500]}}
    until_ms: {faults_until_ms}
    clock_drift_ppm: 4000
    clock_skew_ms: 3000
  stop_ms: {stop_ms}
swarm: {{from_ms: 500, quiet_ms: {until_ms - faults_until_ms}}}
until_ms: {until_ms}
expect: {{safe: true, converges: true, leader_at_end: true}}
"""


CHAOS: Final = chaos_scenario()


def chaos_records(
    program: ClientProgram, seed: int, scenario: str = CHAOS
) -> tuple[list[ProgramRecord], list[str]]:
    """Run a program under chaos.

    Returns:
        Its records by time; and what the simulator found wrong.
    """
    result = run_scenario(parse_scenario(scenario), seed, program=program)
    found: Any = result.metrics["programs"]
    records = [
        ProgramRecord(
            each["client"],
            record["t_ms"] / 1000,
            record["what"],
            {name: value for name, value in record.items() if name not in ("t_ms", "what")},
        )
        for each in found
        for record in each["records"]
    ]
    records.sort(key=lambda record: (record.time_s, record.client))
    wrong = [each.note for each in result.violations]
    return records, wrong if result.ok else wrong or [f"failed: {result.failed()}"]


def chaos_violations(
    program: ClientProgram, check: Check, seed: int, scenario: str = CHAOS
) -> list[str]:
    """Run a program under chaos, and return everything that is wrong."""
    records, wrong = chaos_records(program, seed, scenario)
    return wrong + check(records)


def progress_violations(records: Sequence[ProgramRecord], what: str, at_least: int) -> list[str]:
    """A violation if fewer records of a kind were made once everything was well again."""
    late = [each for each in records if each.what == what and each.time_s >= QUIET_FROM_S]
    if len(late) >= at_least:
        return []
    return [f"only {len(late)} times {what} after {QUIET_FROM_S:g} s, not {at_least}"]
