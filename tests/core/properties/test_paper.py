"""The Raft paper and the dissertation, section by section, as tests named after the sections."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from qcore.core import Entry, Membership, RaftConfig
from qcore.core.effects import (
    AppendLog,
    Apply,
    Effect,
    ProposalRejected,
    ReadReady,
    ReadRejected,
    RestoreMachine,
    RoleChanged,
    SaveHardState,
    Send,
    StoreSnapshot,
)
from qcore.core.events import Bootstrap, Propose, ReadRequested, Tick, WriteDurable
from qcore.core.messages import (
    AppendEntries,
    AppendEntriesResponse,
    PreVote,
    PreVoteResponse,
    RequestVote,
    RequestVoteResponse,
)
from qcore.replica.events import ReplicaEffect
from tests.core.support.single_core import (
    LATER,
    THREE,
    become,
    entries,
    follow,
    make_durable,
    only,
    pristine,
    receive,
    restored,
    sent_messages,
)
from tests.driver.cores import CoreCluster
from tests.driver.first_state import started, whole_snapshot
from tests.driver.network import Envelope

BASIC = RaftConfig(node_id=1, pre_vote=False, check_quorum=False)
ROLES = ["follower", "pre_candidate", "candidate", "leader"]


# -- figure 2 ------------------------------------------------------------------------------------


def test_figure_2_persistent_state_is_saved_before_responding() -> None:
    effects = receive(restored(), 2, RequestVote(2, 2, 1, 1))
    save = [effect for effect in effects if isinstance(effect, SaveHardState)][-1]
    assert (save.hard_state.term, save.hard_state.voted_for) == (2, 2)
    assert only(effects, Send).after == save.write_id


def test_figure_2_persistent_state_survives_a_restart() -> None:
    cluster = CoreCluster.of(3)
    cluster.elect(1)
    cluster.propose(1, "x")
    cluster.settle()
    before = cluster.core(2).status()
    cluster.crash(2)
    cluster.restart(2)
    after = cluster.core(2).status()
    kept = ("term", "voted_for", "last_log_index", "last_log_term")
    assert [getattr(after, name) for name in kept] == [getattr(before, name) for name in kept]
    assert after.leader_id is None


@pytest.mark.parametrize("role", ROLES)
def test_figure_2_all_servers_apply_what_is_committed_in_order(role: str) -> None:
    core = become(restored(), role)
    term = core.term + 1
    first = receive(core, 2, AppendEntries(term, 2, 1, 1, 1, entries(2, term, term)))
    second = receive(core, 2, AppendEntries(term, 2, 3, term, 3, []))
    applied = [
        e.index for f in (first, second) for a in f if isinstance(a, Apply) for e in a.entries
    ]
    assert applied == [1, 2, 3]


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(
    "message",
    [
        AppendEntries(9, 2, 0, 0, 0, []),
        AppendEntriesResponse(9, True, 0, 0, 0, 0),
        RequestVoteResponse(9, False),
        PreVoteResponse(9, 2, False),
        whole_snapshot(9, 2, 9, 9, THREE, "0:0"),
    ],
    ids=lambda message: type(message).__name__,
)
def test_figure_2_all_servers_adopt_a_higher_term_and_follow(
    role: str, message: AppendEntries | AppendEntriesResponse
) -> None:
    core = become(restored(), role)
    effects = receive(core, 2, message)
    assert (core.status().role, core.term) == ("follower", 9)
    assert any(isinstance(effect, SaveHardState) for effect in effects)


def test_figure_2_follower_that_hears_nothing_campaigns() -> None:
    core = restored(config=BASIC)
    effects = core.step(Tick(), core.next_deadline())
    assert only(effects, RoleChanged) == RoleChanged("candidate", 2, None)
    save = only(effects, SaveHardState)
    assert (save.hard_state.term, save.hard_state.voted_for) == (2, 1)
    requests = [e for e in effects if isinstance(e, Send)]
    assert [send.to for send in requests] == [2, 3]
    assert all(send.message == RequestVote(2, 1, 1, 1) for send in requests)
    assert all(send.after == save.write_id for send in requests)


def test_figure_2_candidate_timeout_starts_a_new_election() -> None:
    core = restored(config=BASIC)
    core.step(Tick(), core.next_deadline())
    core.step(Tick(), core.next_deadline())
    assert (core.role, core.term) == ("candidate", 3)


def test_figure_2_leader_sends_heartbeats_from_the_start() -> None:
    core = become(restored(), "candidate")
    effects = receive(core, 2, RequestVoteResponse(core.term, True))
    assert len(sent_messages(effects, AppendEntries)) == 2
    effects = core.step(Tick(), core.next_deadline())
    assert len(sent_messages(effects, AppendEntries)) == 2


def test_figure_2_only_the_leader_appends_proposals() -> None:
    leader = become(restored(), "leader")
    effects = leader.step(Propose(["x"], 7), LATER)
    (entry,) = only(effects, AppendLog).entries
    assert (entry.term, entry.kind, entry.data, entry.time_us) == (leader.term, "command", "x", 7)
    for role in ("follower", "pre_candidate", "candidate"):
        core = become(restored(), role)
        assert core.step(Propose(["x"], 7), LATER) == [ProposalRejected("not_leader")]


# -- 5.1 to 5.5 ----------------------------------------------------------------------------------


def test_5_1_terms_only_grow_and_old_requests_are_rejected() -> None:
    core = restored((1, 4), term=4)
    effects = receive(core, 2, RequestVote(3, 2, 9, 9))
    assert sent_messages(effects, RequestVoteResponse) == [RequestVoteResponse(4, False)]
    effects = receive(core, 2, AppendEntries(3, 2, 0, 0, 0, []))
    assert not sent_messages(effects, AppendEntriesResponse)[0].success
    assert core.term == 4


def test_5_2_first_candidate_of_a_term_gets_the_only_vote() -> None:
    core = restored()
    first = receive(core, 3, RequestVote(2, 3, 1, 1))
    second = receive(core, 2, RequestVote(2, 2, 9, 9))
    assert sent_messages(first, RequestVoteResponse)[0].vote_granted
    assert not sent_messages(second, RequestVoteResponse)[0].vote_granted


def test_5_2_split_votes_are_resolved_by_random_timeouts() -> None:
    """Two candidates of one term, and neither wins. The first to time out wins the next term."""
    cluster = CoreCluster.of(4, RaftConfig(node_id=1, pre_vote=False))
    cluster.campaign(1)
    cluster.campaign(2)
    for node in (1, 2):
        cluster.persist(node)
    cluster.network.hold_back(lambda e: (e.source, e.to) not in {(1, 3), (2, 4)})
    cluster.settle()
    assert cluster.leaders() == []
    deadlines = {node.node_id: node.up.next_deadline() for node in cluster.alive()}
    assert len(set(deadlines.values())) == 4
    first = min(deadlines, key=lambda node: deadlines[node])
    cluster.timeout(first)
    cluster.settle()
    assert cluster.leaders() == [first]


def test_5_3_an_entry_is_committed_once_a_majority_holds_it() -> None:
    cluster = CoreCluster.of(5)
    cluster.elect(1)
    cluster.isolate(4)
    cluster.isolate(5)
    cluster.propose(1, "x")
    cluster.settle()
    assert cluster.core(1).commit_index == 3
    cluster.isolate(3)
    cluster.propose(1, "y")
    cluster.settle()
    assert cluster.core(1).commit_index == 3


def test_5_3_append_is_rejected_on_previous_entry_mismatch() -> None:
    core = restored((1, 1, 2))
    effects = receive(core, 2, AppendEntries(4, 2, 3, 3, 0, []))
    assert not sent_messages(effects, AppendEntriesResponse)[0].success
    assert (
        core.status().last_log_index == 3
    )  # no entry is removed before the leader proves a conflict


def test_5_3_each_rejection_skips_a_whole_conflicting_term() -> None:
    """A thousand entries of one wrong term cost one probe, not a thousand."""
    wrong, right = [1] + [2] * 1000, [1] + [3] * 1000
    logs = {1: wrong, 2: right, 3: right}
    cluster = RejectionCounter({node: started(THREE, terms, 3) for node, terms in logs.items()})
    cluster.elect(2)
    assert 1 <= cluster.rejections <= 2
    assert cluster.core(1).log_entries() == cluster.core(2).log_entries()


class RejectionCounter(CoreCluster):
    """Counts rejected appends."""

    rejections = 0

    def deliver_envelope(self, envelope: Envelope) -> Sequence[Effect | ReplicaEffect]:
        message = envelope.message
        self.rejections += isinstance(message, AppendEntriesResponse) and not message.success
        return super().deliver_envelope(envelope)


@pytest.mark.parametrize(
    ("candidate", "granted"),
    [((3, 2), True), ((4, 2), True), ((1, 3), True), ((2, 2), False), ((9, 1), False)],
)
def test_5_4_1_only_an_up_to_date_candidate_gets_the_vote(
    candidate: tuple[int, int], granted: bool
) -> None:
    effects = receive(restored((1, 1, 2)), 2, RequestVote(5, 2, *candidate))
    assert sent_messages(effects, RequestVoteResponse)[0].vote_granted == granted


def test_5_4_2_older_entries_commit_only_with_a_current_one() -> None:
    core = become(restored((1, 2, 2)), "leader")
    term = core.term
    assert core.log_entries()[-1].term == term  # entry 4, the no-op
    receive(core, 2, AppendEntriesResponse(term, True, 3, 3, 0, 0))
    assert core.commit_index == 0
    receive(core, 2, AppendEntriesResponse(term, True, 4, 4, 0, 0))
    receive(core, 3, AppendEntriesResponse(term, True, 4, 4, 0, 0))
    assert core.commit_index == 4


def test_5_5_requests_are_idempotent() -> None:
    core = restored()
    append = AppendEntries(2, 2, 1, 1, 2, entries(2, 2))
    receive(core, 2, append)
    before = core.log_entries()
    effects = receive(core, 2, append)
    assert core.log_entries() == before
    assert [type(effect) for effect in effects] == [Send]


# -- 7, 8 and the dissertation -------------------------------------------------------------------


def test_7_snapshot_replaces_a_shorter_or_conflicting_log() -> None:
    for terms in ((1, 1), (1, 1, 2, 2, 2, 2)):
        core = restored(terms, term=4)
        effects = receive(core, 2, whole_snapshot(4, 2, 5, 3, THREE, "state"))
        assert only(effects, StoreSnapshot).reset_log
        assert only(effects, RestoreMachine).snapshot.data == "state"
        assert core.log_entries() == []
        assert (core.commit_index, core.status().last_log_term) == (5, 3)


def test_7_a_snapshot_of_a_prefix_keeps_what_follows() -> None:
    core = restored((1, 1, 3, 3), term=4)
    effects = receive(core, 2, whole_snapshot(4, 2, 3, 3, THREE, "state"))
    assert not any(isinstance(effect, StoreSnapshot | RestoreMachine) for effect in effects)
    assert core.status().last_log_index == 4
    assert core.commit_index == 3


def test_8_a_new_leader_commits_a_noop_and_serves_no_read_before() -> None:
    """Also dissertation 6.4, and P5: not even if everything in its log is known to be committed."""
    core = become(restored(commit=1), "candidate")
    effects = receive(core, 2, RequestVoteResponse(core.term, True))
    assert [entry.kind for entry in only(effects, AppendLog).entries] == ["noop"]
    assert core.step(ReadRequested(1), LATER) == []
    make_durable(core, effects)
    effects = receive(core, 2, AppendEntriesResponse(core.term, True, 2, 2, 0, 0))
    assert not any(isinstance(effect, ReadReady) for effect in effects)
    (round_number,) = {append.round for append in sent_messages(effects, AppendEntries)}
    effects = receive(core, 3, AppendEntriesResponse(core.term, True, 0, 0, 0, 0, round_number))
    assert only(effects, ReadReady) == ReadReady(1, 2)


def test_4_1_configuration_is_effective_while_in_the_log() -> None:
    core = restored()
    four = Membership(voters=(1, 2, 3, 4))
    entry = Entry(2, 2, "membership", four.to_json(), 0)
    receive(core, 2, AppendEntries(2, 2, 1, 1, 0, [entry]))
    assert (core.membership, core.status().membership_index) == (four, 2)
    receive(core, 3, AppendEntries(3, 3, 1, 1, 0, [Entry(2, 3, "noop", "", 0)]))
    assert (core.membership, core.status().membership_index) == (THREE, 1)


def test_4_2_3_follower_of_a_live_leader_ignores_candidates() -> None:
    core = restored()
    follow(core, 3, 2)
    effects = receive(core, 2, RequestVote(50, 2, 9, 9))
    assert sent_messages(effects, RequestVoteResponse) == [RequestVoteResponse(2, False)]
    assert core.term == 2


def test_4_4_cluster_starts_from_one_configuration_entry() -> None:
    core = pristine()
    effects = core.step(Bootstrap(THREE, 0), LATER)
    assert [(e.index, e.term, e.kind) for e in only(effects, AppendLog).entries] == [
        (1, 1, "membership")
    ]
    assert core.membership == THREE


def test_6_2_a_leader_that_reaches_no_majority_steps_down() -> None:
    core = become(restored(), "leader")
    core.step(ReadRequested(1), LATER)
    start = LATER
    while core.role == "leader":
        effects = core.step(Tick(), core.next_deadline())
        assert core.next_deadline() < start + 2_000_000
    assert ReadRejected(1) in effects
    assert core.leader_id is None


def test_6_2_a_leader_that_reaches_a_majority_continues() -> None:
    core = become(restored(), "leader")
    core.step(WriteDurable(2), LATER)
    for _ in range(100):
        now = core.next_deadline()
        core.step(Tick(), now)
        receive(core, 3, AppendEntriesResponse(core.term, True, 0, 0, 0, 0), now + 1000)
    assert core.role == "leader"


def test_6_4_read_needs_a_quorum_that_responded_after_it() -> None:
    """P4: a response to an earlier round, late or repeated, confirms nothing."""
    cluster = CoreCluster.of(3)
    cluster.elect(1)
    old = [e for e in _responses_to_read(cluster) if isinstance(e.message, AppendEntriesResponse)]
    assert len(old) == 2
    cluster.read(1)
    cluster.network.clear()
    served = len(cluster.drivers[1].reads_ready)
    for envelope in old * 3:
        cluster.deliver_envelope(envelope)
    assert len(cluster.drivers[1].reads_ready) == served
    cluster.timeout(1)
    cluster.settle()
    assert len(cluster.drivers[1].reads_ready) == served + 1


def _responses_to_read(cluster: CoreCluster) -> list[Envelope]:
    cluster.read(1)
    cluster.deliver()
    cluster.deliver()
    kept = list(cluster.network)
    cluster.settle()
    return kept


def test_9_6_pre_vote_keeps_the_term_of_a_cut_off_server() -> None:
    core = restored()
    for _ in range(20):
        effects = core.step(Tick(), core.next_deadline())
        assert len(sent_messages(effects, PreVote)) == 2
        assert not any(isinstance(effect, SaveHardState) for effect in effects)
    assert core.term == 1


def test_9_6_a_rejoining_server_does_not_disturb_the_leader() -> None:
    cluster = CoreCluster.of(5)
    cluster.elect(1)
    term = cluster.core(1).term
    cluster.isolate(5)
    for _ in range(40):
        cluster.timeout(1)
        for node in cluster.drivers.values():
            node.now = cluster.drivers[1].now
            if node.up.next_deadline() <= node.now:
                cluster.timeout(node.node_id)
        cluster.settle()
    cluster.heal()
    cluster.campaign(5)
    cluster.settle()
    cluster.timeout(1)
    cluster.settle()
    assert cluster.leaders() == [1]
    assert {node.up.term for node in cluster.alive()} == {term}


def test_10_2_1_leader_sends_before_its_write_is_durable() -> None:
    core = become(restored(), "leader")
    effects = core.step(Propose(["x"], 0), LATER)
    assert all(effect.after == 0 for effect in effects if isinstance(effect, Send))


@pytest.mark.parametrize("first", ["leader", "follower"])
def test_10_2_1_the_leader_counts_itself_only_when_durable(first: str) -> None:
    core = become(restored(), "candidate")
    effects = receive(core, 2, RequestVoteResponse(core.term, True))
    acknowledged = AppendEntriesResponse(core.term, True, 2, 2, 0, 0)
    if first == "leader":
        make_durable(core, effects)
        assert core.commit_index == 0
        receive(core, 2, acknowledged)
    else:
        receive(core, 2, acknowledged)
        assert core.commit_index == 0
        make_durable(core, effects)
    assert core.commit_index == 2
