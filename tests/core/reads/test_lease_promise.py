"""A lease relies on the followers' promise to vote for no other node until the shortest election timeout has passed.

The promise must outlive every event that makes a follower forget its leader (dissertation 6.4.1).
"""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from qcore.core import DurableState, Entry, HardState, RaftConfig, RaftCore
from qcore.core.effects import Effect, SaveHardState, Send
from qcore.core.events import Campaign, Tick, WriteDurable
from qcore.core.messages import (
    AppendEntries,
    AppendEntriesResponse,
    PreVote,
    PreVoteResponse,
    RequestVote,
    RequestVoteResponse,
    TimeoutNow,
)
from qcore.core.version import ClusterVersion
from tests.core.support.single_core import (
    LATER,
    THREE,
    follow,
    receive,
    restored,
    sent_messages,
)
from tests.driver.cores import CoreCluster
from tests.driver.first_state import started

LEASES = RaftConfig(1, lease_reads=True)
PROMISED = LEASES.election_timeout_min_ms * 1000


def follower_that_learns_of_a_newer_term() -> RaftCore:
    """It once asked for votes and hears its leader again; then a late response reports term 7."""
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
        (response,) = sent_messages(
            receive(core, 3, RequestVote(term, 3, 9, 7), at), RequestVoteResponse
        )
        assert response.vote_granted == granted


def test_a_newer_term_does_not_end_the_promise_for_pre_votes() -> None:
    core = follower_that_learns_of_a_newer_term()
    (response,) = sent_messages(receive(core, 3, PreVote(7, 8, 3, 9, 7)), PreVoteResponse)
    assert not response.vote_granted


@pytest.mark.parametrize("pre_vote", [True, False])
def test_campaign_request_does_not_break_the_promise(pre_vote: bool) -> None:
    """With a vote for itself it could win while the leader still reads under the lease that it promised."""
    core = restored(config=replace(LEASES, pre_vote=pre_vote))
    core.step(Tick(), LATER)
    follow(core, 2, 2)
    assert core.leader_id == 2
    for at, role in ((LATER + PROMISED - 1, "follower"), (LATER + PROMISED, "candidate")):
        core.step(Campaign(), at)
        assert core.role.removeprefix("pre_") == role


def test_promise_does_not_block_votes_for_a_transfer() -> None:
    """The leader itself voided the lease when it began the transfer."""
    core = follower_that_learns_of_a_newer_term()
    request = RequestVote(8, 3, 9, 7, leadership_transfer=True)
    (response,) = sent_messages(receive(core, 3, request), RequestVoteResponse)
    assert response.vote_granted


@pytest.mark.parametrize(("term", "granted"), [(0, True), (5, False)])
def test_restarted_server_with_an_empty_log_keeps_a_promise(term: int, granted: bool) -> None:
    """A new voter responds to heartbeats, which renew the lease, before it holds any entry."""
    state = DurableState(HardState(term, None, 0), None, [])
    core = RaftCore(LEASES, state, rng=random.Random(1), now=LATER)
    effects = receive(core, 3, RequestVote(6, 3, 9, 5), LATER + 1)
    (response,) = sent_messages(effects, RequestVoteResponse)
    assert response.vote_granted == granted


def test_restart_during_a_vote_keeps_the_promise() -> None:
    """The server knows term 7 from a candidate whose request it has not granted."""
    core = restored(term=7, config=LEASES)
    (response,) = sent_messages(
        receive(core, 3, RequestVote(7, 3, 9, 6), PROMISED - 1), RequestVoteResponse
    )
    assert not response.vote_granted
    (response,) = sent_messages(
        receive(core, 3, RequestVote(7, 3, 9, 6), PROMISED), RequestVoteResponse
    )
    assert response.vote_granted


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
    """Settings that differ between the servers may cost the lease, but never make reads stale."""
    cluster = CoreCluster.of(3, LEASES)
    cluster.drivers[2].config = follower
    cluster.restart(2)
    cluster.isolate(3)
    leader = cluster.elect(1)
    for _ in range(3):
        cluster.advance(LEASES.heartbeat_ms)
        leader.tick()
        cluster.settle()
    assert leader.core.commit_index >= 2
    cluster.read(1, lease=True)
    assert bool(leader.reads_ready) == held


def test_without_leases_nothing_is_promised() -> None:
    core = restored(term=7)
    effects = receive(core, 3, RequestVote(7, 3, 9, 6), 1)
    core.step(WriteDurable(1), 1)
    (response,) = sent_messages(effects, RequestVoteResponse)
    assert response.vote_granted


