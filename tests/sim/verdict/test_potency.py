"""Every way of generating runs finds planted faults, and finds nothing where nothing is planted.

`python -m benchmarks.potency` measures the whole table of benchmarks/README.md.
"""

from __future__ import annotations

import pytest

from benchmarks.potency.campaign import Cell, Limits, explored, measure
from benchmarks.potency.generators import GENERATORS
from benchmarks.potency.planted_faults import NO_FAULT, PLANTED_FAULTS
from benchmarks.potency.small_worlds import SMALL_BOUNDS
from tests.source.pure_build import need_pure_build

#: A few seeds, on which each pair below finds its fault more often than not.
FEW = Limits(seeds=4, enough=2, most=4, first_seed=1, batch=1)
#: The aim of the table: each planted fault is found within so many runs of one generator.
AIM = Limits(seeds=200, enough=1, most=200, batch=1)


@pytest.mark.parametrize(
    ("generator", "fault", "check"),
    [
        ("mixture", "read_confirmation", "linearizability"),
        ("chaos", "one_vote_per_term", "election_safety"),
        ("aimed", "forgets_its_promise_to_a_lease", "linearizability"),
        ("aimed", "snapshot_loses_replies", "session_hash"),
        ("aimed", "leaves_replies_out_of_snapshots", "session_hash"),
        pytest.param(
            "mixture", "log_freshness_check", "leader_completeness", marks=pytest.mark.long
        ),
        pytest.param("chaos", "freshness_check", "stale_read", marks=pytest.mark.long),
    ],
)
def test_a_planted_fault_is_found_within_four_seeds(generator: str, fault: str, check: str) -> None:
    cell = measure(generator, fault, FEW)
    assert cell.found >= 2
    assert cell.by_check[check]


@pytest.mark.parametrize("generator", GENERATORS)
def test_nothing_is_found_where_nothing_is_planted(generator: str) -> None:
    if generator == "pct":
        need_pure_build("it reads the attributes of a core by their names")
    limits = Limits(most=2, first_seed=1)
    cell = measure(generator, NO_FAULT.name, limits)
    assert (cell.runs, cell.found) == (2, 0)


@pytest.mark.pure_only("the explorer copies cores")
def test_an_exhaustive_search_finds_a_fault_and_else_nothing() -> None:
    found, nothing = explored("half_is_a_quorum"), explored(NO_FAULT.name)
    assert found is not None
    assert nothing is not None
    assert (found.found, nothing.found) == ("election_safety", "")
    assert nothing.states > found.states
    assert explored("misses_a_change_for_watches") is None, "a small cluster has no watches"


def test_searches_are_for_planted_faults_that_exist() -> None:
    assert {*SMALL_BOUNDS} <= {*PLANTED_FAULTS, NO_FAULT.name}


@pytest.mark.parametrize(
    ("found", "runs", "median"),
    [(0, 200, None), (20, 20, 1), (10, 20, 1), (2, 20, 7), (1, 200, 139)],
)
def test_median_runs_follow_from_the_share(found: int, runs: int, median: int | None) -> None:
    """After n runs at share p, the fault has been found with probability 1 - (1 - p)^n."""
    assert Cell(runs, found).median_runs == median


@pytest.mark.long
@pytest.mark.pure_only("the explorer copies cores")
@pytest.mark.parametrize("fault", PLANTED_FAULTS)
def test_every_fault_is_found_within_200_runs(fault: str) -> None:
    searched = explored(fault)
    if searched is not None and searched.found:
        return
    columns = ("aimed", "mixture", "swarm", "chaos", "pct")
    assert any(measure(generator, fault, AIM).found for generator in columns)
