"""Admin requests at replicas: learners, membership changes, leadership transfers, rejections."""

from __future__ import annotations

import pytest

from qcore.core.events import MessageReceived, Tick
from qcore.core.messages import AppendEntriesResponse
from qcore.errors import (
    ChangeRefused,
    NotLeader,
    OutcomeUnknown,
)
from qcore.replica.events import AddLearner, TriggerSnapshot
from tests.driver.replicas import ReplicaCluster
from tests.replica.support.admin import (
    change,
    failure_of,
    is_joint,
    last_reply,
    put,
    role_of,
    voters_and_spares,
    with_moved_learner,
    with_silent_learner,
)


def test_adding_a_learner_succeeds_once_it_has_caught_up() -> None:
    cluster = voters_and_spares()
    leader = cluster.leader()
    leader.step(AddLearner(100, 4, "10.0.0.4:80", 5000))
    assert last_reply(leader).request_id != 100
    cluster.pass_time(200)
    assert (last_reply(leader).request_id, last_reply(leader).result) == (100, "Success")
    learner = cluster.drivers[4].replica
    assert learner.core.role == "learner"
    assert learner.machine.state_hash() == leader.replica.machine.state_hash()
    assert leader.replica.core.membership.voters == (1, 2, 3)


def test_silent_new_learner_is_removed_with_the_reason() -> None:
    cluster, leader = with_silent_learner()
    cluster.pass_time(100)
    text = failure_of(leader, 100)
    assert "no process listens at node 4" in text
    assert text.endswith("it was removed again")
    assert not leader.replica.core.membership.learners
    assert leader.replica.core.membership_index <= leader.replica.core.commit_index


def test_uncommitted_removal_is_not_reported_as_done() -> None:
    cluster, leader = with_silent_learner()
    cluster.network.isolated = {2, 3, 4}
    leader.step()
    cluster.pass_time(50)
    assert not [reply for reply in leader.replies if reply.request_id == 100], "it waits"
    cluster.pass_time(600)
    assert "not known to be committed" in failure_of(leader, 100)


def test_deposed_leader_does_not_report_the_learner_removed() -> None:
    cluster, leader = with_silent_learner()
    cluster.network.isolated = {1, 4}
    cluster.pass_time(100)
    cluster.elect(2)
    cluster.network.isolated = {4}
    cluster.pass_time(200)
    assert "not known to be committed" in failure_of(leader, 100)
    assert cluster.leader().replica.core.membership.learners == (4,)


def test_learner_that_responded_stays_and_error_names_its_lag() -> None:
    cluster = voters_and_spares()
    leader = cluster.leader()
    leader.step(AddLearner(100, 4, "10.0.0.4:80", 5000))
    cluster.pass_time(200)
    cluster.network.isolated = {4}
    leader.request(7, put("x", 7))
    cluster.settle()
    leader.step(AddLearner(101, 4, "10.0.0.4:80", 1000))
    cluster.pass_time(1200)
    text = failure_of(leader, 101)
    assert f"it has 8 of {leader.replica.core.last_log_index} entries" in text
    assert leader.replica.core.membership.learners == (4,)


def test_learner_that_was_a_member_before_is_not_removed() -> None:
    """It may hold a part of the log and be down for a moment. An earlier leader may have received its responses."""
    cluster = voters_and_spares()
    cluster.leader().step(AddLearner(100, 4, "10.0.0.4:80", 5000))
    cluster.pass_time(200)
    cluster.network.isolated = {4}
    new = cluster.elect(2)
    new.step(AddLearner(101, 4, "10.0.0.4:80", 1000))
    cluster.pass_time(1200)
    text = failure_of(new, 101)
    assert "never answered" in text
    assert "it stays a learner" in text
    assert new.replica.core.membership.learners == (4,)


def test_the_last_of_several_requests_for_one_learner_removes_it() -> None:
    cluster, leader = with_silent_learner()
    leader.step(AddLearner(101, 4, "10.0.0.4:80", 1000))
    cluster.pass_time(200)
    assert failure_of(leader, 100).endswith(
        "another request still waits for it: it is removed again if it has not answered by then"
    )
    assert leader.replica.core.membership.learners == (4,)
    cluster.pass_time(1200)
    assert failure_of(leader, 101).endswith("it was removed again")
    assert not leader.replica.core.membership.learners


