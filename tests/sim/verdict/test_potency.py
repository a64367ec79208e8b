"""The shipped chaos finds planted bugs, and nothing where there is none.

benchmarks/counts/potency.py has the full table.
"""

from __future__ import annotations

import pytest

from benchmarks.counts.potency import NONE, find
from qcore.sim import load_scenario
from tests.checkout import SCENARIOS

CHAOS = SCENARIOS / "chaos.yaml"


@pytest.mark.parametrize(
    ("safeguard", "check"),
    [
        ("read_confirmation", "linearizability"),
        ("freshness_check", "stale_read"),
        ("log_freshness_check", "leader_completeness"),
    ],
)
def test_general_chaos_finds_a_planted_fault_within_four_seeds(safeguard: str, check: str) -> None:
    """Well over half of all seeds find each of these bugs."""
    found, by_check = find(load_scenario(CHAOS), safeguard, range(1, 5))
    assert len(found) >= 2
    assert by_check[check]


def test_chaos_finds_nothing_with_all_safeguards_on() -> None:
    assert find(load_scenario(CHAOS), NONE, range(1, 4)) == ([], {})
