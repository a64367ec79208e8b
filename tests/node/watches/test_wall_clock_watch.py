"""A leader logs once that its clock is far from a quorum's, and once that this is over."""

from __future__ import annotations

import logging
import random
from dataclasses import replace

import pytest

from qcore.core import DurableState, Membership, RaftConfig, RaftCore
from qcore.core.status import CoreStatus, PeerStatus
from qcore.node.observability.logs import NodeLog
from qcore.node.watches.wall_clock_watch import CONSECUTIVE_CHECKS, WallClockWatch

BOUND_US = 1_000_000


class Watched:
    """A watch of a status that the test sets."""

    def __init__(self) -> None:
        core = RaftCore(RaftConfig(1), DurableState(), rng=random.Random(1), now=0)
        self.status: CoreStatus = replace(
            core.status(), role="leader", wall_skew_us=0, membership=Membership(voters=(1, 2, 3))
        )
        self.others(0, 0)
        self.watch = WallClockWatch(lambda: self.status, NodeLog(1), BOUND_US)

    def others(self, *offsets_us: int | None) -> None:
        """Set how far the clocks of nodes 2 and 3 are ahead of the leader's; None if a node has not reported it."""
        peers = {
            peer: PeerStatus("replicate", 1, 2, 0, 0, wall_offset_us=offset)
            for peer, offset in enumerate(offsets_us, start=2)
        }
        self.status = replace(self.status, peers=peers)

    def check(self, times: int = 1, **changes: int | None) -> None:
        self.status = replace(self.status, **changes)  # type: ignore[arg-type] # only the two times
        for _ in range(times):
            self.watch.check()


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


def test_a_wrong_clock_is_logged_once_and_so_is_its_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "qcore.node")
    watched = Watched()
    watched.check(10)
    assert lines(caplog) == []
    watched.check(20, wall_skew_us=-BOUND_US - 1)
    (far,) = lines(caplog)
    assert "far from a quorum's" in far
    watched.check(20, wall_skew_us=BOUND_US)
    assert len(lines(caplog)) == 2
    assert "agrees with a quorum's again" in lines(caplog)[1]


def test_a_silent_voter_leaves_open_which_clock_is_wrong(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "qcore.node")
    watched = Watched()
    watched.others(9 * BOUND_US, None)
    watched.check(20, wall_skew_us=-9 * BOUND_US)
    (unsure,) = lines(caplog)
    assert "it cannot be known which is wrong" in unsure
    watched.others(9 * BOUND_US, 9 * BOUND_US)
    watched.check(20)
    assert "far from a quorum's" in lines(caplog)[1], "the third voter has reported its clock"
    assert len(lines(caplog)) == 2


def test_one_late_answer_is_not_a_wrong_clock(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "qcore.node")
    watched = Watched()
    for _ in range(5):
        watched.check(CONSECUTIVE_CHECKS - 1, wall_skew_us=5 * BOUND_US)
        watched.check(1, wall_skew_us=0)
    assert lines(caplog) == []


def test_log_time_ahead_is_logged_once_and_so_is_its_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "qcore.node")
    watched = Watched()
    watched.check(5, log_time_ahead_us=9 * BOUND_US)
    watched.check(5, log_time_ahead_us=None)
    ahead, over = lines(caplog)
    assert "ahead of a quorum's clocks" in ahead
    assert "have reached" in over


def test_only_a_leader_logs_a_wrong_clock(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "qcore.node")
    watched = Watched()
    watched.status = replace(watched.status, role="follower")
    watched.check(20, wall_skew_us=9 * BOUND_US, log_time_ahead_us=9 * BOUND_US)
    assert lines(caplog) == []
