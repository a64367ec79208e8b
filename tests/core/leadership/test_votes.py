"""Which request gets a vote: term x log x earlier vote x live leader x role (paper 5.2, 5.4.1; diss. 4.2.3, 9.6)."""

from __future__ import annotations

from itertools import product

import pytest

from qcore.core import RaftConfig
from qcore.core.effects import MessageDropped, SaveHardState, Send, VoteGranted
from qcore.core.events import Tick
from qcore.core.messages import (
    PreVote,
    PreVoteResponse,
    RequestVote,
    RequestVoteResponse,
)
from tests.core.support.single_core import (
    LATER,
    become,
    follow,
    make_durable,
    only,
    pristine,
    receive,
    restored,
    sent_messages,
)

LOGS = {
    "same": (3, 2),
    "longer": (4, 2),
    "newer term": (2, 3),
    "shorter": (2, 2),
    "older term": (9, 1),
}
FRESH = {"same", "longer", "newer term"}


@pytest.mark.parametrize(
    ("term", "log", "voted_for", "live_leader"),
    list(product((4, 5, 6), LOGS, (None, 2, 3), (False, True))),
)
def test_vote_is_granted_only_by_the_rules(
    term: int, log: str, voted_for: int | None, live_leader: bool
) -> None:
    """Server 1 is in term 5, its log ends at 3.2; server 2 asks."""
    core = restored((1, 1, 2), term=5, vote=voted_for)
    if live_leader:
        follow(core, 3, 5)
    index, last_term = LOGS[log]
    effects = receive(core, 2, RequestVote(term, 2, index, last_term))
    (response,) = sent_messages(effects, RequestVoteResponse)

    adopted = term > 5 and not live_leader
    free = voted_for in (None, 2) if term == 5 else True
    granted = term >= 5 and free and log in FRESH and not live_leader
    assert core.term == (6 if adopted else 5)
    assert response == RequestVoteResponse(core.term, granted)
    assert core.status().voted_for == (2 if granted else None if adopted else voted_for)
    new_vote = granted and (adopted or voted_for is None)
    assert [e.candidate_id for e in effects if isinstance(e, VoteGranted)] == [2] * new_vote
    saves = [e.write_id for e in effects if isinstance(e, SaveHardState)]
    assert bool(saves) == (adopted or new_vote)
    assert only(effects, Send).after == max(saves, default=0)


@pytest.mark.parametrize(
    ("next_term", "log", "voted_for", "live_leader"),
    list(product((5, 6, 7), LOGS, (None, 3), (False, True))),
)
def test_pre_vote_is_granted_only_by_the_rules(
    next_term: int, log: str, voted_for: int | None, live_leader: bool
) -> None:
    """The same server. The request changes nothing, whatever the response."""
    core = restored((1, 1, 2), term=5, vote=voted_for)
    if live_leader:
        follow(core, 3, 5)
    before = core.status()
    index, last_term = LOGS[log]
    effects = receive(core, 2, PreVote(next_term - 1, next_term, 2, index, last_term))
    granted = next_term > 5 and log in FRESH and not live_leader
    assert sent_messages(effects, PreVoteResponse) == [PreVoteResponse(5, next_term, granted)]
    assert len(effects) == 1
    assert core.status() == before


@pytest.mark.parametrize("role", ["pre_candidate", "candidate", "leader"])
def test_higher_term_wins_a_vote_if_no_leader_is_live(role: str) -> None:
    core = become(restored(config=RaftConfig(node_id=1, check_quorum=False)), role)
    term = core.term + 1
    effects = receive(core, 2, RequestVote(term, 2, 9, 9))
    assert sent_messages(effects, RequestVoteResponse) == [RequestVoteResponse(term, True)]
    assert core.status().role == "follower"


@pytest.mark.parametrize("role", ["candidate", "leader"])
def test_server_that_voted_for_itself_rejects_others(role: str) -> None:
    core = become(restored(), role)
    effects = receive(core, 2, RequestVote(core.term, 2, 9, 9))
    assert sent_messages(effects, RequestVoteResponse) == [RequestVoteResponse(core.term, False)]
    assert core.status().role == role


def test_leader_in_contact_with_a_quorum_ignores_a_higher_term() -> None:
    core = become(restored(), "leader")
    effects = receive(core, 2, RequestVote(core.term + 5, 2, 9, 9))
    assert sent_messages(effects, RequestVoteResponse) == [RequestVoteResponse(core.term, False)]
    assert core.status().role == "leader"


def test_leadership_transfer_overrides_the_live_leader() -> None:
    core = restored()
    follow(core, 3, 5)
    effects = receive(core, 2, RequestVote(6, 2, 9, 9, leadership_transfer=True))
    assert sent_messages(effects, RequestVoteResponse) == [RequestVoteResponse(6, True)]


@pytest.mark.parametrize(("waited_ms", "granted"), [(149, False), (150, True)])
def test_leader_is_live_for_the_shortest_election_timeout(waited_ms: int, granted: bool) -> None:
    core = restored()
    follow(core, 3, 1)
    now = LATER + waited_ms * 1000
    effects = receive(core, 2, PreVote(1, 2, 2, 9, 9), now)
    assert sent_messages(effects, PreVoteResponse) == [PreVoteResponse(1, 2, granted)]


