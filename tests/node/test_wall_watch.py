"""The log says once that a leader's clock is far from a quorum's, and once that it is not any more."""

from __future__ import annotations

import logging
import random
from dataclasses import replace

import pytest

from qcore.core import DurableState, RaftConfig, RaftCore
from qcore.core.status import CoreStatus
from qcore.node.logs import NodeLog
from qcore.node.wall_watch import LOOKS, WallWatch

BOUND_US = 1_000_000


class Watched:
    """A watch over a status that the test sets."""

    def __init__(self) -> None:
        core = RaftCore(RaftConfig(1), DurableState(), rng=random.Random(1), now=0)
        self.status: CoreStatus = replace(core.status(), role="leader", wall_skew_us=0)
        self.watch = WallWatch(lambda: self.status, NodeLog(1), BOUND_US)

    def look(self, times: int = 1, **changes: int | None) -> None:
        self.status = replace(self.status, **changes)  # type: ignore[arg-type] # the two times only
        for _ in range(times):
            self.watch.look()


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


def test_a_clock_out_of_bounds_gets_one_line_and_its_end_another(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "qcore.node")
    watched = Watched()
    watched.look(10)
    assert lines(caplog) == []
    watched.look(20, wall_skew_us=-BOUND_US - 1)
    (far,) = lines(caplog)
    assert "far from a quorum's" in far
    watched.look(20, wall_skew_us=BOUND_US)
    assert len(lines(caplog)) == 2
    assert "agrees with a quorum's again" in lines(caplog)[1]


def test_one_late_answer_is_no_wrong_clock(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "qcore.node")
    watched = Watched()
    for _ in range(5):
        watched.look(LOOKS - 1, wall_skew_us=5 * BOUND_US)
        watched.look(1, wall_skew_us=0)
    assert lines(caplog) == []


def test_log_time_that_is_ahead_gets_one_line_and_its_end_another(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "qcore.node")
    watched = Watched()
    watched.look(5, log_time_ahead_us=9 * BOUND_US)
    watched.look(5, log_time_ahead_us=None)
    ahead, over = lines(caplog)
    assert "ahead of a quorum's clocks" in ahead
    assert "have reached" in over


def test_only_a_leader_says_so(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "qcore.node")
    watched = Watched()
    watched.status = replace(watched.status, role="follower")
    watched.look(20, wall_skew_us=9 * BOUND_US, log_time_ahead_us=9 * BOUND_US)
    assert lines(caplog) == []