def test_learner_is_removed_only_by_the_request_that_added_it() -> None:
    cluster, leader = with_silent_learner(2000)
    leader.step(AddLearner(101, 4, "10.0.0.4:80", 20))
    cluster.pass_time(40)
    assert "it is removed again if" in failure_of(leader, 101)
    cluster.pass_time(200)
    assert failure_of(leader, 100).endswith("it was removed again")


def test_promoted_learner_is_not_reported_as_removed() -> None:
    cluster = voters_and_spares()
    leader = cluster.leader()
    cluster.network.isolated = {4}
    leader.step(AddLearner(100, 4, "10.0.0.4:80", 300))
    cluster.pass_time(20)
    change(leader, [1, 2, 3, 4])
    cluster.pass_time(500)
    assert "made it a voter" in failure_of(leader, 100)
    assert leader.replica.core.membership.voters == (1, 2, 3, 4)


def test_address_without_a_response_is_reverted_with_reason() -> None:
    cluster, leader = with_moved_learner("10.0.0.9:80")
    cluster.pass_time(1200)
    text = failure_of(leader, 200)
    assert "never answered at 10.0.0.9:80: that is not node 4" in text
    assert text.endswith("changed from 10.0.0.4:80 to 10.0.0.9:80 and back again")
    assert leader.replica.core.membership.address_of(4) == "10.0.0.4:80"
    assert leader.replica.core.membership.learners == (4,)
    assert leader.replica.core.membership_index <= leader.replica.core.commit_index


def test_response_from_the_old_address_confirms_no_new_one() -> None:
    cluster, leader = with_moved_learner("10.0.0.9:80")
    core = leader.replica.core
    cluster.pass_time(900)
    leader.step(AddLearner(300, 4, "10.0.0.7:80", 1000))
    before = core.last_log_index - 1
    newest = core._server.reads.round  # the last message of the leader to the old address
    late = AppendEntriesResponse(core.term, True, before, before, before, core.term, newest)
    leader.step(MessageReceived(4, late))
    assert core.match_index_of(4) == before, "its response counts"
    cluster.pass_time(1200)
    assert core.membership.address_of(4) == "10.0.0.4:80"


def test_last_address_that_responded_is_restored() -> None:
    cluster, leader = with_moved_learner("10.0.0.8:80", "10.0.0.9:80")
    cluster.pass_time(1200)
    assert "changed from 10.0.0.4:80, and is changed back if" in failure_of(leader, 200)
    assert failure_of(leader, 201).endswith("from 10.0.0.4:80 to 10.0.0.9:80 and back again")
    assert leader.replica.core.membership.address_of(4) == "10.0.0.4:80"


def test_a_learner_keeps_the_address_where_it_has_responded() -> None:
    cluster, leader = with_moved_learner("10.0.0.9:80")
    cluster.heal()
    cluster.pass_time(200)
    (reply,) = [reply for reply in leader.replies if reply.request_id == 200]
    assert reply.result == "Success"
    cluster.network.isolated = {4}
    leader.request(7, put("x", 7))
    cluster.settle()
    leader.step(AddLearner(300, 4, "10.0.0.9:80", 300))
    cluster.pass_time(500)
    assert "entries, 1 are missing" in failure_of(leader, 300)
    assert leader.replica.core.membership.address_of(4) == "10.0.0.9:80"


def test_address_in_use_by_another_member_is_not_restored() -> None:
    cluster, leader = with_moved_learner("10.0.0.9:80")
    leader.step(AddLearner(300, 5, "10.0.0.4:80", 5000))
    cluster.pass_time(1200)
    assert "could not be changed back (node 5 has that address now)" in failure_of(leader, 200)
    assert leader.replica.core.membership.address_of(4) == "10.0.0.9:80"


def test_growing_from_three_to_five_uses_a_joint_phase() -> None:
    cluster = voters_and_spares()
    leader = cluster.leader()
    for node_id in (4, 5):
        leader.step(AddLearner(100 + node_id, node_id, f"10.0.0.{node_id}:80", 5000))
        cluster.pass_time(200)
    change(leader, [1, 2, 3, 4, 5])
    assert is_joint(leader)
    cluster.pass_time(200)
    assert last_reply(leader).result == "Success"
    for driver in cluster.drivers.values():
        assert driver.replica.core.membership.voters == (1, 2, 3, 4, 5)
        assert not is_joint(driver)
    cluster.network.isolated = {2, 3}
    leader.request(7, put("x", 7))
    cluster.pass_time(100)
    assert last_reply(leader).result is not None, "nodes 4 and 5 count now"


