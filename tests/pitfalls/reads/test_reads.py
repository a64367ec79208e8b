"""Linearizable reads that the wrong responses, or no responses, would confirm."""

from __future__ import annotations

import json

import pytest

from qcore.core import RaftConfig
from qcore.core.dispatch import message_handlers
from qcore.core.events import MessageReceived, TransferLeadership
from qcore.core.leadership import transfer
from qcore.core.messages import (
    AppendEntries,
    AppendEntriesResponse,
    TimeoutNow,
)
from qcore.core.raft_server import RaftServer
from qcore.core.reads import read_index
from qcore.errors import DeadlineExceeded
from qcore.replica.messages import ReadIndexResponse
from qcore.replica.requests.forwarder import Forwarder
from qcore.replica.requests.pending import PendingRequest
from tests.core.support.safety_checks import SafetyViolation
from tests.driver.cores import CoreCluster
from tests.driver.network import Envelope
from tests.driver.replicas import ReplicaCluster
from tests.pitfalls.support.cluster_steps import (
    deliver_all_but,
    is_served,
    lead,
)

GET = json.dumps({"op": "get", "key": "x"})

# -- late responses to heartbeats ------------------------------------------------------------------


def commit_new_at(cluster: CoreCluster, node_id: int, without: int) -> None:
    """Make this node the leader of the nodes that reach each other, and commit a write."""
    cluster.isolate(without)
    lead(cluster, node_id)
    cluster.propose(node_id, "new")
    cluster.settle()
    assert cluster.core(node_id).commit_index == cluster.core(node_id).last_log_index


def late_responses_arrive_after_a_pause() -> bool:
    """etcd#20418: the responses to a read's heartbeats are duplicated, and the copies arrive after a pause.

    By then another leader was elected and has committed a write. The old leader does not know of it and gets the same
    read again.

    Returns:
        whether the old leader serves the second read.
    """
    cluster = CoreCluster.of(3)
    lead(cluster, 1)
    first = cluster.read(1)
    heartbeats = cluster.network.hold_back(lambda sent: isinstance(sent.message, AppendEntries))
    for heartbeat in heartbeats:
        cluster.deliver_envelope(heartbeat)
    copies = [Envelope(sent.source, sent.to, sent.message) for sent in cluster.network]
    cluster.settle()
    assert is_served(cluster, 1, first)
    commit_new_at(cluster, 2, without=1)
    assert cluster.core(1).role == "leader", "it was paused and does not know of the new leader"
    again = cluster.read(1)
    cluster.settle()
    cluster.heal()
    for copy in copies:
        cluster.deliver_envelope(copy)
    return is_served(cluster, 1, again)


def reuse_the_number(server: RaftServer) -> None:
    """A retried read keeps the round number of the first attempt, and forgets which nodes responded."""
    server.reads.round = max(server.reads.round, 1)
    for progress in server.progress.values():
        progress.acked_round = 0


def test_late_responses_confirm_no_later_read() -> None:
    assert not late_responses_arrive_after_a_pause()


def test_without_new_round_number_late_responses_confirm_a_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(read_index, "_number_round", reuse_the_number)
    with pytest.raises(SafetyViolation, match="stale read: node 1"):
        late_responses_arrive_after_a_pause()


def late_responses_arrive_after_leader_changes() -> bool:
    """As `late_responses_arrive_after_a_pause`, but the old leader was deposed and elected again before the pause.

    Round numbers begin at 1 in each term, so responses of its first term carry the number of its new round.

    Returns:
        whether it serves the second read.
    """
    cluster = CoreCluster.of(3)
    lead(cluster, 1)
    cluster.read(1)
    for heartbeat in cluster.network.hold_back(
        lambda sent: isinstance(sent.message, AppendEntries)
    ):
        cluster.deliver_envelope(heartbeat)
    late = cluster.network.hold_back(lambda sent: sent.to == 1)
    lead(cluster, 2)
    lead(cluster, 1)
    commit_new_at(cluster, 3, without=1)
    again = cluster.read(1)
    cluster.settle()
    cluster.heal()
    for answer in late:
        cluster.deliver_envelope(answer)
    return is_served(cluster, 1, again)


def accept_any_term(server: RaftServer, _from_id: int, response: AppendEntriesResponse) -> bool:
    return response.term <= server.term


def test_responses_of_an_earlier_term_confirm_no_read() -> None:
    assert not late_responses_arrive_after_leader_changes()


def test_without_term_check_old_responses_confirm_wrong_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(message_handlers, "_is_current_term", accept_any_term)
    with pytest.raises(SafetyViolation, match="stale read: node 1"):
        late_responses_arrive_after_leader_changes()


# -- retries between a follower and its leader -----------------------------------------------------


def a_follower_asks_again_after_a_leader_change() -> object:
    """A follower retries a read; the deposed leader's response to the first attempt arrives late.

    Returns:
        the result of the second attempt. 1 is stale, because 2 was acknowledged before it. None: it waits.
    """
    cluster = ReplicaCluster()
    old, follower = cluster.elect(1), cluster.drivers[3]
    old.request(1, json.dumps({"op": "set", "key": "x", "value": 1}))
    cluster.settle()
    cluster.pass_time(100)
    follower.request(1, GET, "follower_read", timeout_ms=100)
    (answer,) = deliver_all_but(cluster, ReadIndexResponse)
    cluster.network.isolated = {3}
    new = cluster.elect(2)
    new.request(2, json.dumps({"op": "set", "key": "x", "value": 2}))
    cluster.settle()
    assert new.replies[-1].error is None, "acknowledged"
    follower.step()
    assert isinstance(follower.replies[-1].error, DeadlineExceeded), "the first attempt is over"
    follower.request(2, GET, "follower_read", timeout_ms=60_000)
    follower.step(MessageReceived(1, answer))
    results = [reply.result for reply in follower.replies if reply.request_id == 2]
    return json.loads(results[0] or "null")["value"] if results else None


