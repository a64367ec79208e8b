"""Requests that lose their leader: repeatable ones go to the next leader, and none waits long."""

from __future__ import annotations

import json

from qcore.core.events import MessageReceived, Tick
from qcore.errors import NotLeader, OutcomeUnknown, ProposalDropped, QcoreError
from qcore.replica.events import TriggerSnapshot
from qcore.replica.messages import Forward, ForwardResponse
from qcore.replica.sessions.session_table import open_session_payload, session_command_payload
from tests.driver.replicas import ReplicaCluster, ReplicaDriver

PUT = json.dumps({"op": "set", "key": "x", "value": 1})
GET = json.dumps({"op": "get", "key": "x"})
ONCE, TWICE = '{"ok":true,"value":1}', '{"ok":true,"value":2}'
ADD = json.dumps({"op": "add", "key": "n", "amount": 1})

#: Longer than any of these requests needs here.
PATIENT_MS = 60_000


def outcome(driver: ReplicaDriver, request_id: int) -> str | QcoreError | None:
    """The result or the error of a request, or None if it has no outcome; there is never a second one."""
    replies = [reply for reply in driver.replies if reply.request_id == request_id]
    assert len(replies) <= 1
    if not replies:
        return None
    return replies[0].error or replies[0].result


def abandoned() -> tuple[ReplicaCluster, ReplicaDriver]:
    """A follower that has forwarded requests to a leader that then becomes silent."""
    cluster = ReplicaCluster()
    cluster.elect(1)
    follower = cluster.drivers[3]
    follower.request(1, open_session_payload(60_000), "session", PATIENT_MS)
    cluster.settle()
    session = int(str(outcome(follower, 1)))
    cluster.network.isolated = {1}
    follower.request(2, GET, "read", PATIENT_MS)
    follower.request(3, GET, "follower_read", PATIENT_MS)
    follower.request(4, session_command_payload(session, 1, 0, ADD), "session", PATIENT_MS)
    follower.request(5, PUT, "write", PATIENT_MS)
    cluster.settle()
    assert all(outcome(follower, number) is None for number in (2, 3, 4, 5))
    return cluster, follower


def test_repeatable_requests_go_to_the_next_leader() -> None:
    cluster, follower = abandoned()
    cluster.elect(2)
    cluster.settle()
    for number in (2, 3, 4):
        assert isinstance(outcome(follower, number), str), number
    assert outcome(follower, 5) is None, "the old leader may still respond"


def test_write_waits_one_election_timeout_for_the_old_leader() -> None:
    cluster, follower = abandoned()
    cluster.elect(2)
    longest_us = follower.replica.config.raft.election_timeout_max_ms * 1000
    assert follower.replica.next_deadline() <= cluster.now + longest_us
    cluster.now += longest_us
    follower.step()
    assert isinstance(outcome(follower, 5), OutcomeUnknown)
    cluster.heal()
    cluster.pass_time(200)  # a late response changes nothing
    assert isinstance(outcome(follower, 5), OutcomeUnknown)


def test_old_leader_may_still_respond_before_the_timeout() -> None:
    cluster, follower = abandoned()
    follower.request(6, PUT, "write", PATIENT_MS)
    (forward,) = [sent.message for sent in cluster.network if isinstance(sent.message, Forward)]
    cluster.elect(2)
    follower.step(MessageReceived(1, ForwardResponse(forward.forward_id, "null", 9)))
    assert outcome(follower, 6) == "null"


def test_a_repeated_session_command_counts_once() -> None:
    """The command is in the old leader's log, and from there in the new leader's log."""
    cluster = ReplicaCluster()
    cluster.elect(1)
    follower = cluster.drivers[3]
    follower.request(1, open_session_payload(60_000), "session", PATIENT_MS)
    cluster.settle()
    session = int(str(outcome(follower, 1)))
    follower.request(2, session_command_payload(session, 1, 0, ADD), "session", PATIENT_MS)
    while cluster.network:  # only the response to the forward is lost
        sent = cluster.network.take()
        if not isinstance(sent.message, ForwardResponse):
            cluster.deliver_envelope(sent)
    cluster.network.isolated = {1}
    cluster.elect(2)
    cluster.settle()
    assert outcome(follower, 2) == ONCE
    follower.request(3, session_command_payload(session, 2, 1, ADD), "session", PATIENT_MS)
    cluster.settle()
    assert outcome(follower, 3) == TWICE


def test_follower_that_becomes_leader_serves_pending_requests() -> None:
    cluster, follower = abandoned()
    cluster.elect(3)
    cluster.settle()
    for number in (2, 3, 4):
        assert isinstance(outcome(follower, number), str), number


def test_cut_off_node_responds_within_an_election_timeout() -> None:
    cluster, follower = abandoned()
    cluster.network.isolated = {1, 2, 3}
    cluster.now += 1_000_000
    follower.step(Tick())
    assert follower.replica.core.leader_id is None
    assert all(outcome(follower, number) is None for number in (2, 3, 4, 5))
    longest_us = follower.replica.config.raft.election_timeout_max_ms * 1000
    assert follower.replica.next_deadline() <= cluster.now + longest_us
    cluster.now += longest_us
    follower.step()
    for number in (2, 3):
        assert isinstance(outcome(follower, number), NotLeader), "its client may ask elsewhere"
    for number in (4, 5):
        assert isinstance(outcome(follower, number), OutcomeUnknown)


def test_cut_off_leader_reports_its_writes_as_unknown() -> None:
    cluster = ReplicaCluster()
    leader = cluster.elect(1)
    cluster.network.isolated = {1}
    leader.request(1, PUT, "write", PATIENT_MS)
    longest_us = leader.replica.config.raft.election_timeout_max_ms * 1000
    cluster.now += 2 * longest_us
    leader.step(Tick())
    assert leader.replica.core.leader_id is None
    assert outcome(leader, 1) is None, "another leader may be about to win"
    cluster.now += longest_us
    leader.step()
    assert isinstance(outcome(leader, 1), OutcomeUnknown)


def test_old_leader_that_hears_of_the_next_learns_the_outcome() -> None:
    cluster = ReplicaCluster()
    leader = cluster.elect(1)
    cluster.network.isolated = {1}
    leader.request(1, PUT, "write", PATIENT_MS)
    longest_us = leader.replica.config.raft.election_timeout_max_ms * 1000
    cluster.now += 2 * longest_us
    leader.step(Tick())
    cluster.elect(2)
    assert outcome(leader, 1) is None
    cluster.heal()
    cluster.pass_time(200)
    assert isinstance(outcome(leader, 1), ProposalDropped), "overwritten, which is certain"


def test_write_at_an_index_a_snapshot_replaced_is_unknown() -> None:
    """The next leader has compacted the entry at its index, so nothing says whose command it holds."""
    cluster = ReplicaCluster()
    old = cluster.elect(1)
    cluster.network.isolated = {1}
    old.request(1, PUT, timeout_ms=PATIENT_MS)
    new = cluster.elect(2)
    for number in range(2, 6):
        new.request(number, ADD)
    cluster.settle()
    new.step(TriggerSnapshot(keep_entries=0))
    cluster.heal()
    cluster.settle()
    cluster.pass_time(100)
    error = outcome(old, 1)
    assert isinstance(error, OutcomeUnknown)
    assert "a snapshot replaced the log at index" in str(error)