def test_the_joint_phase_needs_a_majority_of_both() -> None:
    cluster = voters_and_spares()
    leader = cluster.leader()
    for node_id in (4, 5):
        leader.step(AddLearner(100 + node_id, node_id, f"10.0.0.{node_id}:80", 5000))
        cluster.pass_time(200)
    cluster.network.isolated = {2, 3}
    change(leader, [1, 4, 5])
    cluster.pass_time(100)
    assert is_joint(leader), "no majority of the outgoing voters"
    assert leader.replica.core.commit_index < leader.replica.core.membership_index
    cluster.heal()
    cluster.pass_time(200)
    assert leader.replica.core.membership.voters == (1, 4, 5)


def test_removed_leader_transfers_to_a_caught_up_voter() -> None:
    cluster = voters_and_spares()
    leader = cluster.leader()
    change(leader, [2, 3])
    cluster.pass_time(200)
    assert last_reply(leader).result == "Success"
    assert leader.replica.core.role == "learner"
    new = cluster.leader()
    assert new.node_id in (2, 3)
    assert new.replica.core.membership.voters == (2, 3)
    new.request(1, put("x", 1))
    cluster.pass_time(100)
    assert last_reply(new).result is not None


def test_demotion_makes_a_learner_and_promotion_a_voter() -> None:
    cluster = voters_and_spares()
    leader = cluster.leader()
    change(leader, [1, 2], [3])
    cluster.pass_time(200)
    assert role_of(cluster, 3) == "learner"
    change(leader, [1, 2, 3])
    cluster.pass_time(200)
    assert role_of(cluster, 3) == "follower"


@pytest.mark.parametrize(
    ("voters", "learners", "expected", "name"),
    [
        ([], [], None, "empty"),
        ([1, 2, 3, 9], [], None, "unknown_member"),
        ([1, 2, 3], [3], None, "contradiction"),
        ([1, 2], [], 77, "changed"),
    ],
)
def test_invalid_change_is_rejected_by_name(
    voters: list[int], learners: list[int], expected: int | None, name: str
) -> None:
    cluster = voters_and_spares()
    leader = cluster.leader()
    before = leader.replica.core.last_log_index
    change(leader, voters, learners, expected)
    error = last_reply(leader).error
    assert isinstance(error, ChangeRefused)
    assert error.name == name
    assert leader.replica.core.last_log_index == before


def test_second_change_while_one_is_pending_is_rejected() -> None:
    cluster = voters_and_spares()
    leader = cluster.leader()
    cluster.network.isolated = {2, 3}
    change(leader, [1, 2])
    change(leader, [1, 3])
    error = last_reply(leader).error
    assert isinstance(error, ChangeRefused)
    assert error.name == "pending"


def test_follower_rejects_changes_and_names_the_leader() -> None:
    cluster = voters_and_spares()
    follower = cluster.drivers[2]
    change(follower, [1, 2])
    error = last_reply(follower).error
    assert isinstance(error, NotLeader)
    assert error.leader_id == 1


@pytest.mark.parametrize(
    ("cut", "voters", "silent"),
    [({3}, [1, 3], "[3]"), ({3, 4}, [1, 2, 3, 4], "[3, 4]"), ({4}, [1, 4], "[4]")],
    ids=["the wrong one is removed", "half of four", "a learner that is down is promoted"],
)
def test_voters_with_a_silent_majority_are_rejected(
    cut: set[int], voters: list[int], silent: str
) -> None:
    cluster = voters_and_spares()
    leader = cluster.leader()
    leader.step(AddLearner(100, 4, "10.0.0.4:80", 5000))
    cluster.pass_time(200)
    cluster.network.isolated = cut
    cluster.pass_time(1000)
    change(leader, voters)
    error = last_reply(leader).error
    assert isinstance(error, ChangeRefused)
    assert error.name == "unreachable"
    assert silent in str(error)
    assert "does not answer" in str(error), "with the reason, if it is known"
    leader.request(7, put("after", 1))
    cluster.settle()
    assert last_reply(leader).error is None, "the cluster works"
    change(leader, [1, 2])  # what the operator can do: leave out the silent nodes
    cluster.pass_time(200)
    assert leader.replica.core.membership.voters == (1, 2)


