"""`RunOnce` in the simulator under chaos; its check finds planted mistakes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import pytest

from qcore.sim import parse_scenario, run_scenario
from tests.recipes.checks.run_once_chaos import run_once_chaos
from tests.recipes.planted.run_once_mistakes import MISTAKES
from tests.recipes.programs.run_once_program import run_once_program

#: With which seed, and whether with `retry`, a mistake is found. There the recipe itself is not accused.
SEEDS: Final = {
    "starts_what_it_read": (1, False),
    "runs_without_lease": (1, True),
    "finishes_any_run": (1, True),
    "leaves_a_slot_open": (5, True),
    "starts_the_newest_first": (1, True),
}
QUIET: Final = """
cluster: {nodes: 3, machine: kv}
workload: {clients: 3, stop_ms: 8000, program_faults: {clock_drift_ppm: 100, clock_skew_ms: 50}}
until_ms: 9000
"""


@pytest.mark.parametrize(
    ("seed", "retry", "catch_up"), [(1, False, 0), (1, True, 0), (5, True, 0), (8, True, 3)]
)
def test_runs_survive_chaos(seed: int, retry: bool, catch_up: int) -> None:
    assert run_once_chaos(seed, retry=retry, catch_up=catch_up) == []


def test_without_faults_no_slot_is_missed() -> None:
    result = run_scenario(parse_scenario(QUIET), 1, program=run_once_program)
    assert result.ok
    done = sorted(
        record["slot"]
        for each in result.metrics["programs"]
        for record in each["records"]
        if record["what"] == "done"
    )
    assert done == [*range(done[0], done[0] + 600 * len(done), 600)]
    assert len(done) > 9


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.__name__)
def test_a_planted_mistake_is_found(
    mistake: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    mistake(monkeypatch)
    seed, retry = SEEDS[mistake.__name__]
    assert run_once_chaos(seed, retry=retry)