# -- the promise on disk ---------------------------------------------------------------------------

BY_RULES = {
    rules: DurableState(
        HardState(1),
        None,
        [
            *started(THREE, (1,), 0).entries,
            Entry(2, 1, "version", ClusterVersion(rules, "m", 1).to_json(), 0),
        ],
    )
    for rules in (1, 2)
}


def restart(config: RaftConfig, promise_ms: int, *, rules: int = 2) -> RaftCore:
    state = replace(BY_RULES[rules], hard_state=HardState(1, None, 0, promise_ms))
    return RaftCore(config, state, rng=random.Random(1), now=LATER)


def receive_heartbeat(core: RaftCore, now: int, term: int = 1) -> list[Effect]:
    """A heartbeat of server 2."""
    return receive(core, 2, AppendEntries(term, 2, 2, 1, 0, []), now)


def stored_promises(effects: list[Effect]) -> list[int]:
    """The promises in the writes to the disk."""
    return [e.hard_state.promise_ms for e in effects if isinstance(e, SaveHardState)]


@pytest.mark.parametrize(("rules", "stored"), [(1, []), (2, [150])])
def test_first_promise_is_sent_only_after_it_is_durable(rules: int, stored: list[int]) -> None:
    """By the rules of 0.1.0 no promise is stored: 0.1.0 could not read it."""
    core = restart(LEASES, 0, rules=rules)
    effects = receive_heartbeat(core, LATER + 1)
    (send,) = [e for e in effects if isinstance(e, Send)]
    assert (stored_promises(effects), send.after) == (stored, len(stored))
    assert stored_promises(receive_heartbeat(core, LATER + 2)) == [], "once is enough"


def test_a_longer_promise_is_stored_before_it_is_made() -> None:
    core = restart(replace(LEASES, election_timeout_min_ms=200), 150)
    effects = receive_heartbeat(core, LATER + 1)
    assert stored_promises(effects) == [200]
    (response,) = sent_messages(effects, AppendEntriesResponse)
    assert response.promise_ms == 200


def test_a_new_term_is_stored_with_the_promise() -> None:
    assert stored_promises(receive_heartbeat(restart(LEASES, 0), LATER, term=2)) == [150]
    assert stored_promises(receive_heartbeat(restart(LEASES, 0, rules=1), LATER, term=2)) == [0]


@pytest.mark.parametrize(
    ("config", "then"), [(RaftConfig(1), 0), (replace(LEASES, election_timeout_min_ms=60), 60)]
)
def test_a_stored_promise_is_lowered_once_it_has_expired(config: RaftConfig, then: int) -> None:
    for at, promise_ms in ((LATER + PROMISED - 1, 150), (LATER + PROMISED, then)):
        assert stored_promises(receive_heartbeat(restart(config, 150), at, term=2)) == [promise_ms]


@pytest.mark.parametrize("check_quorum", [True, False])
def test_a_stored_promise_holds_with_lease_reads_off(check_quorum: bool) -> None:
    config = RaftConfig(1, check_quorum=check_quorum)
    for at, granted in ((LATER + PROMISED - 1, False), (LATER + PROMISED, True)):
        core = restart(config, 150)
        (rejection,) = sent_messages(receive(core, 3, PreVote(1, 2, 3, 9, 1), at), PreVoteResponse)
        (response,) = sent_messages(
            receive(core, 3, RequestVote(2, 3, 9, 1), at), RequestVoteResponse
        )
        assert (rejection.vote_granted, response.vote_granted) == (granted, granted)
        assert core.term == (2 if granted else 1), "a rejected request must not change the term"


@pytest.mark.parametrize("event", [Campaign(), Tick()], ids=["on request", "by itself"])
def test_stored_promise_blocks_campaigns_with_lease_reads_off(event: Campaign | Tick) -> None:
    quick = RaftConfig(
        1, heartbeat_ms=10, election_timeout_min_ms=20, election_timeout_max_ms=20, pre_vote=False
    )
    for at, term in ((LATER + PROMISED - 1, 1), (LATER + PROMISED, 2)):
        core = restart(quick, 150)
        core.step(event, at)
        assert core.term == term


def test_leaders_transfer_request_overrides_the_promise() -> None:
    """The leader voided its lease before."""
    core = restart(RaftConfig(1), 150)
    receive_heartbeat(core, LATER + 1)
    receive(core, 2, TimeoutNow(1, 2), LATER + 2)
    receive(core, 3, PreVoteResponse(1, 2, True), LATER + 3)
    assert core.term == 2
