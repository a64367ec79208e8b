"""Stale reads that would return values older than their bound.

In each test a write is acknowledged, and much more time than the bound passes. Then a node that does not know of the
write gets a stale read with the bound `BOUND_MS`. It must reject the read, not answer with the old value.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from itertools import combinations

import pytest

from qcore.core import RaftConfig, Safeguards
from qcore.core.events import Campaign, Tick
from qcore.core.log.progress import Progress
from qcore.core.messages import AppendEntries, AppendEntriesResponse
from qcore.core.raft_server import RaftServer
from qcore.core.reads import freshness
from qcore.errors import TooStale
from qcore.replica.apply.apply_backlog import MAX_STEP_COST
from qcore.replica.events import ClientRequest
from qcore.replica.requests.reads import Reads
from tests.driver.network import Envelope
from tests.driver.replicas import ReplicaCluster, ReplicaDriver

BOUND_MS = 1000
#: Freshness as in qcore 0.1.0.
UNGUARDED = RaftConfig(1, safeguards=Safeguards(freshness_check=False))
GUARDED = RaftConfig(1)
#: Much more than the bound, µs.
LONG = 12_000_000

Answers = dict[int, str]


def started_cluster(raft: RaftConfig, *, snapshot_entries: int = 0) -> ReplicaCluster:
    """Node 1 leads, and all nodes know that `x` is "old"."""
    cluster = ReplicaCluster(raft=raft, rules=2, snapshot_entries=snapshot_entries)
    cluster.elect(1)
    put(cluster, 1, "old")
    cluster.pass_time(100)
    assert stale_reads(cluster, 1, 2, 3) == {1: "old", 2: "old", 3: "old"}
    return cluster


def put(cluster: ReplicaCluster, node_id: int, value: str, key: str = "x") -> None:
    """An acknowledged write. The followers hold it and do not know that it is committed."""
    driver = cluster.drivers[node_id]
    driver.request(1, json.dumps({"op": "set", "key": key, "value": value}))
    cluster.settle()
    assert driver.replies[-1].error is None


def stale_reads(cluster: ReplicaCluster, *node_ids: int) -> Answers:
    """The answers of these nodes to a stale read: the value, or "too stale"."""
    answers: Answers = {}
    for node_id in node_ids:
        driver = cluster.drivers[node_id]
        query = json.dumps({"op": "get", "key": "x"})
        driver.step(ClientRequest(2, "stale_read", query, 1000, BOUND_MS))
        reply = driver.replies[-1]
        assert reply.request_id == 2
        assert reply.error is None or isinstance(reply.error, TooStale)
        answers[node_id] = "too stale" if reply.error else json.loads(reply.result or "")["value"]
    return answers


def deliver(cluster: ReplicaCluster, waits: Callable[[Envelope], bool]) -> list[Envelope]:
    """Deliver all messages except those that wait on their links. Return these."""
    waiting: list[Envelope] = []
    while cluster.network:
        sent = cluster.network.take()
        if waits(sent):
            waiting.append(sent)
        else:
            cluster.deliver_envelope(sent)
    return waiting


def heartbeats(
    cluster: ReplicaCluster, leader: ReplicaDriver, waits: Callable[[Envelope], bool]
) -> list[Envelope]:
    """Let the leader send heartbeats for a second. Return the messages that wait."""
    waiting: list[Envelope] = []
    for _ in range(20):
        cluster.now += 50_000
        leader.step(Tick())
        waiting += deliver(cluster, waits)
    return waiting


def arrive(cluster: ReplicaCluster, waiting: list[Envelope]) -> None:
    """Deliver the messages that waited. The messages that they cause are lost."""
    for sent in waiting:
        cluster.drivers[sent.to].receive(sent.source, sent.message)
    cluster.network.clear()


def has_entries(sent: Envelope) -> bool:
    return isinstance(sent.message, AppendEntries) and bool(sent.message.entries)


def at_receipt_of_request(server: RaftServer, request: AppendEntries) -> None:
    """A follower's state counts as fresh as the receipt of a message, regardless of when the message was sent."""
    if request.is_current and server.commit_index >= request.leader_commit:
        server.fresh_as_of = server.now


