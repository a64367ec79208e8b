"""`Lock` and `LeaderElection` in the simulator under chaos; their checks find planted mistakes."""

from __future__ import annotations

import asyncio
from typing import Final

import pytest

from qcore.client.programs.program_context import ClientProgram, ProgramRecord
from qcore.recipes import Lease, Lock
from tests.recipes.chaos_runs import chaos_records, chaos_violations, progress_violations
from tests.recipes.checks.election_check import election_violations
from tests.recipes.checks.exclusion_check import exclusion_violations
from tests.recipes.planted.lock_mistakes import (
    LOCK_MISTAKES,
    SLOW_CLOCKS,
    Mistake,
    ignores_the_drift,
)
from tests.recipes.programs.holding.election_program import election_program
from tests.recipes.programs.holding.lock_program import TTL_S, lock_program, lock_program_of

SEEDS: Final = (1, 2, 3)
#: So many seeds may be needed to find a mistake.
ENOUGH: Final = 15


@pytest.mark.parametrize("seed", SEEDS)
def test_a_lock_survives_chaos(seed: int) -> None:
    records, wrong = chaos_records(lock_program, seed)
    wrong += exclusion_violations(records) + progress_violations(records, "acquired", 4)
    assert wrong == []


@pytest.mark.parametrize("seed", SEEDS)
def test_an_election_survives_chaos(seed: int) -> None:
    records, wrong = chaos_records(election_program, seed)
    wrong += election_violations(records) + progress_violations(records, "acquired", 4)
    wrong += progress_violations(records, "observed", 12)
    assert wrong == []


#: Nodes and clients without a fault.
WELL: Final = """
cluster: {nodes: 3, machine: kv}
workload: {clients: 4, stop_ms: 19000}
until_ms: 20000
"""


@pytest.mark.parametrize("program", [lock_program, election_program])
def test_nothing_is_lost_without_a_fault(program: ClientProgram) -> None:
    """A check of exclusion would not notice leases that are never kept alive."""
    records, wrong = chaos_records(program, 1, WELL)
    assert wrong == []
    whats = [each.what for each in records]
    assert "lost" not in whats
    assert whats.count("acquired") > 15


@pytest.mark.parametrize("mistake", LOCK_MISTAKES, ids=lambda mistake: mistake.__name__)
def test_a_planted_mistake_is_found(mistake: Mistake, monkeypatch: pytest.MonkeyPatch) -> None:
    scenario = LOCK_MISTAKES[mistake]
    assert chaos_violations(lock_program, exclusion_violations, 1, scenario) == []
    mistake(monkeypatch)
    for seed in range(1, ENOUGH + 1):
        if exclusion_violations(chaos_records(lock_program, seed, scenario)[0]):
            return
    pytest.fail(f"{ENOUGH} seeds did not find it")


def test_the_drift_of_clocks_needs_its_margin(monkeypatch: pytest.MonkeyPatch) -> None:
    program = lock_program_of(lambda kv: Lock(kv, "shared", ttl_s=TTL_S, max_drift=0.3), steps=60)
    seeds = range(1, ENOUGH + 1)
    assert not any(
        chaos_violations(program, exclusion_violations, seed, SLOW_CLOCKS) for seed in seeds[:3]
    )
    ignores_the_drift(monkeypatch)
    assert any(chaos_violations(program, exclusion_violations, seed, SLOW_CLOCKS) for seed in seeds)


def record(client: int, what: str, at: float, token: int, **more: float | str) -> ProgramRecord:
    return ProgramRecord(client, at, what, {"at": at, "token": token, **more})


def test_the_check_of_exclusion_names_both_holders() -> None:
    good = [
        record(1, "acquired", 1.0, 5),
        record(1, "held", 1.5, 5),
        record(2, "acquired", 2.0, 8),
        record(2, "held", 2.5, 8),
    ]
    assert exclusion_violations(good) == []
    assert exclusion_violations([*good, record(1, "held", 2.1, 5)]) == [
        ": client 1 held token 5 at 2.100000, when client 2 had acquired token 8 at 2.000000"
    ]
    assert exclusion_violations([*good, record(3, "acquired", 3.0, 8)]) == [
        ": client 3 acquired token 8 at 3.000000, after token 8 of client 2"
    ]


def test_the_check_of_elections_judges_observers() -> None:
    good = [
        record(1, "acquired", 1.0, 5),
        record(3, "observed", 1.1, 5, label="worker-1", begun=0.0),
        record(2, "acquired", 2.0, 8),
        record(3, "observed", 2.1, 8, label="worker-2", begun=0.0),
        record(3, "observed", 2.2, 5, label="worker-1", begun=2.15),
    ]
    assert election_violations(good) == []
    again = record(3, "observed", 2.3, 5, label="worker-2", begun=0.0)
    assert election_violations([*good, again]) == [
        "client 3 observed token 5 at 2.300000 after token 8",
        "client 3 observed worker-2 with the token of client 1",
    ]


def test_leases_that_are_not_kept_alive_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    async def keep(_self: Lease, _sent_us: int) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(Lease, "_keep", keep)
    records, _ = chaos_records(lock_program, 1, WELL)
    assert "lost" in [each.what for each in records]
