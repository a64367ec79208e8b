"""Each invariant catches a planted bug, and reports nothing where a run only looks wrong."""

from __future__ import annotations

import pytest

from qcore.core.effects import (
    AppendLog,
    Role,
    RoleChanged,
    SaveCommit,
    SaveHardState,
    Send,
    StoreSnapshot,
    TruncateLog,
    VoteGranted,
)
from qcore.core.entry import (
    DurableState,
    Entry,
    EntryKind,
    HardState,
    Membership,
    Snapshot,
    SnapshotMeta,
)
from qcore.core.messages import RequestVoteResponse
from qcore.replica.events import Applied, ReplicaEffect, Restored
from qcore.sim.invariants import Invariants


def entry(index: int, term: int, data: str = "", kind: EntryKind = "command") -> Entry:
    return Entry(index, term, kind, data or f"{index}@{term}", 1_000 * index)


def snapshot(index: int, term: int) -> Snapshot:
    return Snapshot(SnapshotMeta(index, term, 1_000 * index, Membership(voters=(1, 2, 3))), "state")


class Cluster:
    """Feeds effects to the invariants and collects their reports."""

    def __init__(self, *nodes: int) -> None:
        self.reports: list[tuple[str, int, str]] = []
        self.invariants = Invariants(lambda *report: self.reports.append(report))
        self.write_id = 0
        for node in nodes:
            self.invariants.on_start(node, DurableState())

    @property
    def checks(self) -> list[str]:
        return [check for check, _, _ in self.reports]

    def feed(self, node: int, *effects: ReplicaEffect) -> None:
        for effect in effects:
            self.invariants.on_effect(node, effect, now=0)

    def next_write(self) -> int:
        self.write_id += 1
        return self.write_id

    def append(self, node: int, *entries: Entry) -> None:
        self.feed(node, AppendLog(self.next_write(), list(entries)))

    def truncate(self, node: int, from_index: int) -> None:
        self.feed(node, TruncateLog(self.next_write(), from_index))

    def role(self, node: int, role: Role, term: int) -> None:
        self.feed(node, RoleChanged(role, term, node if role == "leader" else None))

    def commit(self, node: int, index: int) -> None:
        self.feed(node, SaveCommit(index))

    def apply(self, node: int, *entries: Entry) -> None:
        self.feed(node, *(Applied(e) for e in entries))

    def vote(self, node: int, term: int, candidate: int, *, waits: bool = True) -> None:
        """The effects of a vote. Without `waits`, the response does not wait for the vote to be durable."""
        write = self.next_write()
        response = RequestVoteResponse(term, vote_granted=True)
        self.feed(
            node,
            SaveHardState(write, HardState(term, candidate)),
            VoteGranted(term, candidate),
            Send(candidate, response, write if waits else 0),
        )

    def restart(self, node: int, state: DurableState) -> None:
        self.invariants.on_stop(node)
        self.invariants.on_start(node, state)


def test_a_healthy_cluster_reports_nothing() -> None:
    cluster = Cluster(1, 2, 3)
    first = [entry(1, 1, kind="noop"), entry(2, 1), entry(3, 1)]
    for node in (2, 3):
        cluster.vote(node, 1, 1)
    cluster.role(1, "leader", 1)
    for node in (1, 2, 3):
        cluster.append(node, *first)
    for node in (1, 2):
        cluster.commit(node, 2)
        cluster.apply(node, first[1])
        cluster.invariants.on_state_hash(node, 2, "abc")
    # Node 3 leads term 2 and overwrites the uncommitted third entry of node 2.
    cluster.vote(2, 2, 3)
    cluster.role(1, "follower", 2)
    cluster.role(3, "leader", 2)
    cluster.append(3, entry(4, 2, kind="noop"))
    cluster.append(2, entry(4, 2, kind="noop"))
    cluster.commit(3, 4)
    cluster.apply(3, first[1], first[2])
    cluster.restart(3, DurableState(HardState(2, 3, 2), None, [*first, entry(4, 2, kind="noop")]))
    cluster.apply(3, first[1])
    assert cluster.reports == []