def at_receipt_of_responses(server: RaftServer, now: int) -> int | None:
    """A leader's state counts as fresh as the receipt of the responses, regardless of when they were sent."""
    return freshness.quorum_contact_at(server, now)


def regardless_of_the_commit_index(server: RaftServer, request: AppendEntries) -> None:
    """The follower need not have reached the leader's commit index."""
    request.leader_commit = min(request.leader_commit, server.commit_index)
    HEARD(server, request)


HEARD = freshness.on_append_entries

# -- a new leader that has not committed in its term -----------------------------------------------


def a_new_leaders_entry_is_late(raft: RaftConfig) -> tuple[Answers, Answers]:
    """The leader acknowledges a write and dies, and so does a follower. The follower returns; a leader is elected.

    The first entry of the new leader is late; heartbeats and their responses are not.

    Returns:
        the answers of the two nodes before the entry arrives, and afterwards.
    """
    cluster = started_cluster(raft)
    put(cluster, 1, "new")
    cluster.network.isolated = {1}
    cluster.network.clear()
    cluster.now += LONG
    cluster.restart(3)
    new = cluster.drivers[2]
    new.step(Campaign())
    late = deliver(cluster, has_entries)
    late += heartbeats(cluster, new, has_entries)
    assert new.replica.core.role == "leader"
    meanwhile = stale_reads(cluster, 2, 3)
    cluster.network.messages += late
    cluster.settle()
    cluster.pass_time(100)
    return meanwhile, stale_reads(cluster, 2, 3)


def test_only_leader_that_committed_in_term_makes_state_fresh() -> None:
    meanwhile, then = a_new_leaders_entry_is_late(GUARDED)
    assert meanwhile == {2: "too stale", 3: "too stale"}
    assert then == {2: "new", 3: "new"}


def test_without_commit_check_fresh_state_misses_a_write() -> None:
    meanwhile, _ = a_new_leaders_entry_is_late(UNGUARDED)
    assert meanwhile == {2: "old", 3: "old"}


def a_followers_disk_hangs(raft: RaftConfig) -> Answers:
    """As `a_new_leaders_entry_is_late`, but the entry arrives and the follower's disk hangs for a minute.

    The follower still answers heartbeats, so the leader stays the leader.
    """
    cluster = started_cluster(raft)
    put(cluster, 1, "new")
    cluster.network.isolated = {1}
    cluster.network.clear()
    cluster.now += LONG
    slow = cluster.restart(3)
    new = cluster.drivers[2]
    new.step(Campaign())
    while new.replica.core.role != "leader":
        cluster.deliver()
    slow.stalled = True
    for _ in range(60):
        heartbeats(cluster, new, lambda _sent: False)
    assert new.replica.core.role == "leader"
    assert slow.disk.pending, "it holds the entry in memory"
    return stale_reads(cluster, 2, 3)


def test_hanging_follower_disk_makes_no_state_fresh() -> None:
    assert a_followers_disk_hangs(GUARDED) == {2: "too stale", 3: "too stale"}


def test_without_freshness_check_hanging_disk_hides_a_write() -> None:
    assert a_followers_disk_hangs(UNGUARDED) == {2: "old", 3: "old"}


# -- messages that wait on a link ------------------------------------------------------------------


def appends_wait_on_a_link() -> Answers:
    """Heartbeats to node 3 wait on a link while a write is acknowledged, and arrive much later."""
    cluster = started_cluster(GUARDED)
    waiting = heartbeats(cluster, cluster.drivers[1], lambda sent: sent.to == 3)
    assert waiting
    cluster.network.isolated = {3}
    put(cluster, 1, "new")
    cluster.now += LONG
    arrive(cluster, waiting)
    return stale_reads(cluster, 3)


