"""Log lines about voters that never lead: one for each change, whether the node leads or not."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest

from qcore.core import Membership, RaftConfig
from qcore.core.status import CoreStatus
from qcore.node.observability.logs import NodeLog
from qcore.node.watches.priority_watch import CONSECUTIVE_CHECKS, PriorityWatch
from tests.core.support.single_core import restored


class Watched:
    """A watch of node 1, one of these voters, after a restart."""

    def __init__(self, *voters: int, priority: int = 0) -> None:
        membership = Membership(voters=voters)
        core = restored(config=RaftConfig(1, priority=priority), membership=membership)
        self.status: CoreStatus = core.status()
        self.watch = PriorityWatch(lambda: self.status, NodeLog(1))

    def check(self, times: int = 1, *, leader: int | None = None) -> None:
        self.status = replace(self.status, leader_id=leader)
        for _ in range(times):
            self.watch.check()


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "qcore.node")
    return caplog


def lines(log: pytest.LogCaptureFixture, level: int) -> list[str]:
    """The lines logged at this level, with their fields."""
    return [
        f"{record.getMessage()} {getattr(record, 'qcore_fields', '')}"
        for record in log.records
        if record.levelno == level
    ]


def test_a_sole_voter_of_priority_0_warns_at_startup(
    log: pytest.LogCaptureFixture,
) -> None:
    watched = Watched(1)
    watched.check(2)
    (own,) = lines(log, logging.INFO)
    assert "has priority 0 and never leads" in own
    (why,) = lines(log, logging.WARNING)
    assert "all of the voters [1] have priority 0, and no node may lead" in why


def test_priority_0_on_one_of_two_voters_causes_a_warning(
    log: pytest.LogCaptureFixture,
) -> None:
    Watched(1, 2).check(3, leader=2)
    (why,) = lines(log, logging.WARNING)
    assert "[1] of the voters [1, 2] have priority 0 and never lead" in why


def test_a_lost_leader_is_logged_once_and_so_is_its_return(
    log: pytest.LogCaptureFixture,
) -> None:
    watched = Watched(1, 2, 3)
    watched.check(CONSECUTIVE_CHECKS - 1)
    watched.check(1, leader=2)
    assert lines(log, logging.WARNING) == [], "an election takes some time"
    watched.check(3 * CONSECUTIVE_CHECKS)
    (why,) = lines(log, logging.WARNING)
    assert "no node can lead unless another voter has a higher one" in why
    watched.check(3, leader=2)
    own, again = lines(log, logging.INFO)
    assert "never leads" in own
    assert "a leader is known again" in again


def test_an_electable_voter_and_a_learner_log_nothing(log: pytest.LogCaptureFixture) -> None:
    Watched(1, 2, 3, priority=1).check(3 * CONSECUTIVE_CHECKS)
    Watched(2, 3).check(3 * CONSECUTIVE_CHECKS)
    assert log.records == []


def test_a_deposed_leader_does_not_log_a_recovery(
    log: pytest.LogCaptureFixture,
) -> None:
    watched = Watched(1, 2, 3, priority=1)
    follows = watched.status
    leads = replace(follows, role="leader", never_lead=(2, 3), priority_problem="two of three")
    for watched.status in (leads, leads, follows, leads):
        watched.watch.check()
    assert len(lines(log, logging.WARNING)) == 2
    assert lines(log, logging.INFO) == []
    watched.status = replace(leads, never_lead=(), priority_problem=None)
    watched.watch.check()
    assert "fine again" in lines(log, logging.INFO)[0]
