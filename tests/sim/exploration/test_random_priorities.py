"""The probabilistic search: it finds missing safeguards, and a seed decides its runs."""

from __future__ import annotations

import pytest

from qcore.sim.exploration import Bounds, explore
from qcore.sim.exploration.fault_bounds import (
    FAULT_BOUNDS,
    find_exhaustively,
    find_with_pct,
    median_runs,
)
from qcore.sim.exploration.search.random_priorities import RandomPriorities
from qcore.sim.exploration.small.small_cluster import SmallCluster

pytestmark = pytest.mark.pure_only("the explorer copies cores")

#: Found within a few hundred runs; the long test has the others.
SHALLOW = ("one_vote_per_term", "log_freshness_check", "read_confirmation")


@pytest.mark.parametrize("safeguard", SHALLOW)
def test_random_priorities_find_a_missing_safeguard(safeguard: str) -> None:
    found = find_with_pct(safeguard, [1, 2, 3], runs=1000)
    assert None not in found
    assert 1 <= median_runs(found, 1000) <= 1000


def test_with_all_safeguards_no_run_finds_anything() -> None:
    assert find_with_pct(Bounds(timeouts=3, crashes=1, sync="free"), [1], runs=40) == [None]


def test_a_seed_decides_the_runs() -> None:
    bounds = Bounds(timeouts=3, writes=1, start="leader")
    first, second = (RandomPriorities(SmallCluster(bounds)).search(7, 8) for _ in range(2))
    assert (first.steps, first.states, first.longest) == (
        second.steps,
        second.states,
        second.longest,
    )
    other = RandomPriorities(SmallCluster(bounds)).search(8, 8)
    assert (first.steps, first.states) != (other.steps, other.states)


def test_the_steps_of_a_failing_run_break_the_property_again() -> None:
    found = explore(
        FAULT_BOUNDS["one_vote_per_term"],
        without=["one_vote_per_term"],
        strategy="pct",
        runs=1000,
    )
    assert found.counterexample is not None
    assert "voted for" in found.counterexample.broken.note


@pytest.mark.long
@pytest.mark.parametrize("safeguard", FAULT_BOUNDS)
def test_both_strategies_find_every_missing_safeguard(safeguard: str) -> None:
    assert not find_exhaustively(safeguard).ok
    assert None not in find_with_pct(safeguard, range(3), runs=40_000)