def test_followers_age_counts_from_its_own_echo() -> None:
    assert appends_wait_on_a_link() == {3: "too stale"}


def test_without_echo_time_followers_age_is_too_low(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(freshness, "on_append_entries", at_receipt_of_request)
    assert appends_wait_on_a_link() == {3: "old"}


def responses_wait_on_a_link() -> Answers:
    """The responses to the leader wait. It is cut off, another leader acknowledges a write; then they arrive."""
    cluster = started_cluster(GUARDED)
    old = cluster.drivers[1]
    cluster.now += 50_000
    old.step(Tick())
    waiting = deliver(cluster, lambda sent: sent.to == 1)
    assert [type(sent.message) for sent in waiting] == [AppendEntriesResponse] * 2
    cluster.network.isolated = {1}
    cluster.now += LONG
    cluster.drivers[2].step(Campaign())
    cluster.settle()
    put(cluster, 2, "new")
    cluster.now += LONG
    arrive(cluster, waiting)
    assert old.replica.core.role == "leader", "it does not know of the new leader"
    return stale_reads(cluster, 1)


def test_leaders_age_counts_from_the_start_of_the_round() -> None:
    assert responses_wait_on_a_link() == {1: "too stale"}


def test_without_round_start_leaders_age_is_too_low(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(freshness, "confirmed_at", at_receipt_of_responses)
    assert responses_wait_on_a_link() == {1: "old"}


def a_cut_off_leader_keeps_a_follower() -> Answers:
    """Nodes 1 and 3 reach only each other; 2, 4 and 5 elect another leader. Without check quorum, 1 stays leader."""
    cluster = ReplicaCluster(5, raft=RaftConfig(1, check_quorum=False), rules=2)
    old = cluster.elect(1)
    put(cluster, 1, "old")
    cluster.pass_time(100)
    minority = {1, 3}

    def crosses(sent: Envelope) -> bool:
        return (sent.source in minority) != (sent.to in minority)

    cluster.now += LONG
    cluster.drivers[2].step(Campaign())
    deliver(cluster, crosses)
    heartbeats(cluster, cluster.drivers[2], crosses)
    cluster.drivers[2].request(1, json.dumps({"op": "set", "key": "x", "value": "new"}))
    deliver(cluster, crosses)
    assert cluster.drivers[2].replies[-1].error is None
    cluster.now += LONG
    heartbeats(cluster, old, crosses)
    assert old.replica.core.role == "leader"
    return stale_reads(cluster, 1, 3)


def without_time_since_quorum(server: RaftServer, progress: Progress) -> tuple[int, bool, int]:
    """The leader does not add the time since a quorum last confirmed it."""
    echo_us, is_current, _ = ECHO_FOR(server, progress)
    return echo_us, is_current, 0


ECHO_FOR = freshness.echo_fields


def test_follower_adds_its_leaders_time_without_quorum() -> None:
    assert a_cut_off_leader_keeps_a_follower() == {1: "too stale", 3: "too stale"}


def test_without_leaders_age_follower_of_cut_off_leader_is_stale(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(freshness, "echo_fields", without_time_since_quorum)
    assert a_cut_off_leader_keeps_a_follower() == {1: "too stale", 3: "old"}


# -- a follower that is behind ---------------------------------------------------------------------


def a_follower_is_behind_after_a_snapshot() -> Answers:
    """Node 3 was away and gets a snapshot. The entries after the snapshot are late; heartbeats are not."""
    cluster = started_cluster(GUARDED, snapshot_entries=4)
    cluster.network.isolated = {3}
    for number in range(6):
        put(cluster, 1, "old", f"other{number}")
    put(cluster, 1, "new")
    assert cluster.drivers[1].disk.snapshots
    cluster.pass_time(2 * BOUND_MS)
    cluster.heal()
    heartbeats(cluster, cluster.drivers[1], has_entries)
    behind, core = cluster.drivers[3].replica.core, cluster.drivers[1].replica.core
    assert behind.snapshot is not None
    assert behind.commit_index < core.commit_index
    return stale_reads(cluster, 3)


def test_follower_behind_its_snapshot_is_not_fresh() -> None:
    assert a_follower_is_behind_after_a_snapshot() == {3: "too stale"}


def test_without_lag_check_follower_reads_stale(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(freshness, "on_append_entries", regardless_of_the_commit_index)
    assert a_follower_is_behind_after_a_snapshot() == {3: "old"}


def much_is_committed_and_not_applied() -> Answers:
    """Node 3 was away and gets many commits in one message. It is asked after the first of several applying steps."""
    cluster = started_cluster(GUARDED)
    cluster.network.isolated = {3}
    for number in range(MAX_STEP_COST):
        put(cluster, 1, "old", f"other{number}")
    put(cluster, 1, "new")
    cluster.pass_time(2 * BOUND_MS)
    cluster.heal()
    leader, behind = cluster.drivers[1], cluster.drivers[3]
    behind.stalled = True  # so that only messages make it step
    while not behind.replica.has_apply_backlog:
        if not cluster.network:
            cluster.now += 50_000
            leader.step(Tick())
        cluster.deliver()
    assert behind.replica.core.commit_index == leader.replica.core.commit_index
    return stale_reads(cluster, 3)


def test_state_with_unapplied_commits_is_not_fresh() -> None:
    assert much_is_committed_and_not_applied() == {3: "too stale"}


def test_without_apply_check_fresh_log_reads_stale(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        Reads, "_fresh_as_of", lambda reads: reads._replica.core.fresh_as_of(reads._replica.now)
    )
    assert much_is_committed_and_not_applied() == {3: "old"}


# -- an echo of an earlier incarnation -------------------------------------------------------------


def an_echo_of_an_earlier_incarnation_is_late() -> Answers:
    """A message that the leader sent before node 3's restart arrives after it. Node 3's clock has another start now."""
    cluster = started_cluster(GUARDED)
    cluster.now += LONG  # where the clock of the earlier incarnation was
    waiting = heartbeats(cluster, cluster.drivers[1], lambda sent: sent.to == 3)
    heartbeats(cluster, cluster.drivers[1], lambda _sent: False)
    waiting += heartbeats(cluster, cluster.drivers[1], lambda sent: sent.to == 3)
    cluster.network.isolated = {3}
    put(cluster, 1, "new")
    echoed = [sent.message.echo_us for sent in waiting if isinstance(sent.message, AppendEntries)]
    cluster.now = max(echoed) + 1000  # by chance
    cluster.restart(3)
    arrive(cluster, waiting)
    return stale_reads(cluster, 3)


def accept_any_incarnation(server: RaftServer, request: AppendEntries) -> None:
    """An echo counts for every incarnation of this server."""
    started_at, server.started_at = server.started_at, 0
    HEARD(server, request)
    server.started_at = started_at


def test_echo_of_an_earlier_incarnation_is_ignored() -> None:
    assert an_echo_of_an_earlier_incarnation_is_late() == {3: "too stale"}


def test_without_incarnation_check_old_echo_reads_stale(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(freshness, "on_append_entries", accept_any_incarnation)
    assert an_echo_of_an_earlier_incarnation_is_late() == {3: "old"}


def test_clock_starts_elsewhere_in_each_incarnation() -> None:
    """Therefore two incarnations share no clock value, even after a reboot."""
    command = [sys.executable, "-c", "from qcore.runtime.clock import now_us; print(now_us())"]
    shown = [int(subprocess.run(command, capture_output=True, check=True).stdout) for _ in range(3)]
    assert all(0 < value < 1 << 60 for value in shown)
    hour_us = 3_600_000_000
    assert min(abs(a - b) for a, b in combinations(shown, 2)) > hour_us