# -- election safety -----------------------------------------------------------------------------


def test_two_leaders_in_one_term_are_reported() -> None:
    cluster = Cluster(1, 2, 3)
    cluster.role(1, "leader", 4)
    cluster.role(2, "leader", 5)
    assert cluster.reports == []
    cluster.role(3, "leader", 5)
    assert cluster.reports == [("election_safety", 3, "nodes 2 and 3 both lead term 5")]


def test_leading_a_term_again_after_a_restart_is_reported() -> None:
    cluster = Cluster(1)
    cluster.role(1, "leader", 4)
    cluster.role(1, "leader", 4)
    assert cluster.reports == []
    cluster.restart(1, DurableState(HardState(3)))
    cluster.role(1, "leader", 4)
    assert cluster.checks == ["election_safety"]


def test_two_votes_in_one_term_are_reported() -> None:
    cluster = Cluster(1)
    cluster.vote(1, 7, 2)
    cluster.vote(1, 7, 2)
    cluster.vote(1, 8, 3)
    assert cluster.reports == []
    cluster.vote(1, 8, 2)
    assert cluster.reports == [("election_safety", 1, "node 1 voted for 3 and for 2 in term 8")]


@pytest.mark.parametrize("later_term", [7, 9])
def test_a_durable_vote_counts_across_a_restart(later_term: int) -> None:
    cluster = Cluster(1)
    cluster.vote(1, 7, 2)
    restored = HardState(later_term, 2 if later_term == 7 else None)
    cluster.restart(1, DurableState(restored))
    cluster.feed(1, VoteGranted(7, 3))
    assert cluster.checks == ["election_safety"]


def test_a_sent_vote_counts_even_if_the_disk_lost_it() -> None:
    cluster = Cluster(1)
    cluster.vote(1, 7, 2, waits=False)
    cluster.restart(1, DurableState(HardState(6)))
    cluster.vote(1, 7, 3)
    assert cluster.reports == [("election_safety", 1, "node 1 voted for 2 and for 3 in term 7")]


def test_an_unsent_vote_that_the_disk_lost_does_not_count() -> None:
    cluster = Cluster(1)
    cluster.vote(1, 7, 2)
    cluster.restart(1, DurableState(HardState(6)))
    cluster.vote(1, 7, 3)
    assert cluster.reports == []


def test_a_term_that_falls_is_reported() -> None:
    cluster = Cluster(1)
    cluster.feed(1, SaveHardState(1, HardState(5)), SaveHardState(2, HardState(4)))
    assert cluster.reports == [("election_safety", 1, "node 1 goes back from term 5 to 4")]


# -- leader append-only --------------------------------------------------------------------------


def test_a_leader_that_truncates_its_log_is_reported() -> None:
    cluster = Cluster(1)
    cluster.append(1, entry(1, 1), entry(2, 1))
    cluster.role(1, "leader", 2)
    cluster.truncate(1, 2)
    assert cluster.checks == ["leader_append_only"]


def test_a_leader_that_overwrites_its_log_is_reported() -> None:
    cluster = Cluster(1)
    cluster.append(1, entry(1, 1), entry(2, 1))
    cluster.role(1, "leader", 2)
    cluster.append(1, entry(2, 2))
    assert cluster.checks == ["leader_append_only"]


def test_a_leader_that_installs_a_snapshot_is_reported() -> None:
    cluster = Cluster(1)
    cluster.role(1, "leader", 2)
    cluster.feed(1, StoreSnapshot(1, snapshot(5, 1), 5, reset_log=True))
    assert cluster.checks == ["leader_append_only"]