def test_follower_refers_to_the_leader_for_a_known_voter() -> None:
    """A removed node, for example: in the last configuration that it knows, the new learner may be a voter."""
    follower = voters_and_spares().drivers[2]
    follower.step(AddLearner(100, 3, "10.0.0.3:80", 1000))
    error = last_reply(follower).error
    assert isinstance(error, NotLeader)
    assert error.leader_id == 1


def test_uncommitted_configuration_rolls_back_with_its_entry() -> None:
    cluster = voters_and_spares()
    old = cluster.leader()
    cluster.network.isolated = {1}
    change(old, [1, 2])
    assert is_joint(old)
    cluster.elect(2)
    cluster.heal()
    cluster.pass_time(200)
    assert old.replica.core.membership.voters == (1, 2, 3)
    assert not is_joint(old)
    error = last_reply(old).error
    assert isinstance(error, ChangeRefused)
    assert error.name == "overwritten"


def test_change_overtaken_by_a_snapshot_has_unknown_outcome() -> None:
    """The entry at its index is another leader's, and is compacted before the old leader gets it."""
    cluster = ReplicaCluster(snapshot_entries=5)
    old = cluster.elect(1)
    cluster.network.isolated = {1}
    change(old, [1, 2])
    new = cluster.elect(2)
    for number in range(20):
        new.request(number, put("k", number))
        cluster.settle()
    new.step(TriggerSnapshot(0))
    assert new.replica.core.status().first_log_index > old.replica.core.membership_index
    cluster.heal()
    cluster.pass_time(500)
    assert old.replica.core.commit_index == new.replica.core.commit_index
    assert old.replica.core.membership.voters == (1, 2, 3)
    assert isinstance(last_reply(old).error, OutcomeUnknown)


def test_committed_change_succeeds_though_entry_is_compacted() -> None:
    """The joint configuration was committed here; another leader commits the one that ends the joint phase."""
    cluster = voters_and_spares()
    old = cluster.leader()
    for node_id in (4, 5):
        old.step(AddLearner(100 + node_id, node_id, f"10.0.0.{node_id}:80", 5000))
        cluster.pass_time(200)
    change(old, [1, 2, 3, 4, 5])
    joint_index = old.replica.core.membership_index
    while old.replica.core.commit_index < joint_index:
        cluster.deliver()
    cluster.network.clear()
    cluster.network.isolated = {1}
    new = cluster.elect(2)
    for number in range(20):
        new.request(number, put("k", number))
        cluster.settle()
    new.step(TriggerSnapshot(0))
    cluster.heal()
    cluster.pass_time(500)
    assert old.replica.core.term_at(joint_index) is None
    assert old.replica.core.membership.voters == (1, 2, 3, 4, 5)
    assert last_reply(old).result == "Success"


def test_new_leader_finishes_the_joint_phase_of_the_old_one() -> None:
    cluster = voters_and_spares()
    old = cluster.leader()
    for node_id in (4, 5):
        old.step(AddLearner(100 + node_id, node_id, f"10.0.0.{node_id}:80", 5000))
        cluster.pass_time(200)
    change(old, [1, 2, 3, 4, 5])
    # All nodes store the joint configuration, and the leader gets no response.
    cluster.network.cut = {(node_id, 1) for node_id in (2, 3, 4, 5)}
    while cluster.network:
        cluster.deliver()
    cluster.network.isolated = {1}
    new = cluster.elect(2)
    cluster.pass_time(200)
    assert new.replica.core.membership.voters == (1, 2, 3, 4, 5)
    assert not is_joint(new)


def test_uncommitted_learner_is_not_called_a_member() -> None:
    cluster = voters_and_spares()
    leader = cluster.leader()
    cluster.network.isolated = {2, 3}
    leader.step(AddLearner(50, 4, "10.0.0.4:80", 200))
    cluster.now += 250_000
    leader.step(Tick())
    error = next(reply.error for reply in leader.replies if reply.request_id == 50)
    assert isinstance(error, OutcomeUnknown), error
