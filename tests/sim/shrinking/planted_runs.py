"""Planted faults that chaos finds, one of each kind, for the tests that shrink such runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pytest

from qcore.client.programs.program_context import ProgramContext
from qcore.errors import QcoreError
from qcore.replica.sessions import session_table
from qcore.sim import RunResult, Scenario, ShrinkResult, load_scenario, run_scenario, shrink
from qcore.sim.oracles import Oracles
from tests.sim.planted.answers.faulty_machines import AppliedTwice, ForgetsOnRestore
from tests.sim.planted.faults import network_bugs, node_bugs
from tests.sim.support.counter_store import CounterModel, draw_request

Bug = Callable[[pytest.MonkeyPatch], None]

_NO_BUG: Bug = node_bugs.none
_MACHINE_CHANGES = {
    "workload": {"clients": 4, "rate_per_s": 80.0, "keys": 4},
    "expect": {"converges": None, "acknowledged_writes_present": None, "leader_at_end": None},
}


@dataclass(frozen=True)
class PlantedRun:
    """A planted fault, and where it is found.

    Attributes:
        kind: what the fault is in.
        scenario: the shipped scenario that finds it.
        bug: plants it; or it is a safeguard that `safeguards` switches off.
        code: what is given to `run_scenario` and `shrink` in Python.
        changes: of the scenario.
        steps: the most steps that the smallest run may have.
    """

    kind: str
    scenario: str
    bug: Bug = _NO_BUG
    safeguards: tuple[str, ...] = ()
    code: dict[str, Any] = field(default_factory=dict)  # the arguments have many types
    changes: dict[str, Any] = field(default_factory=dict)
    steps: int = 4

    def broken(self) -> Scenario:
        """The scenario with the fault."""
        scenario = load_scenario(self.scenario)
        off = {f"cluster.safeguards.{name}": False for name in self.safeguards}
        return scenario.with_({**off, **self.changes})

    def first_failing(self, seeds: range) -> tuple[int, RunResult]:
        """The first seed that fails, and its verdict."""
        for seed in seeds:
            result = run_scenario(self.broken(), seed, **self.code)
            if result.violations or not result.ok:
                return seed, result
        raise AssertionError(f"no seed of {seeds} finds {self.kind}")

    def shrunk(self, seed: int) -> ShrinkResult:
        """The smallest run."""
        return shrink(self.broken(), seed, budget_runs=2000, **self.code)


def applies_repeated_commands_again(patch: pytest.MonkeyPatch) -> None:
    """A session does not know the commands that it has applied."""
    original = session_table._run

    def run(*arguments: Any) -> Any:
        session = arguments[0]
        session.replies.clear()
        return original(*arguments)

    patch.setattr(session_table, "_run", run)


async def trusts_its_first_leader(ctx: ProgramContext) -> None:
    """A program that takes the first leader for the leader of all times."""
    first = None
    while True:
        with suppress(QcoreError):
            leader = (await ctx.client.leader_metrics())["current_leader"]
            first = first or leader
            ctx.expect(leader == first, f"node {leader} leads, and not {first}")
        await asyncio.sleep(0.05)


PLANTED = (
    PlantedRun("election", "chaos", safeguards=("one_vote_per_term",)),
    PlantedRun("vote on disk", "unsynced_vote", steps=5),
    PlantedRun("log freshness", "chaos_mixture", safeguards=("log_freshness_check",), steps=6),
    PlantedRun("commit", "figure_8", steps=6),
    PlantedRun("quorum", "split_3_2_leader_minor", bug=network_bugs.half_is_a_quorum),
    PlantedRun("read", "chaos_mixture", safeguards=("read_confirmation",)),
    PlantedRun("stale read", "chaos", safeguards=("freshness_check",)),
    PlantedRun("disk", "chaos", bug=node_bugs.forgets_the_last_entry),
    PlantedRun("session", "chaos_sessions", bug=applies_repeated_commands_again),
    PlantedRun(
        "snapshot",
        "chaos",
        code={
            "machine": ForgetsOnRestore,
            "requests": draw_request,
            "oracles": Oracles(model=CounterModel),
        },
        changes=_MACHINE_CHANGES,
    ),
    PlantedRun(
        "user-defined machine",
        "chaos",
        code={
            "machine": AppliedTwice,
            "requests": draw_request,
            "oracles": Oracles(model=CounterModel),
        },
        changes=_MACHINE_CHANGES,
    ),
    PlantedRun("client program", "chaos", code={"program": trusts_its_first_leader}),
)
