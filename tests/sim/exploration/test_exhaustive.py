"""The exhaustive search: what it finds, what it visits, and that its reductions hide nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.potency.planted_faults import PLANTED_FAULTS
from qcore.core import quorum
from qcore.core.entry import Membership
from qcore.errors import ConfigError
from qcore.sim.exploration import Bounds, explore
from qcore.sim.exploration.bounds import PRESETS
from qcore.sim.exploration.search.breadth_first import BreadthFirst
from qcore.sim.exploration.small.small_cluster import SmallCluster

pytestmark = pytest.mark.pure_only("the explorer copies cores")

#: Safeguard -> bounds that suffice to find its absence, the check, and the fewest steps.
FAULTS = {
    "one_vote_per_term": (Bounds(timeouts=2), "election_safety", 4),
    "vote_durable_before_reply": (
        Bounds(timeouts=2, crashes=1, sync="free"),
        "election_safety",
        5,
    ),
    "log_freshness_check": (
        Bounds(timeouts=2, writes=1, start="leader"),
        "leader_completeness",
        6,
    ),
    "append_durable_before_ack": (
        Bounds(timeouts=1, writes=1, crashes=1, sync="free", start="leader"),
        "leader_completeness",
        9,
    ),
    "read_confirmation": (
        Bounds(timeouts=1, reads=1, start="leader"),
        "linearizable_read",
        6,
    ),
}


@pytest.mark.parametrize("safeguard", FAULTS)
@pytest.mark.parametrize("reduction", [True, False])
def test_a_missing_safeguard_is_found_by_the_shortest_path(safeguard: str, reduction: bool) -> None:
    bounds, check, steps = FAULTS[safeguard]
    found = explore(bounds, without=[safeguard], reduction=reduction)
    assert found.counterexample is not None
    assert found.counterexample.broken.check == check
    assert len(found.counterexample.steps) == steps


@pytest.mark.parametrize("safeguard", FAULTS)
def test_with_all_safeguards_nothing_is_found(safeguard: str) -> None:
    bounds, _, steps = FAULTS[safeguard]
    found = explore(bounds, depth=steps)
    assert found.ok
    assert found.depth == steps


def widths(bounds: Bounds, depth: int, *, sleep_sets: bool, symmetry: bool) -> list[int]:
    search = BreadthFirst(SmallCluster(bounds), sleep_sets=sleep_sets, symmetry=symmetry)
    return search.run(max_depth=depth).widths


def test_sleep_sets_hide_no_state() -> None:
    bounds = Bounds(timeouts=2, crashes=1, sync="free")
    for symmetry in (True, False):
        every = widths(bounds, 6, sleep_sets=False, symmetry=symmetry)
        assert widths(bounds, 6, sleep_sets=True, symmetry=symmetry) == every


def test_an_unknown_safeguard_is_an_error_with_the_names() -> None:
    with pytest.raises(ConfigError, match="one_vote_per_term"):
        explore("election", without=["two_votes"])


@pytest.mark.parametrize("name", PRESETS)
def test_no_preset_finds_anything_with_all_safeguards(name: str) -> None:
    found = explore(name, max_states=1_500)
    assert found.ok, found.text()
    assert found.states >= 1_500


def test_a_decision_by_the_new_voters_alone_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The joint phase needs both majorities: here the code that counts ignores the old voters."""
    value, vote = quorum.quorum_value, quorum.vote_result
    monkeypatch.setattr(quorum, "quorum_value", lambda m, held: value(_new_only(m), held))
    monkeypatch.setattr(quorum, "vote_result", lambda m, votes: vote(_new_only(m), votes))
    found = explore("membership")
    assert found.counterexample is not None


@pytest.mark.parametrize(
    "name",
    ["commits_beyond_what_agrees", pytest.param("truncates_what_agrees", marks=pytest.mark.long)],
)
def test_a_follower_that_stores_wrongly_is_found(name: str) -> None:
    with PLANTED_FAULTS[name].planted():
        found = explore("replication")
    assert found.counterexample is not None


def _new_only(membership: Membership) -> Membership:
    return replace(membership, voters_outgoing=())


@pytest.mark.long
@pytest.mark.parametrize("name", PRESETS)
def test_many_states_of_a_preset_break_nothing(name: str) -> None:
    found = explore(name, max_states=500_000)
    assert found.ok, found.text()


def test_small_bounds_are_visited_completely() -> None:
    found = explore(Bounds(timeouts=1, crashes=1, sync="free"))
    assert found.complete
    assert found.ok
    assert "every state was visited" in str(found)
