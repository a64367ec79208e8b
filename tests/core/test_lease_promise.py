"""A lease rests on what followers promised: no vote for anybody else until the shortest election timeout has passed.

The promise must outlive whatever makes a follower forget its leader (dissertation 6.4.1).
"""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from qcore.core import DurableState, HardState, RaftConfig, RaftCore
from qcore.core.effects import ReadReady, Send
from qcore.core.events import Campaign, MessageReceived, ReadRequested, Tick, WriteDurable
from qcore.core.messages import (
    AppendEntriesResponse,
    PreVote,
    PreVoteResponse,
    RequestVote,
    RequestVoteResponse,
)
from tests.core.cluster import started
from tests.core.single import LATER, THREE, answers, become, follow, make_durable, receive, restored

LEASES = RaftConfig(1, lease_reads=True)
PROMISED = LEASES.election_timeout_min_ms * 1000


def follower_that_learns_of_a_newer_term() -> RaftCore:
    """It asked for votes once; its leader is heard again; then a late answer tells of term 7."""
    core = restored(config=LEASES)
    core.step(Tick(), LATER)
    assert core.role == "pre_candidate"
    follow(core, 2, 1)
    receive(core, 3, PreVoteResponse(term=7, next_term=2, vote_granted=False))
    assert (core.term, core.leader_id) == (7, None)
    return core


@pytest.mark.parametrize("term", [7, 8])
def test_a_newer_term_does_not_end_the_promise(term: int) -> None:
    for at, granted in ((LATER + PROMISED - 1, False), (LATER + PROMISED, True)):
        core = follower_that_learns_of_a_newer_term()
        (answer,) = answers(receive(core, 3, RequestVote(term, 3, 9, 7), at), RequestVoteResponse)
        assert answer.vote_granted == granted


def test_a_newer_term_does_not_end_the_promise_for_pre_votes() -> None:
    core = follower_that_learns_of_a_newer_term()
    (answer,) = answers(receive(core, 3, PreVote(7, 8, 3, 9, 7)), PreVoteResponse)
    assert not answer.vote_granted


@pytest.mark.parametrize("pre_vote", [True, False])
def test_a_server_that_is_told_to_campaign_keeps_its_own_promise(pre_vote: bool) -> None:
    """With its own vote it could win while the leader still reads under the lease that it gave."""
    core = restored(config=replace(LEASES, pre_vote=pre_vote))
    core.step(Tick(), LATER)
    follow(core, 2, 2)
    assert core.leader_id == 2
    for at, role in ((LATER + PROMISED - 1, "follower"), (LATER + PROMISED, "candidate")):
        core.step(Campaign(), at)
        assert core.role.removeprefix("pre_") == role


def test_a_transfer_may_be_voted_for_all_the_same() -> None:
    """The leader itself gave the lease up when it began the transfer."""
    core = follower_that_learns_of_a_newer_term()
    request = RequestVote(8, 3, 9, 7, leadership_transfer=True)
    (answer,) = answers(receive(core, 3, request), RequestVoteResponse)
    assert answer.vote_granted


@pytest.mark.parametrize(("term", "granted"), [(0, True), (5, False)])
def test_a_restarted_server_with_an_empty_log_may_have_promised_too(
    term: int, granted: bool
) -> None:
    """A new voter answers heartbeats, which renew the lease, before it holds a single entry."""
    state = DurableState(HardState(term, None, 0), None, [])
    core = RaftCore(LEASES, state, rng=random.Random(1), now=LATER)
    effects = receive(core, 3, RequestVote(6, 3, 9, 5), LATER + 1)
    (answer,) = answers(effects, RequestVoteResponse)
    assert answer.vote_granted == granted


def test_a_restart_amid_a_vote_of_the_same_term_keeps_the_promise() -> None:
    """The server knows term 7 from a candidate whose request it has not granted."""
    core = restored(term=7, config=LEASES)
    (answer,) = answers(
        receive(core, 3, RequestVote(7, 3, 9, 6), PROMISED - 1), RequestVoteResponse
    )
    assert not answer.vote_granted
    (answer,) = answers(receive(core, 3, RequestVote(7, 3, 9, 6), PROMISED), RequestVoteResponse)
    assert answer.vote_granted


@pytest.mark.parametrize(
    ("follower", "held"),
    [
        (RaftConfig(2, lease_reads=True), True),
        (RaftConfig(2, lease_reads=True, election_timeout_min_ms=200), True),
        (RaftConfig(2, lease_reads=True, election_timeout_min_ms=149), False),
        (RaftConfig(2), False),
    ],
)
def test_a_leader_counts_only_on_promises_as_long_as_its_lease(
    follower: RaftConfig, held: bool
) -> None:
    """Settings that differ between the servers must cost the lease, not the reads' freshness."""
    leader = become(restored(config=LEASES), "leader")
    leader.step(WriteDurable(2), LATER)
    other = RaftCore(follower, started(THREE, (1,), 0), rng=random.Random(2), now=0)
    now = LATER
    for _ in range(3):
        now = leader.next_deadline()
        effects = leader.step(Tick(), now)
        while requests := [e.message for e in effects if isinstance(e, Send) and e.to == 2]:
            effects = []
            for request in requests:
                taken = other.step(MessageReceived(1, request), now)
                make_durable(other, taken)
                for response in answers(taken, AppendEntriesResponse):
                    effects += receive(leader, 2, response, now)
    assert leader.commit >= 2
    served = leader.step(ReadRequested(1, lease=True), now)
    assert any(isinstance(effect, ReadReady) for effect in served) == held


def test_without_leases_nothing_is_promised() -> None:
    core = restored(term=7)
    effects = receive(core, 3, RequestVote(7, 3, 9, 6), 1)
    core.step(WriteDurable(1), 1)
    (answer,) = answers(effects, RequestVoteResponse)
    assert answer.vote_granted