PASS_ON = Forwarder.forward


def under_the_same_read_id(forwarder: Forwarder, request: PendingRequest) -> None:
    PASS_ON(forwarder, request)
    forwarder._last_ticket -= 1


def test_followers_retry_is_a_new_read() -> None:
    assert a_follower_asks_again_after_a_leader_change() is None


def test_without_new_read_id_followers_retry_reads_stale(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Forwarder, "forward", under_the_same_read_id)
    assert a_follower_asks_again_after_a_leader_change() == 1


# -- a new leader ----------------------------------------------------------------------------------


def a_new_leader_is_read_immediately() -> tuple[bool, bool]:
    """etcd#7331: the new leader's log holds what the old one committed, but it cannot know that it is committed.

    Returns:
        whether the read was served before the no-op entry was committed, and afterwards.
    """
    cluster = CoreCluster.of(3)
    lead(cluster, 1)
    cluster.propose(1, "acknowledged")
    cluster.persist(1)
    while cluster.core(1).commit_index < cluster.core(1).last_log_index:
        cluster.deliver()
        cluster.persist(2)
        cluster.persist(3)
    cluster.crash(1)
    cluster.network.clear()
    cluster.advance(1000)
    cluster.campaign(2)
    late: list[Envelope] = []
    read_id = 0
    for _ in range(50):
        cluster.persist(2)
        cluster.persist(3)
        late += cluster.network.hold_back(
            lambda sent: isinstance(sent.message, AppendEntries) and bool(sent.message.entries),
        )
        if not read_id and cluster.core(2).role == "leader":
            assert cluster.core(2).commit_index < cluster.core(2).last_log_index - 1
            read_id = cluster.read(2)
        elif cluster.network:
            cluster.deliver()
    early = is_served(cluster, 2, read_id)
    cluster.network.messages += late
    cluster.settle()
    return early, is_served(cluster, 2, read_id)


def test_new_leader_reads_only_after_its_own_commit() -> None:
    assert a_new_leader_is_read_immediately() == (False, True)


def test_without_own_commit_new_leader_reads_stale(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_index, "_has_committed_in_term", lambda _server: True)
    with pytest.raises(SafetyViolation, match="stale read: node 2"):
        a_new_leader_is_read_immediately()


# -- a transfer and the lease ----------------------------------------------------------------------


def the_source_of_a_transfer_is_read(*, aborted: bool) -> bool:
    """openraft#1747: transfer, cut off the old leader, write at the target, lease read at the old leader.

    With `aborted`, the request to campaign reaches the target late. The old leader has ended the transfer by then, has
    continued to lead and has renewed its lease.

    Returns:
        whether the old leader serves the read.
    """
    cluster = CoreCluster.of(3, RaftConfig(1, lease_reads=True))
    lead(cluster, 1)
    cluster.timeout(1)
    cluster.settle()
    assert is_served(cluster, 1, cluster.read(1, lease=True)), "it has a lease"
    cluster.step(1, TransferLeadership(2))
    (order,) = cluster.network.hold_back(lambda sent: isinstance(sent.message, TimeoutNow))
    if aborted:
        for _ in range(10):
            cluster.advance(50)
            cluster.timeout(1)
            cluster.settle()
        assert not cluster.core(1).transferring
    cluster.deliver_envelope(order)
    cluster.isolate(1)
    cluster.settle()
    assert cluster.leaders() == [1, 2]
    cluster.propose(2, "new")
    cluster.settle()
    return is_served(cluster, 1, cluster.read(1, lease=True))


ASK, ADVANCE = transfer._ask, transfer.advance


def ask_without_voiding(server: RaftServer, target: int, *, by_priority: bool) -> None:
    ASK(server, target, by_priority=by_priority)
    server.lease_void = False


def restore_the_lease_at_the_end(server: RaftServer) -> None:
    """The lease is valid again after an aborted transfer."""
    ADVANCE(server)
    if server.transfer is None:
        server.lease_void = False


@pytest.mark.parametrize("aborted", [False, True], ids=["immediate", "aborted"])
def test_transfer_voids_the_lease(aborted: bool) -> None:
    assert not the_source_of_a_transfer_is_read(aborted=aborted)


def test_without_voided_lease_transfer_source_reads_stale(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "_ask", ask_without_voiding)
    with pytest.raises(SafetyViolation, match="stale read: node 1"):
        the_source_of_a_transfer_is_read(aborted=False)


def test_without_lasting_void_aborted_transfer_reads_stale(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(transfer, "advance", restore_the_lease_at_the_end)
    assert not the_source_of_a_transfer_is_read(aborted=False)
    with pytest.raises(SafetyViolation, match="stale read: node 1"):
        the_source_of_a_transfer_is_read(aborted=True)
