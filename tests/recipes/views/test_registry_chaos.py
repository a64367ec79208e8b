"""`ServiceRegistry` under chaos in the simulator; and mistakes in it that the check finds."""

from __future__ import annotations

import pytest

from tests.recipes.chaos_runs import QUIET_FROM_S, chaos_records
from tests.recipes.checks.registry_check import registry_violations
from tests.recipes.programs.registry_program import registry_program


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_living_are_listed_and_the_dead_are_not(seed: int) -> None:
    records, wrong = chaos_records(registry_program, seed)
    assert wrong == []
    assert registry_violations(records) == []
    late = [each for each in records if each.time_s > QUIET_FROM_S]
    for client in range(1, 5):
        kinds = [each.what for each in late if each.client == client]
        assert {"alive", "synced", "read", "change"} <= {*kinds}
    assert any(each.what == "took" for each in late)
