"""The shipped chaos scenarios find planted bugs, and nothing where there is none.

benchmarks/counts/potency.py has the full table.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.counts.potency import NONE, find
from qcore.sim import load_scenario
from tests.checkout import SCENARIOS

CHAOS = SCENARIOS / "chaos.yaml"
MIXTURE = SCENARIOS / "chaos_mixture.yaml"


@pytest.mark.parametrize(
    ("scenario", "safeguard", "check"),
    [
        (MIXTURE, "read_confirmation", "linearizability"),
        pytest.param(MIXTURE, "log_freshness_check", "leader_completeness", marks=pytest.mark.long),
        pytest.param(CHAOS, "freshness_check", "stale_read", marks=pytest.mark.long),
        (CHAOS, "one_vote_per_term", "election_safety"),
    ],
)
def test_general_chaos_finds_a_planted_fault_within_four_seeds(
    scenario: Path, safeguard: str, check: str
) -> None:
    """Well over half of all seeds find each of these bugs."""
    found, by_check = find(load_scenario(scenario), safeguard, range(1, 5))
    assert len(found) >= 2
    assert by_check[check]


@pytest.mark.parametrize("scenario", [CHAOS, MIXTURE], ids=lambda path: path.stem)
def test_chaos_finds_nothing_with_all_safeguards_on(scenario: Path) -> None:
    assert find(load_scenario(scenario), NONE, range(1, 3)) == ([], {})