def test_compaction_and_truncation_after_leading_are_allowed() -> None:
    cluster = Cluster(1)
    cluster.role(1, "leader", 1)
    cluster.append(1, *(entry(i, 1) for i in range(1, 6)))
    cluster.commit(1, 3)
    cluster.feed(1, StoreSnapshot(2, snapshot(3, 1), 2, reset_log=False))
    cluster.role(1, "follower", 2)
    cluster.truncate(1, 5)
    cluster.append(1, entry(5, 2))
    assert cluster.reports == []


# -- log matching --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "other",
    [entry(2, 1, "different"), entry(2, 1, kind="noop"), Entry(2, 1, "command", "2@1", 9)],
    ids=["data", "kind", "time"],
)
def test_two_entries_at_one_index_and_term_are_reported(other: Entry) -> None:
    cluster = Cluster(1, 2)
    cluster.append(1, entry(1, 1), entry(2, 1))
    cluster.append(2, entry(1, 1), other)
    assert cluster.checks == ["log_matching"]
    assert "node 2 holds (index 2, term 1" in cluster.reports[0][2]


def test_equal_entries_after_different_prefixes_are_reported() -> None:
    cluster = Cluster(1, 2)
    cluster.append(1, entry(1, 1), entry(2, 2), entry(3, 3))
    cluster.append(2, entry(1, 1), entry(2, 1), entry(3, 3))
    assert cluster.reports == [
        (
            "log_matching",
            2,
            "before (index 3, term 3) node 2 holds an entry of term 1, node 1 of term 2",
        )
    ]


def test_a_gap_in_the_log_is_reported() -> None:
    cluster = Cluster(1)
    cluster.append(1, entry(1, 1))
    cluster.append(1, entry(3, 1))
    assert cluster.checks == ["log_matching"]


def test_a_term_that_falls_along_the_log_is_reported() -> None:
    cluster = Cluster(1)
    cluster.append(1, entry(1, 3), entry(2, 2))
    assert cluster.checks == ["log_matching"]


def test_an_entry_that_the_disk_changed_is_reported_at_restart() -> None:
    cluster = Cluster(1)
    log = [entry(1, 1), entry(2, 1)]
    cluster.append(1, *log)
    cluster.restart(1, DurableState(HardState(1), None, [entry(1, 1), entry(2, 1)]))
    assert cluster.reports == []
    cluster.restart(1, DurableState(HardState(1), None, [entry(1, 1, "rotten"), log[1]]))
    assert cluster.checks == ["log_matching"]


def test_logs_are_compared_across_snapshots() -> None:
    cluster = Cluster(1, 2, 3)
    cluster.append(1, entry(1, 1), entry(2, 2), entry(3, 2))
    cluster.feed(2, StoreSnapshot(1, snapshot(2, 2), 2, reset_log=True))
    cluster.append(2, entry(3, 2))
    assert cluster.reports == []
    cluster.feed(3, StoreSnapshot(1, snapshot(2, 1), 2, reset_log=True))
    cluster.append(3, entry(3, 2))
    assert cluster.checks == ["log_matching"]


# -- leader completeness -------------------------------------------------------------------------


def committed_cluster() -> Cluster:
    """Node 1 led term 2 and committed three entries; node 2 lacks the third."""
    cluster = Cluster(1, 2, 3)
    log = [entry(1, 1), entry(2, 2), entry(3, 2)]
    cluster.role(1, "leader", 2)
    cluster.append(1, *log)
    cluster.append(2, *log[:2])
    cluster.append(3, *log)
    cluster.commit(1, 3)
    return cluster


def test_a_leader_without_a_committed_entry_is_reported() -> None:
    cluster = committed_cluster()
    cluster.role(2, "leader", 3)
    assert cluster.checks == ["leader_completeness"]
    assert "without the committed (index 3, term 2" in cluster.reports[0][2]


def test_a_leader_with_a_different_committed_entry_is_reported() -> None:
    cluster = committed_cluster()
    cluster.append(2, entry(3, 3))
    cluster.role(2, "leader", 4)
    assert cluster.checks == ["leader_completeness"]


