"""`ConfigWatch` under chaos in the simulator; and mistakes in it that the check finds."""

from __future__ import annotations

import pytest

from tests.recipes.chaos_runs import chaos_records, progress_violations
from tests.recipes.checks.config_check import config_violations
from tests.recipes.programs.config_program import config_program


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_no_watcher_skips_a_version_silently(seed: int) -> None:
    records, wrong = chaos_records(config_program, seed)
    assert wrong == []
    assert config_violations(records) == []
    for client in range(1, 5):
        own = [each for each in records if each.client == client]
        assert progress_violations(own, "synced", 3) == []
        assert progress_violations(own, "change", 10) == []
