"""`RunOnce` in the simulator under chaos; its check finds planted mistakes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import pytest

from tests.recipes.chaos_runs import chaos_records
from tests.recipes.checks.run_once_chaos import run_once_chaos
from tests.recipes.checks.run_once_check import slot_of
from tests.recipes.planted.run_once_mistakes import MISTAKES
from tests.recipes.programs.run_once_program import run_once_program_of

#: Each mistake is found within so many seeds.
MAX_SEEDS: Final = 12
#: These need several seeds, so only the long tests look for them.
RARE: Final = ("finishes_any_run",)
QUIET: Final = """
cluster: {nodes: 3, machine: kv}
workload: {clients: 3, stop_ms: 8000, program_faults: {clock_drift_ppm: 100, clock_skew_ms: 50}}
until_ms: 9000
"""


@pytest.mark.parametrize(("seed", "retry", "catch_up"), [(1, False, 0), (1, True, 0), (2, True, 3)])
def test_runs_survive_chaos(seed: int, retry: bool, catch_up: int) -> None:
    assert run_once_chaos(seed, retry=retry, catch_up=catch_up) == ([], [])


def test_without_faults_no_slot_is_missed() -> None:
    program = run_once_program_of(retry=True, long_runs=0)
    records, wrong = chaos_records(program, 1, QUIET)
    assert wrong == []
    done = sorted(slot_of(each) for each in records if each.what == "done")
    assert done == [*range(done[0], done[0] + 600 * len(done), 600)]
    assert len(done) > 9


@pytest.mark.parametrize(
    "mistake",
    [
        pytest.param(
            mistake,
            marks=[pytest.mark.long] if mistake.__name__ in RARE else [],
            id=mistake.__name__,
        )
        for mistake in MISTAKES
    ],
)
def test_a_planted_mistake_is_found(
    mistake: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    mistake(monkeypatch)
    assert any(run_once_chaos(seed, retry=True)[1] for seed in range(1, MAX_SEEDS + 1))