def test_a_complete_leader_and_a_late_older_leader_are_allowed() -> None:
    cluster = committed_cluster()
    cluster.role(3, "leader", 3)
    cluster.role(2, "leader", 1)  # elected late, before anything was committed in term 2
    assert cluster.reports == []


def test_a_leader_may_hold_committed_entries_in_a_snapshot() -> None:
    cluster = committed_cluster()
    cluster.feed(2, StoreSnapshot(1, snapshot(3, 2), 3, reset_log=True))
    cluster.role(2, "leader", 3)
    assert cluster.reports == []


# -- state-machine safety ------------------------------------------------------------------------


def test_two_servers_that_apply_differently_are_reported() -> None:
    cluster = Cluster(1, 2)
    for node, term in ((1, 1), (2, 2)):
        cluster.append(node, entry(1, term))
        cluster.commit(node, 1)
        cluster.apply(node, entry(1, term))
    assert cluster.checks == ["state_machine_safety"]


def test_applying_another_entry_after_a_restart_is_reported() -> None:
    cluster = Cluster(1)
    cluster.append(1, entry(1, 1))
    cluster.commit(1, 1)
    cluster.apply(1, entry(1, 1))
    cluster.restart(1, DurableState(HardState(2, None, 1), None, [entry(1, 2)]))
    cluster.apply(1, entry(1, 2))
    assert cluster.checks == ["state_machine_safety"]


@pytest.mark.parametrize(
    ("indexes", "commit"),
    [((1, 3), 3), ((1, 2, 2), 3), ((1, 2, 3), 2)],
    ids=["gap", "twice", "uncommitted"],
)
def test_out_of_order_or_uncommitted_applies_are_reported(
    indexes: tuple[int, ...], commit: int
) -> None:
    cluster = Cluster(1)
    cluster.append(1, *(entry(i, 1) for i in (1, 2, 3)))
    cluster.commit(1, commit)
    cluster.apply(1, *(entry(i, 1) for i in indexes))
    assert cluster.checks == ["state_machine_safety"]


def test_entries_without_a_command_need_not_be_applied() -> None:
    cluster = Cluster(1)
    cluster.append(1, entry(1, 1, kind="membership"), entry(2, 1, kind="noop"), entry(3, 1))
    cluster.commit(1, 3)
    cluster.apply(1, entry(3, 1))
    assert cluster.reports == []


def test_a_snapshot_that_ends_with_another_term_is_reported() -> None:
    cluster = Cluster(1, 2)
    cluster.append(1, entry(1, 1))
    cluster.commit(1, 1)
    cluster.apply(1, entry(1, 1))
    cluster.feed(2, Restored(snapshot(1, 2)))
    assert cluster.checks == ["state_machine_safety"]


# -- commit --------------------------------------------------------------------------------------


def test_a_commit_index_that_falls_or_overruns_is_reported() -> None:
    cluster = Cluster(1)
    cluster.append(1, entry(1, 1), entry(2, 1))
    cluster.commit(1, 2)
    cluster.commit(1, 1)
    assert cluster.checks == ["commit_monotonic"]
    cluster.commit(1, 3)
    assert cluster.checks == ["commit_monotonic"] * 2


def test_truncating_a_committed_entry_is_reported() -> None:
    cluster = Cluster(1)
    cluster.append(1, entry(1, 1), entry(2, 1))
    cluster.commit(1, 1)
    cluster.truncate(1, 2)
    assert cluster.reports == []
    cluster.truncate(1, 1)
    assert cluster.checks == ["commit_monotonic"]


def test_an_installed_snapshot_counts_as_committed() -> None:
    cluster = Cluster(1)
    cluster.feed(1, StoreSnapshot(1, snapshot(5, 1), 5, reset_log=True), Restored(snapshot(5, 1)))
    cluster.append(1, entry(6, 1))
    assert cluster.reports == []
    cluster.commit(1, 4)
    assert cluster.checks == ["commit_monotonic"]


