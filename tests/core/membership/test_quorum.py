"""Majorities, simple and joint, against brute force over every subset (P2)."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qcore.core import Membership
from qcore.core.quorum import quorum_value, vote_result

ids = st.integers(1, 9)
voter_set = st.lists(ids, min_size=1, max_size=7, unique=True).map(lambda v: tuple(sorted(v)))
memberships = st.builds(
    Membership, voters=voter_set, voters_outgoing=st.one_of(st.just(()), voter_set)
)


def is_quorum(membership: Membership, nodes: frozenset[int]) -> bool:
    """By definition: more than half of each voter set."""
    sets = [s for s in (membership.voters, membership.voters_outgoing) if s]
    return all(2 * len(nodes.intersection(voters)) > len(voters) for voters in sets)


@given(memberships, st.dictionaries(ids, st.integers(0, 6)))
def test_agreed_value_is_the_highest_a_quorum_has_reached(
    membership: Membership, values: dict[int, int]
) -> None:
    everyone = sorted({*membership.voters, *membership.voters_outgoing})
    best = max(
        min(values.get(node, 0) for node in subset)
        for size in range(1, len(everyone) + 1)
        for subset in combinations(everyone, size)
        if is_quorum(membership, frozenset(subset))
    )
    assert quorum_value(membership, values) == best


@given(memberships, st.lists(st.tuples(ids, st.integers(0, 6)), max_size=20))
def test_acknowledgements_in_any_order_give_the_same_value(
    membership: Membership, reports: list[tuple[int, int]]
) -> None:
    """P2: a cached order of the voters went stale. Here the order in which a mapping is filled does not matter."""
    forward: dict[int, int] = {}
    backward: dict[int, int] = {}
    for node, value in reports:
        forward[node] = max(forward.get(node, 0), value)
        quorum_value(membership, forward)
    for node, value in reversed(reports):
        backward[node] = max(backward.get(node, 0), value)
    assert quorum_value(membership, forward) == quorum_value(membership, backward)


@given(memberships, st.dictionaries(ids, st.booleans()))
def test_votes_win_with_a_quorum_and_lose_when_none_can(
    membership: Membership, votes: dict[int, bool]
) -> None:
    granted = frozenset(node for node, vote in votes.items() if vote)
    everyone = frozenset(membership.voters + membership.voters_outgoing)
    possible = granted | frozenset(node for node in everyone if node not in votes)
    expected = (
        "won"
        if is_quorum(membership, granted)
        else "pending"
        if is_quorum(membership, possible)
        else "lost"
    )
    assert vote_result(membership, votes) == expected


@pytest.mark.parametrize(
    ("voters", "outgoing", "values", "agreed"),
    [
        ((1,), (), {1: 7}, 7),
        ((1, 2), (), {1: 7}, 0),
        ((1, 2), (), {1: 7, 2: 5}, 5),
        ((1, 2, 3), (), {1: 7, 2: 5}, 5),
        ((1, 2, 3, 4), (), {1: 9, 2: 8, 3: 7, 4: 6}, 7),
        ((1, 2, 3, 4, 5), (), {1: 1, 2: 2, 3: 3, 4: 4, 5: 5}, 3),
        ((1, 2, 3), (), {1: 7, 8: 9, 9: 9}, 0),
        ((1, 2, 3), (3, 4, 5), {1: 9, 2: 9, 3: 9}, 0),
        ((1, 2, 3), (3, 4, 5), {1: 9, 2: 8, 4: 7, 5: 6}, 6),
        ((1, 2, 3), (1,), {1: 4, 2: 9, 3: 9}, 4),
    ],
)
def test_agreed_value_of_known_examples(
    voters: tuple[int, ...], outgoing: tuple[int, ...], values: dict[int, int], agreed: int
) -> None:
    assert quorum_value(Membership(voters=voters, voters_outgoing=outgoing), values) == agreed
