"""`Queue` in the simulator under chaos; its check finds planted mistakes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import pytest

from qcore.client.programs.program_context import ProgramRecord
from tests.recipes.chaos_runs import QUIET_FROM_S, chaos_records, progress_violations
from tests.recipes.checks.queue_check import drain_violations, queue_violations
from tests.recipes.planted.queue_mistakes import MISTAKES
from tests.recipes.programs.queue_program import queue_program

#: Each mistake is found within so many seeds.
MAX_SEEDS: Final = 40
#: These need several seeds, so only the long tests look for them.
RARE: Final = ("puts_again", "forgets_an_attempt", "acknowledges_any_claim")


def violations_of(records: list[ProgramRecord]) -> list[str]:
    return [*queue_violations(records), *drain_violations(records, QUIET_FROM_S)]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_queue_survives_chaos(seed: int) -> None:
    records, wrong = chaos_records(queue_program, seed)
    wrong += progress_violations(records, "acknowledged", 10)
    assert wrong + violations_of(records) == []


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
    seeds = range(1, MAX_SEEDS + 1)
    assert any(violations_of(chaos_records(queue_program, seed)[0]) for seed in seeds)
