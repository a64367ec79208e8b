"""A node differs only if a majority of the voters agrees on another digest at an equal index and version."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from qcore.core.entry import Membership
from qcore.replica.divergence.member_comparison import contradiction
from qcore.replica.messages import StateDigest

VOTERS = Membership(voters=(1, 2, 3, 4, 5), learners=(6,))

digests = st.dictionaries(
    st.integers(1, 3),
    st.tuples(st.integers(4, 5), st.sampled_from("ab"), st.sampled_from(["", "x", "y"])),
    max_size=3,
).map(
    lambda found: {
        at: StateDigest(at, rules, 1, state, log) for at, (rules, state, log) in found.items()
    }
)
members = st.dictionaries(st.integers(2, 6), digests, max_size=5)


def one(index: int, state: str, log: str = "", rules: int = 4) -> dict[int, StateDigest]:
    return {index: StateDigest(index, rules, 1, state, log)}


@given(own=digests, reported=members)
def test_the_decision_is_that_of_a_count_of_votes(
    own: dict[int, StateDigest], reported: dict[int, dict[int, StateDigest]]
) -> None:
    expected = set()
    for at, mine in own.items():
        for what in ("state", "log"):
            votes = Counter(
                getattr(held[at], what)
                for member, held in reported.items()
                if member in VOTERS.voters and at in held and held[at].rules == mine.rules
            )
            ours = getattr(mine, what)
            expected |= {
                (at, what)
                for value, n in votes.items()
                if n >= 3 and value and ours and value != ours
            }
    found = contradiction(VOTERS, own, reported)
    if found is None:
        assert not expected
    else:
        assert (found.index, found.what) in expected
        assert found.index == max(at for at, _ in expected)


@given(reported=members)
def test_a_node_that_agrees_with_a_majority_never_differs(
    reported: dict[int, dict[int, StateDigest]],
) -> None:
    with_majority = {2: one(3, "a", "x"), 3: one(3, "a", "x"), **{4: reported.get(4, {})}}
    assert contradiction(VOTERS, one(3, "a", "x"), with_majority) is None


def test_a_tie_and_a_minority_decide_nothing() -> None:
    four = Membership(voters=(1, 2, 3, 4))
    assert (
        contradiction(four, one(9, "a"), {2: one(9, "a"), 3: one(9, "b"), 4: one(9, "b")}) is None
    )
    two = Membership(voters=(1, 2))
    assert contradiction(two, one(9, "a"), {2: one(9, "b")}) is None


def test_another_version_or_index_is_no_difference() -> None:
    three = Membership(voters=(1, 2, 3))
    newer = {2: one(9, "b", rules=5), 3: one(9, "b", rules=5)}
    assert contradiction(three, one(9, "a"), newer) is None
    assert contradiction(three, one(8, "a"), {2: one(9, "b"), 3: one(9, "b")}) is None


def test_equal_states_after_different_logs_differ() -> None:
    three = Membership(voters=(1, 2, 3))
    found = contradiction(three, one(9, "a", "x"), {2: one(9, "a", "y"), 3: one(9, "a", "y")})
    assert found is not None
    assert (found.index, found.what, found.own, found.majority) == (9, "log", "x", "y")


def test_a_joint_phase_needs_a_majority_of_both_sets() -> None:
    joint = Membership(voters=(1, 2, 3), voters_outgoing=(1, 4, 5))
    half = {2: one(9, "b"), 3: one(9, "b")}
    assert contradiction(joint, one(9, "a"), half) is None
    assert contradiction(joint, one(9, "a"), {**half, 4: one(9, "b"), 5: one(9, "b")}) is not None
