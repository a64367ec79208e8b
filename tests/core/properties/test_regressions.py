"""Faults that a hostile review of the core, or a random walk over it, found. Each stays fixed."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import cast

import pytest

from qcore.core import (
    DurableState,
    Entry,
    HardState,
    Membership,
    RaftConfig,
    RaftCore,
    Snapshot,
    SnapshotMeta,
)
from qcore.core.effects import (
    AppendLog,
    Effect,
    MessageDropped,
    ProposalAccepted,
    Send,
    StoreSnapshot,
)
from qcore.core.events import (
    Bootstrap,
    Campaign,
    MessageReceived,
    PeerUnreachable,
    Propose,
    SnapshotTaken,
    WriteDurable,
)
from qcore.core.messages import (
    AppendEntries,
    InstallSnapshot,
    InstallSnapshotResponse,
    PreVote,
    RequestVote,
    RequestVoteResponse,
)
from qcore.errors import ConfigError, LogCorrupt
from tests.driver.cores import CoreCluster
from tests.driver.first_state import membership_entry, started, whole_snapshot

THREE = Membership(voters=(1, 2, 3))


def sends(effects: list[Effect], to: int) -> list[Send]:
    return [effect for effect in effects if isinstance(effect, Send) and effect.to == to]


def core_of(state: DurableState, node_id: int = 1) -> RaftCore:
    core = RaftCore(RaftConfig(node_id=node_id), state, rng=random.Random(1), now=0)
    core.initial_effects()
    return core


def test_full_window_of_compacted_appends_ends_in_a_snapshot() -> None:
    """The window waits for lost appends that can never be sent again: heartbeats must end the wait."""
    cluster = CoreCluster.of(3, RaftConfig(node_id=1, max_inflight_messages=2))
    cluster.elect(1)
    cluster.isolate(3)
    for number in range(10):
        cluster.propose(1, f"c{number}")
        cluster.settle()
    status = cluster.core(1).status()
    assert status.peers[3].inflight_messages == 2
    assert status.commit_index == status.last_log_index
    cluster.take_snapshot(1)
    assert cluster.core(1).status().first_log_index > status.peers[3].next
    cluster.heal()
    for _ in range(3):
        cluster.timeout(1)
        cluster.settle()
    assert cluster.core(3).commit_index == cluster.core(1).commit_index


def test_snapshot_is_not_resent_forever_to_a_dead_follower() -> None:
    cluster = CoreCluster.of(3)
    cluster.elect(1)
    cluster.crash(3)
    cluster.propose(1, "a", "b")
    cluster.settle()
    cluster.take_snapshot(1)
    cluster.settle()
    snapshots = 0
    for number in range(100):
        cluster.timeout(1)
        cluster.step(1, PeerUnreachable(3))
        cluster.propose(1, f"c{number}")
        snapshots += sum(isinstance(sent.message, InstallSnapshot) for sent in cluster.network)
        cluster.settle()
    assert cluster.drivers[1].now > 4_000_000
    assert snapshots <= 10  # in the first election timeout, while the follower may only be slow
    cluster.drivers[3].now = cluster.drivers[1].now
    cluster.restart(3)
    for _ in range(3):
        cluster.timeout(1)
        cluster.settle()
    assert cluster.core(3).commit_index == cluster.core(1).commit_index


def test_same_batch_is_not_resent_to_a_dead_follower() -> None:
    cluster = CoreCluster.of(3)
    cluster.elect(1)
    cluster.crash(3)
    cluster.step(1, PeerUnreachable(3))
    batches = 0
    for number in range(50):
        effects = cluster.propose(1, f"c{number}")
        batches += len(
            [send for send in sends(effects, 3) if cast(AppendEntries, send.message).entries]
        )
        cluster.settle()
        cluster.read(1)
        cluster.settle()
    assert len(cluster.drivers[1].reads_ready) == 50
    assert batches == 1


def test_no_follower_waits_longer_than_the_heartbeat_interval() -> None:
    cluster = CoreCluster.of(3, RaftConfig(node_id=1, heartbeat_ms=50))
    cluster.elect(1)
    leader = cluster.drivers[1]
    rng = random.Random(5)
    last_sent = dict.fromkeys((2, 3), leader.now)
    for _ in range(2000):
        pause = rng.randrange(1, 70_000)
        if leader.now + pause >= leader.up.next_deadline():
            effects = cluster.timeout(1)
        else:
            leader.now += pause
            effects = cluster.propose(1, "x")
        for peer in last_sent:
            assert leader.now - last_sent[peer] <= 50_000
            if sends(effects, peer):
                last_sent[peer] = leader.now
        cluster.settle()


def test_time_stamps_do_not_go_back_over_a_compacted_log() -> None:
    cluster = CoreCluster.of(1)
    cluster.elect(1)
    cluster.step(1, Propose(["late"], 9_000_000))
    cluster.settle()
    cluster.take_snapshot(1)
    assert cluster.core(1).log_entries() == []
    cluster.step(1, Propose(["early"], 1_000_000))
    assert cluster.core(1).log_entries()[-1].time_us == 9_000_000


def test_a_pre_candidate_votes_for_a_candidate_of_its_term() -> None:
    core = core_of(DurableState(HardState(3, None, 0), None, [membership_entry(THREE)]))
    core.step(WriteDurable(0), 1_000_000)
    core.step(Campaign(), 1_000_000)
    assert core.role == "pre_candidate"
    effects = core.step(MessageReceived(2, RequestVote(3, 2, 1, 1)), 1_000_000)
    assert [send.message for send in sends(effects, 2)] == [RequestVoteResponse(3, True)]
    assert core.status().role == "follower"


def test_covered_snapshot_is_acked_once_the_log_is_durable() -> None:
    core = core_of(started(THREE), 2)
    entries = [Entry(2, 2, "noop", "", 0), Entry(3, 2, "command", "x", 0)]
    effects = core.step(MessageReceived(1, AppendEntries(2, 1, 1, 1, 0, entries)), 0)
    write_id = max(effect.write_id for effect in effects if isinstance(effect, AppendLog))
    effects = core.step(MessageReceived(1, whole_snapshot(2, 1, 3, 2, THREE, "state")), 0)
    assert core.commit_index == 3
    assert sends(effects, 1) == [Send(1, InstallSnapshotResponse(2, 3, 5, 3), write_id)]


def test_an_empty_proposal_appends_nothing() -> None:
    cluster = CoreCluster.of(1)
    cluster.elect(1)
    effects = cluster.propose(1)
    assert [type(effect) for effect in effects] == [ProposalAccepted]


def test_trailing_entries_cannot_be_negative() -> None:
    cluster = CoreCluster.of(1)
    cluster.elect(1)
    cluster.propose(1, "a", "b", "c")
    cluster.settle()
    effects = cluster.step(1, SnapshotTaken(3, "x", keep_entries=-10))
    assert [e.compact_through for e in effects if isinstance(e, StoreSnapshot)] == [3]


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (AppendEntries(0, 2, 0, 0, 0, []), "before term 1"),
        (RequestVote(0, 2, 0, 0), "before term 1"),
        (AppendEntries(5, 2, -1, 0, 0, []), "negative"),
        (AppendEntries(5, 2, 0, 0, 0, [Entry(1, 0, "noop", "", 0)]), "out of order"),
        (
            AppendEntries(5, 2, 0, 0, 0, [Entry(1, 1, "membership", "{}", 0)]),
            "no membership: it has no voters",
        ),
        (AppendEntries(5, 2, 0, 0, 0, [Entry(1, 1, "membership", "?", 0)]), "cannot be read"),
        (AppendEntries(5, 2, 0, 0, 0, [Entry(7, 1, "noop", "", 0)]), "where 1 should follow"),
        (whole_snapshot(5, 2, 4, 0, THREE, ""), "senseless"),
        (whole_snapshot(5, 2, 4, 6, THREE, ""), "senseless"),
        (whole_snapshot(5, 2, 4, 1, Membership(), ""), "senseless"),
        (replace(whole_snapshot(5, 2, 4, 1, THREE, "x"), data="\ud800"), "senseless"),
        (whole_snapshot(2**32 + 1, 2, 4, 1, THREE, ""), "no election leads to term"),
        (AppendEntries(2**32 + 1, 2, 0, 0, 0, []), "no election leads to term"),
        (RequestVote(2**63 - 1, 2, 9, 9), "no election leads to term"),
        (PreVote(2**32 + 1, 2**32 + 2, 2, 9, 9), "no election leads to term"),
        (RequestVoteResponse(2**32 + 1, False), "no election leads to term"),
        (AppendEntries(5, 3, 0, 0, 0, []), "not the sender"),
        (RequestVote(5, 3, 0, 0), "not the sender"),
    ],
)
def test_invalid_message_is_dropped_and_traced(
    message: AppendEntries | InstallSnapshot | RequestVote | PreVote | RequestVoteResponse,
    reason: str,
) -> None:
    core = core_of(DurableState())
    effects = core.step(MessageReceived(2, message), 0)
    dropped = [effect for effect in effects if isinstance(effect, MessageDropped)]
    assert len(dropped) == 1
    assert reason in dropped[0].reason
    assert not any(isinstance(effect, Send) for effect in effects)
    assert core.log_entries() == []


@pytest.mark.parametrize(("term", "taken"), [(2**32, True), (2**32 + 1, False)])
def test_a_term_may_jump_by_two_to_the_32(term: int, taken: bool) -> None:
    core = core_of(DurableState())
    core.step(MessageReceived(2, RequestVote(term, 2, 9, 9)), 0)
    assert core.term == (term if taken else 0)


@pytest.mark.parametrize("term", [2**62 - 1, 2**62, 2**62 + 1])
def test_no_term_is_above_two_to_the_62(term: int) -> None:
    core = core_of(DurableState(HardState(2**62 - 2)))
    core.step(MessageReceived(2, RequestVote(term, 2, 9, 9)), 0)
    assert core.term == (term if term <= 2**62 else 2**62 - 2)


def test_message_from_the_same_node_id_is_dropped() -> None:
    core = core_of(started(THREE))
    effects = core.step(MessageReceived(1, AppendEntries(9, 1, 0, 0, 0, [])), 0)
    assert [type(effect) for effect in effects] == [MessageDropped]
    assert core.term == 1


@pytest.mark.parametrize(
    ("membership", "reason"),
    [
        (Membership(voters=(1, 1, 2)), "names a node twice"),
        (Membership(voters=(0, 1)), "below 1"),
        (Membership(voters=(1, 2), learners=(2,)), "both voter and learner"),
        (Membership(voters=(1,), learners_next=(2,)), "not outgoing"),
        (Membership(voters=(2, 3)), "not among the voters"),
        (Membership(), "not among the voters"),
        (Membership(voters=(1,), voters_outgoing=(1, 2)), "joint"),
    ],
)
def test_unusable_configuration_is_refused_at_bootstrap(
    membership: Membership, reason: str
) -> None:
    core = core_of(DurableState())
    with pytest.raises(ConfigError, match=reason):
        core.step(Bootstrap(membership, 0), 0)
    assert core.term == 0
    assert core.log_entries() == []


def test_cluster_is_bootstrapped_only_once() -> None:
    core = core_of(DurableState())
    core.step(Bootstrap(Membership(voters=(1,)), 0), 0)
    with pytest.raises(ConfigError, match="already belongs"):
        core.step(Bootstrap(Membership(voters=(1,)), 0), 0)


def entry(index: int, term: int) -> Entry:
    return Entry(index, term, "noop", "", 0)


SNAPSHOT = Snapshot(SnapshotMeta(5, 3, 0, THREE), "state")


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (DurableState(HardState(3), None, [entry(1, 1), entry(3, 1)]), "right after entry 1"),
        (DurableState(HardState(3), None, [entry(2, 1)]), "no snapshot"),
        (DurableState(HardState(3), None, [entry(1, 2), entry(2, 1)]), "term 1 comes after term 2"),
        (DurableState(HardState(1), None, [entry(1, 2)]), "term 1 comes after term 2"),
        (DurableState(HardState(2), SNAPSHOT, []), "term 2 comes after term 3"),
        (DurableState(HardState(3), SNAPSHOT, [entry(7, 3)]), "do not meet"),
        (DurableState(HardState(3), SNAPSHOT, [entry(3, 2), entry(4, 2)]), "do not meet"),
        (DurableState(HardState(3), SNAPSHOT, [entry(5, 2)]), "disagrees"),
        (DurableState(HardState(3), SNAPSHOT, [entry(6, 2)]), "term 2 comes after term 3"),
        (
            DurableState(HardState(1), None, [Entry(1, 1, "membership", "[]", 0)]),
            "should hold a membership",
        ),
    ],
)
def test_mismatched_log_and_snapshot_are_refused_at_start(state: DurableState, reason: str) -> None:
    """P11: a gap is never ignored."""
    with pytest.raises(LogCorrupt, match=reason):
        core_of(state)


def test_report_of_an_unknown_write_is_a_driver_bug() -> None:
    core = core_of(started(THREE))
    with pytest.raises(AssertionError, match="durable before it was written"):
        core.step(WriteDurable(7), 0)
