"""Admin requests that another event overtakes: a removal, a second request, a deadline, a lost leadership."""

from __future__ import annotations

import pytest

from qcore.core.events import MessageReceived, Tick
from qcore.core.messages import AppendEntriesResponse
from qcore.errors import (
    ChangeRefused,
    DeadlineExceeded,
    NotLeader,
    OutcomeUnknown,
    Overloaded,
    TransferUnknown,
)
from qcore.replica.admin import learner_requests
from qcore.replica.events import AddLearner, TransferLeader
from tests.replica.support.admin import (
    change,
    failure_of,
    last_reply,
    put,
    voters_and_spares,
    with_moved_learner,
    with_silent_learner,
)


def test_learner_removed_while_it_catches_up_is_reported() -> None:
    cluster, leader = with_silent_learner()
    change(leader, [1, 2, 3])
    cluster.settle()
    (error,) = [reply.error for reply in leader.replies if reply.request_id == 100]
    assert isinstance(error, ChangeRefused)
    assert error.name == "unknown_member"
    assert "node 4 has been removed" in str(error)


def test_learner_that_needs_too_many_rounds_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may never come close enough to the leader's log to become a voter."""
    monkeypatch.setattr(learner_requests, "CATCH_UP_ROUNDS", 1)
    cluster = voters_and_spares()
    leader = cluster.leader()
    cluster.network.isolated = {4}
    leader.step(AddLearner(100, 4, "10.0.0.4:80", 5000))
    cluster.pass_time(400)
    cluster.heal()
    cluster.pass_time(400)
    assert "did not catch up within 1 rounds" in failure_of(leader, 100)
    assert leader.replica.core.membership.learners == (4,)


def test_learner_that_is_slow_in_one_round_gets_another() -> None:
    cluster = voters_and_spares()
    leader = cluster.leader()
    cluster.network.isolated = {4}
    leader.step(AddLearner(100, 4, "10.0.0.4:80", 5000))
    cluster.pass_time(400)
    cluster.heal()
    cluster.pass_time(400)
    assert [reply.error for reply in leader.replies if reply.request_id == 100] == [None]


def test_address_changed_back_by_request_is_not_changed_again() -> None:
    cluster, leader = with_moved_learner("10.0.0.9:80")
    leader.step(AddLearner(300, 4, "10.0.0.4:80", 300))
    cluster.pass_time(2000)
    assert failure_of(leader, 300).endswith(
        "it stays a learner: retry once it answers, or remove it"
    )
    assert leader.replica.core.membership.address_of(4) == "10.0.0.4:80"


def test_write_that_expires_during_a_removal_keeps_its_own_error() -> None:
    cluster, leader = with_silent_learner()
    cluster.network.isolated = {2, 3, 4}
    leader.request(7, put("x", 1), timeout_ms=80)
    cluster.pass_time(100)
    (error,) = [reply.error for reply in leader.replies if reply.request_id == 7]
    assert isinstance(error, OutcomeUnknown | DeadlineExceeded)
    cluster.pass_time(400)
    assert "is not known to be committed" in failure_of(leader, 100)


def test_change_beyond_the_limit_of_admin_requests_is_rejected() -> None:
    _, leader = with_silent_learner(timeout_ms=5000)
    for number in range(leader.replica.config.max_admin_requests):
        leader.step(AddLearner(300 + number, 4, "10.0.0.4:80", 5000))
    before = leader.replica.core.last_log_index
    change(leader, [1, 2])
    assert isinstance(last_reply(leader).error, Overloaded)
    assert leader.replica.core.last_log_index == before


def test_follower_rejects_a_transfer_and_names_the_leader() -> None:
    follower = voters_and_spares().drivers[2]
    follower.step(TransferLeader(300, 3, 1000))
    error = last_reply(follower).error
    assert isinstance(error, NotLeader)
    assert error.leader_id == 1


def test_transfer_without_a_known_new_leader_has_unknown_outcome() -> None:
    """This node knows of a later term, and no message of a leader of that term has arrived."""
    cluster = voters_and_spares()
    leader = cluster.leader()
    cluster.network.isolated = {1}
    leader.step(TransferLeader(300, 2, 500))
    later = leader.replica.core.term + 1
    leader.step(MessageReceived(3, AppendEntriesResponse(later, False, 0, 0, 0, 0)))
    cluster.pass_time(600)
    leader.step(Tick())
    error = last_reply(leader).error
    assert isinstance(error, TransferUnknown)
    assert f"this node led before term {later} and knows no leader of that term yet" in str(error)


def test_learner_stays_if_its_removal_is_rejected() -> None:
    """No configuration changes while leadership is transferred."""
    cluster, leader = with_silent_learner()
    cluster.network.isolated = {3, 4}
    leader.step(TransferLeader(300, 3, 2000))
    cluster.pass_time(100)
    text = failure_of(leader, 100)
    assert (
        "still a learner, because it could not be removed (leadership is being transferred" in text
    )
    assert leader.replica.core.membership.learners == (4,)


def test_learner_silent_at_two_addresses_is_removed_again() -> None:
    """It answered at neither address, so the first one is nothing to return to."""
    cluster, leader = with_silent_learner(timeout_ms=400)
    leader.step(AddLearner(300, 4, "10.0.0.9:80", 800))
    cluster.pass_time(3000)
    assert 4 not in leader.replica.core.membership.members()
    assert isinstance(failure_of(leader, 300), str)


def test_learner_is_not_added_while_another_change_is_pending() -> None:
    cluster = voters_and_spares()
    leader = cluster.leader()
    cluster.network.isolated = {2, 3}
    leader.step(AddLearner(300, 4, "10.0.0.4:80", 5000))
    leader.step(AddLearner(301, 5, "10.0.0.5:80", 5000))
    (error,) = [reply.error for reply in leader.replies if reply.request_id == 301]
    assert isinstance(error, ChangeRefused)
    assert leader.replica.core.membership.learners == (4,)