def test_without_check_quorum_no_leader_is_protected() -> None:
    core = restored(config=RaftConfig(node_id=1, check_quorum=False))
    follow(core, 3, 1)
    effects = receive(core, 2, RequestVote(2, 2, 9, 9))
    assert sent_messages(effects, RequestVoteResponse) == [RequestVoteResponse(2, True)]


def test_adopting_a_term_is_not_granting_a_vote() -> None:
    """P3: a stale candidate raises the term, is rejected, and asks again in the same term."""
    core = restored((1, 1, 2))
    for _ in range(2):
        effects = receive(core, 2, RequestVote(7, 2, 1, 1))
        assert sent_messages(effects, RequestVoteResponse) == [RequestVoteResponse(7, False)]
        assert core.status().voted_for is None
    effects = receive(core, 3, RequestVote(7, 3, 3, 2))
    assert sent_messages(effects, RequestVoteResponse) == [RequestVoteResponse(7, True)]


def test_repeated_request_gets_the_same_vote_without_a_write() -> None:
    core = restored()
    receive(core, 2, RequestVote(4, 2, 9, 9))
    effects = receive(core, 2, RequestVote(4, 2, 9, 9))
    assert sent_messages(effects, RequestVoteResponse) == [RequestVoteResponse(4, True)]
    assert [type(effect) for effect in effects] == [Send]


def test_only_a_granted_vote_resets_the_election_timeout() -> None:
    core = restored((1, 1, 2))
    before = core.next_deadline()
    receive(core, 2, RequestVote(4, 2, 1, 1))
    assert core.next_deadline() == before
    receive(core, 2, RequestVote(4, 2, 9, 9))
    assert core.next_deadline() >= LATER + 150_000


def test_server_without_a_configuration_may_vote() -> None:
    """It cannot know the voters, but the candidate does (dissertation, 4.2.2)."""
    effects = receive(pristine(), 2, RequestVote(4, 2, 9, 9))
    assert sent_messages(effects, RequestVoteResponse) == [RequestVoteResponse(4, True)]


@pytest.mark.parametrize(
    ("granted", "role"), [(True, "leader"), (False, "candidate")], ids=["granted", "rejected"]
)
def test_the_first_response_of_a_voter_counts(granted: bool, role: str) -> None:
    core = become(restored(), "candidate")
    receive(core, 2, RequestVoteResponse(core.term, granted))
    receive(core, 2, RequestVoteResponse(core.term, not granted))
    assert core.role == role


@pytest.mark.parametrize("outsider", [1, 7])
def test_vote_of_a_non_member_does_not_count(outsider: int) -> None:
    core = become(restored(), "candidate")
    receive(core, outsider, RequestVoteResponse(core.term, True))
    assert core.role == "candidate"


@pytest.mark.parametrize("offset", [-1, 1])
def test_a_vote_of_another_term_does_not_count(offset: int) -> None:
    core = become(restored(), "candidate")
    receive(core, 2, RequestVoteResponse(core.term + offset, True))
    assert core.role != "leader"


def test_a_pre_vote_for_another_term_does_not_count() -> None:
    core = become(restored(), "pre_candidate")
    receive(core, 2, PreVoteResponse(core.term, core.term + 2, True))
    receive(core, 2, PreVoteResponse(core.term, core.term, True))
    assert core.role == "pre_candidate"


def test_candidates_vote_for_itself_counts_when_it_is_durable() -> None:
    """P1, P9: even with every other vote granted."""
    core = become(restored(), "pre_candidate")
    effects = receive(core, 2, PreVoteResponse(core.term, core.term + 1, True))
    receive(core, 2, RequestVoteResponse(core.term, True))
    assert core.role == "candidate"
    make_durable(core, effects)
    assert core.status().role == "leader"


def test_rejections_of_a_majority_end_the_attempt() -> None:
    core = become(restored(), "candidate")
    receive(core, 2, RequestVoteResponse(core.term, False))
    assert core.role == "candidate"
    receive(core, 3, RequestVoteResponse(core.term, False))
    assert core.status().role == "follower"


def test_candidate_that_hears_nothing_starts_a_pre_vote() -> None:
    core = become(restored(), "candidate")
    term = core.term
    core.step(Tick(), core.next_deadline())
    assert (core.role, core.term) == ("pre_candidate", term)


def test_vote_for_another_candidate_is_dropped() -> None:
    effects = receive(restored(), 2, PreVote(1, 2, 3, 9, 9))
    assert [type(effect) for effect in effects] == [MessageDropped]


def test_election_timeouts_are_uniform_over_their_range() -> None:
    """Paper, 5.2: randomised, so that split votes are rare."""
    core = restored()
    drawn = []
    for number in range(2000):
        now = LATER + number
        follow(core, 3, 1, now)
        drawn.append((core.next_deadline() - now) // 1000)
    assert min(drawn) >= 150
    assert max(drawn) <= 300
    for low in range(150, 300, 30):
        assert 320 <= sum(low <= value < low + 30 for value in drawn) <= 480
