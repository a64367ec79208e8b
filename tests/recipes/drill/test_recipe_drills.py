"""Each recipe survives a hundred faults of workers and nodes with its checkers silent."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.recipes.drill.drill import run_drill
from tests.recipes.drill.recipe_drills import RECIPE_DRILLS

FAULTS = 100


@pytest.mark.long
@pytest.mark.process
@pytest.mark.parametrize("recipe", RECIPE_DRILLS)
def test_a_recipe_survives_faults_of_real_processes(tmp_path: Path, recipe: str) -> None:
    drill = RECIPE_DRILLS[recipe]
    result = run_drill(drill.program, tmp_path, faults=FAULTS)
    wrong = [*drill.violations(result), *result.failures]
    assert not wrong, "\n".join([*wrong, *result.timeline()])
    assert len(result.faults) == FAULTS
