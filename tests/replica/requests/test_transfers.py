"""Leadership transfers at replicas: their outcomes and their rejections."""

from __future__ import annotations

from dataclasses import replace

from qcore.core.events import MessageReceived
from qcore.core.messages import TimeoutNow, TimeoutNowResponse
from qcore.errors import (
    ChangeRefused,
    TransferFailed,
    TransferUnknown,
)
from qcore.replica.events import TransferLeader
from qcore.replica.leadership import Leadership
from tests.replica.support.admin import last_reply, put, voters_and_spares


def test_leadership_goes_to_the_named_voter_on_request() -> None:
    cluster = voters_and_spares()
    leader = cluster.leader()
    leader.step(TransferLeader(50, 3, 2000))
    cluster.pass_time(100)
    new = cluster.leader()
    assert new.node_id == 3
    assert last_reply(leader).result == Leadership(3, new.replica.core.term).to_json()


def test_transfer_to_a_priority_zero_voter_is_rejected() -> None:
    cluster = voters_and_spares()
    cluster.raft = replace(cluster.raft, priority=0)
    cluster.restart(3)
    cluster.pass_time(200)
    leader = cluster.leader()
    leader.step(TransferLeader(50, 3, 2000))
    error = last_reply(leader).error
    assert isinstance(error, ChangeRefused)
    assert error.name == "priorities"
    assert "node 3 has priority 0 and never leads" in str(error)
    leader.request(51, put("x", 1))
    cluster.pass_time(100)
    assert last_reply(leader).result is not None, "writes do not wait"


def test_transfer_to_a_dead_voter_ends_with_unknown_outcome() -> None:
    """The voter was asked to campaign: after a restart it may still take over."""
    cluster = voters_and_spares()
    leader = cluster.leader()
    cluster.network.isolated = {3}
    leader.step(TransferLeader(50, 3, 2000))
    leader.request(51, put("x", 1))
    assert last_reply(leader).error is not None, "rejected during the transfer"
    assert last_reply(leader).error.retryable  # type: ignore[union-attr]  # asserted not None above
    cluster.pass_time(500)
    leader.request(52, put("x", 1))
    cluster.pass_time(100)
    assert last_reply(leader).request_id == 52, "the transfer has no outcome yet"
    assert last_reply(leader).result is not None
    cluster.pass_time(2000)
    assert isinstance(last_reply(leader).error, TransferUnknown)
    assert "check which node leads" in str(last_reply(leader).error)


def test_transfer_to_a_disconnected_voter_is_rejected() -> None:
    """No message would reach it, so it cannot take over later."""
    cluster = voters_and_spares()
    leader = cluster.leader()
    cluster.network.isolated = {3}
    leader.replica.connection_problem = lambda peer: (
        "cannot connect to 10.0.0.3:80" if peer == 3 else None
    )
    cluster.pass_time(600)
    leader.step(TransferLeader(50, 3, 2000))
    error = last_reply(leader).error
    assert isinstance(error, ChangeRefused)
    assert error.name == "unreachable"
    assert "node 3 is not connected" in str(error)
    assert "cannot connect to 10.0.0.3:80" in str(error)
    assert not leader.replica.core.has_unanswered_timeout_now
    leader.step(TransferLeader(51, 2, 2000))
    cluster.pass_time(100)
    assert cluster.leader().node_id == 2


def test_a_voter_that_takes_over_late_is_still_reported() -> None:
    cluster = voters_and_spares()
    leader = cluster.leader()
    leader.step(TransferLeader(50, 3, 2000))
    late = cluster.network.hold_back(lambda sent: isinstance(sent.message, TimeoutNow))
    assert len(late) == 1
    cluster.network.clear()
    cluster.pass_time(600)
    assert not cluster.leader().replica.core.transferring, "aborted"
    assert all(reply.request_id != 50 for reply in leader.replies)
    cluster.network.messages += late
    cluster.settle()
    cluster.pass_time(100)
    new = cluster.leader()
    assert new.node_id == 3
    assert last_reply(leader).result == Leadership(3, new.replica.core.term).to_json()


def test_transfer_rejected_by_its_target_has_failed() -> None:
    cluster = voters_and_spares()
    leader = cluster.leader()
    term = leader.replica.core.term
    cluster.network.isolated = {3}
    leader.step(TransferLeader(50, 3, 2000))
    leader.step(MessageReceived(3, TimeoutNowResponse(term, False)))
    error = last_reply(leader).error
    assert isinstance(error, TransferFailed)
    assert str(error).startswith("node 3 rejected the transfer")
    assert (error.leader_id, error.term) == (1, term)
    assert not leader.replica.core.has_unanswered_timeout_now


def test_late_rejection_settles_the_transfer() -> None:
    cluster = voters_and_spares()
    leader = cluster.leader()
    cluster.network.isolated = {3}
    leader.step(TransferLeader(50, 3, 5000))
    cluster.pass_time(600)
    assert all(reply.request_id != 50 for reply in leader.replies)
    leader.step(MessageReceived(3, TimeoutNowResponse(leader.replica.core.term, False)))
    assert isinstance(last_reply(leader).error, TransferFailed)


def test_transfer_whose_target_was_not_asked_has_failed() -> None:
    cluster = voters_and_spares()
    leader = cluster.leader()
    cluster.network.isolated = {3}
    leader.request(51, put("x", 1))  # node 3 lacks a part of the log, so it is not asked
    leader.step(TransferLeader(50, 3, 2000))
    cluster.pass_time(600)
    error = next(reply.error for reply in leader.replies if reply.request_id == 50)
    assert isinstance(error, TransferFailed)
    assert "did not catch up with the log in time" in str(error)


def test_transfer_reports_that_another_voter_won() -> None:
    cluster = voters_and_spares()
    leader = cluster.leader()
    cluster.network.isolated = {3}
    leader.step(TransferLeader(50, 3, 5000))
    new = cluster.elect(2)
    error = last_reply(leader).error
    assert isinstance(error, TransferFailed)
    assert (error.leader_id, error.term) == (2, new.replica.core.term)