def test_a_restored_commit_index_beyond_the_log_is_reported() -> None:
    cluster = Cluster(1)
    cluster.append(1, entry(1, 1))
    cluster.commit(1, 1)
    cluster.restart(1, DurableState(HardState(1), None, [entry(1, 1)]))
    assert cluster.reports == []
    cluster.restart(1, DurableState(HardState(1, None, 2), None, [entry(1, 1)]))
    assert cluster.checks == ["commit_monotonic"]


# -- state hash ----------------------------------------------------------------------------------


def test_different_states_at_one_index_are_reported() -> None:
    cluster = Cluster(1, 2)
    cluster.invariants.on_state_hash(1, 5, "aa")
    cluster.invariants.on_state_hash(2, 5, "aa")
    cluster.invariants.on_state_hash(2, 6, "bb")
    assert cluster.reports == []
    cluster.invariants.on_state_hash(1, 6, "cc")
    assert cluster.checks == ["state_hash"]


def test_different_sessions_at_one_index_are_reported() -> None:
    cluster = Cluster(1, 2)
    cluster.invariants.on_session_hash(1, 4, "")
    cluster.invariants.on_session_hash(1, 5, "aa")
    cluster.invariants.on_session_hash(2, 5, "aa")
    cluster.invariants.on_session_hash(1, 8, "bb")
    assert cluster.reports == []
    cluster.invariants.on_session_hash(2, 8, "")
    assert [(check, node) for check, node, _ in cluster.reports] == [("session_hash", 2)]
    assert "after index 5 they were equal" in cluster.reports[0][2]


def test_states_and_sessions_are_compared_apart() -> None:
    cluster = Cluster(1, 2)
    cluster.invariants.on_session_hash(1, 8, "aa")
    cluster.invariants.on_state_hash(1, 8, "bb")
    cluster.invariants.on_state_hash(2, 8, "bb")
    cluster.invariants.on_session_hash(2, 8, "aa")
    assert cluster.reports == []


# -- number of reports ---------------------------------------------------------------------------


def test_a_broken_cluster_does_not_flood_the_trace() -> None:
    cluster = Cluster(1)
    cluster.append(1, *(entry(i, 1) for i in range(1, 200)))
    cluster.commit(1, 199)
    for index in range(198, 0, -1):
        cluster.commit(1, index)
    assert len(cluster.reports) == 20


@pytest.mark.parametrize(
    ("meta", "fault"),
    [
        (SnapshotMeta(3, 2, 3_000, Membership(voters=(1, 2))), None),
        (SnapshotMeta(3, 2, 3_000, Membership(voters=(1, 2, 3))), "the configuration"),
        (SnapshotMeta(2, 1, 2_000, Membership(voters=(1, 2))), "the configuration"),
        (SnapshotMeta(2, 1, 2_000, Membership(voters=(1, 2, 3))), None),
        (SnapshotMeta(2, 2, 2_000, Membership(voters=(1, 2, 3))), "term and times"),
        (SnapshotMeta(2, 1, 3_000, Membership(voters=(1, 2, 3))), "term and times"),
    ],
)
def test_a_snapshot_states_what_the_log_held(meta: SnapshotMeta, fault: str | None) -> None:
    cluster = Cluster(1)
    first, second = Membership(voters=(1, 2, 3)).to_json(), Membership(voters=(1, 2)).to_json()
    entries = [entry(1, 1, first, "membership"), entry(2, 1), entry(3, 2, second, "membership")]
    cluster.append(1, *entries)
    cluster.commit(1, 3)
    cluster.apply(1, *entries)
    stored = StoreSnapshot(9, Snapshot(meta, ""), meta.last_included_index, reset_log=False)
    cluster.feed(1, stored)
    assert cluster.checks == (["state_machine_safety"] if fault else [])
    assert not fault or fault in cluster.reports[0][2]
