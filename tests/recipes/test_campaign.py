"""Each recipe survives a thousand seeds of chaos with its checks silent."""

from __future__ import annotations

import pytest

from tests.recipes.campaign import run_campaign
from tests.recipes.drill.recipe_drills import RECIPE_DRILLS


@pytest.mark.long
@pytest.mark.parametrize("recipe", RECIPE_DRILLS)
def test_a_recipe_survives_a_thousand_seeds(recipe: str) -> None:
    *wrong, _summary = run_campaign(recipe, range(1, 1001), jobs=1)
    assert wrong == []


def test_a_campaign_names_the_seeds_of_its_findings(monkeypatch: pytest.MonkeyPatch) -> None:
    drill = RECIPE_DRILLS["lock"]
    monkeypatch.setitem(drill.progress, "never", 1)
    *wrong, summary = run_campaign("lock", range(7, 8), jobs=0)
    assert [text.partition(": ")[0] for text in wrong] == ["lock seed 7"]
    assert summary.startswith("lock: 1 seeds, 1 bad, ")
