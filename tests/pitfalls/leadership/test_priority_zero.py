"""Membership changes after which only nodes of priority 0 could win an election, so no node could ever lead."""

from __future__ import annotations

import pytest

from qcore.core import Membership, RaftConfig, membership
from qcore.core.effects import ChangeAccepted, ChangeRejected
from qcore.core.entry import DurableState
from qcore.core.events import Bootstrap, ChangeMembership
from qcore.core.leadership import priorities
from qcore.errors import ConfigError
from tests.core.support.timed_cluster import run_for
from tests.driver.cores import CoreCluster
from tests.driver.first_state import started
from tests.pitfalls.support.cluster_steps import lead

ADDRESSES = tuple((node, f"10.0.0.{node}:80") for node in range(1, 6))


def changed(zeros: tuple[int, ...], wanted: tuple[int, ...], *, crash: int) -> tuple[str, int]:
    """Servers 1 to 3 vote and 1 leads; some have priority 0. The voters change, and then one server crashes.

    Returns:
        the leader's response to the change, and how often a server became leader in the minute after the crash.
    """
    three = Membership(voters=(1, 2, 3), learners=(4, 5), addresses=ADDRESSES)
    cluster = CoreCluster(
        {node: started(three) for node in range(1, 6)},
        RaftConfig(1),
        priorities=dict.fromkeys(zeros, 0),
    )
    lead(cluster, 1)
    cluster.timeout(1)
    cluster.settle()
    (answer, *_) = [
        effect
        for effect in cluster.step(1, ChangeMembership(wanted, (), ADDRESSES, 0))
        if isinstance(effect, ChangeAccepted | ChangeRejected)
    ]
    run_for(cluster, 1000)
    cluster.crash(crash)
    course = run_for(cluster, 60_000, propose_every_ms=1000)
    return "accepted" if isinstance(answer, ChangeAccepted) else answer.name, course.changes


def test_change_that_leaves_no_electable_voter_is_rejected() -> None:
    verdict, elected = changed((2,), (2,), crash=1)
    assert verdict == "priorities"
    assert elected == 1, "3 takes over: the voters are still 1 to 3"


def test_without_check_unelectable_voters_end_the_cluster(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(priorities, "change_rejection", lambda _server, _voters: None)
    assert changed((2,), (2,), crash=1) == ("accepted", 0)


def test_change_to_half_unelectable_voters_is_rejected() -> None:
    verdict, elected = changed((4, 5), (1, 4, 5), crash=1)
    assert verdict == "priorities"
    assert elected == 1


def test_without_check_one_crash_stops_half_unelectable_voters(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(priorities, "change_rejection", lambda _server, _voters: None)
    assert changed((4, 5), (1, 4, 5), crash=1) == ("accepted", 0)


def test_a_learner_of_priority_0_is_not_promoted_where_two_vote() -> None:
    assert changed((4,), (1, 4), crash=2)[0] == "priorities"
    assert changed((4,), (1, 2, 4), crash=3)[0] == "accepted"


def test_a_cluster_does_not_begin_with_a_server_that_never_leads() -> None:
    cluster = CoreCluster({1: DurableState()}, RaftConfig(1, priority=0))
    with pytest.raises(ConfigError, match="priority 0 and never leads"):
        cluster.step(1, Bootstrap(Membership(voters=(1,)), 0))
    assert cluster.core(1).last_log_index == 0


@pytest.mark.parametrize(
    ("zeros", "voters", "broken"),
    [
        (0, 1, False),
        (1, 1, True),
        (1, 2, True),
        (1, 3, False),
        (2, 3, True),
        (1, 4, False),
        (2, 4, True),
        (2, 5, False),
        (3, 5, True),
        (0, 0, False),
    ],
)
def test_unelectable_voters_are_fewer_than_half(zeros: int, voters: int, broken: bool) -> None:
    assert priorities.too_many_zero_priorities(zeros, voters) == broken


def test_follower_rejects_before_priorities_are_checked() -> None:
    """The role is checked before the change: a follower answers that it is not the leader."""
    cluster = CoreCluster.of(3, RaftConfig(1, priority=0))
    event = ChangeMembership((1,), (), ADDRESSES, 0)
    refusal = membership._change_rejection(cluster.core(2)._server, event)
    assert refusal is not None
    assert refusal[0] == "not_leader"
