"""`WallClockWatch`: on a leader, logs when its wall clock or the time in the log is far from a quorum's clocks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from qcore.core.clocks.wall_time import quorum_within
from qcore.core.status import CoreStatus
from qcore.node.observability.logs import NodeLog

#: How often the clocks are compared, seconds.
CHECK_INTERVAL_S: Final = 1.0
#: A clock must be wrong at this many checks in a row, because a single slow response does not prove a wrong clock.
CONSECUTIVE_CHECKS: Final = 3
_CLOCK_WRONG: Final = (
    "the wall clock of this leader is far from a quorum's: time stamps are held within the bound"
)
_NO_AGREEMENT: Final = (
    "the wall clocks of this leader and of others are far apart, and no quorum is known to agree: it cannot be known "
    "which is wrong; time stamps follow the earlier"
)


class WallClockWatch:
    """On a leader, compares clocks once a second; logs one line when they differ and one when they agree again.

    Args:
        status: returns the core's status.
        log: gets the lines.
        bound_us: how far a clock may be from a quorum's (`RaftConfig.max_wall_skew_ms`).
    """

    def __init__(self, status: Callable[[], CoreStatus], log: NodeLog, bound_us: int) -> None:
        self._status = status
        self._log = log
        self._bound_us = bound_us
        self._timer: asyncio.TimerHandle | None = None
        self._checks_beyond_bound = 0
        self._logged_skew = ""
        self._logged_ahead = False

    def start(self) -> None:
        """Start comparing, on the running event loop."""
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(CHECK_INTERVAL_S, self._check_again)

    def stop(self) -> None:
        """Stop comparing."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def check(self) -> None:
        """Compare the clocks once, and log a change."""
        status = self._status()
        if status.role != "leader":
            self._checks_beyond_bound, self._logged_skew, self._logged_ahead = 0, "", False
            return
        self._check_skew(status, status.wall_skew_us)
        self._check_log_time(status.log_time_ahead_us)

    def _check_skew(self, status: CoreStatus, skew_us: int | None) -> None:
        if skew_us is None:
            return
        self._checks_beyond_bound = (
            self._checks_beyond_bound + 1 if abs(skew_us) > self._bound_us else 0
        )
        text = _CLOCK_WRONG if self._quorum_agrees(status) else _NO_AGREEMENT
        if self._checks_beyond_bound >= CONSECUTIVE_CHECKS and self._logged_skew != text:
            self._logged_skew = text
            self._log.warning(
                text,
                ahead_seconds=skew_us / 1e6,
                bound_seconds=self._bound_us / 1e6,
            )
        elif self._checks_beyond_bound == 0 and self._logged_skew:
            self._logged_skew = ""
            self._log.info("the wall clock of this leader agrees with a quorum's again")

    def _quorum_agrees(self, status: CoreStatus) -> bool:
        clocks = {status.node_id: 0}
        for peer, progress in status.peers.items():
            if progress.wall_offset_us is not None:
                clocks[peer] = progress.wall_offset_us
        membership = status.membership
        return quorum_within(
            (membership.voters, membership.voters_outgoing), clocks, self._bound_us
        )

    def _check_log_time(self, ahead_us: int | None) -> None:
        if ahead_us is not None and not self._logged_ahead:
            self._logged_ahead = True
            self._log.warning(
                "the newest time stamp in the log is ahead of a quorum's clocks: time stamps stand still until the "
                "clocks reach it",
                ahead_seconds=ahead_us / 1e6,
            )
        elif ahead_us is None and self._logged_ahead:
            self._logged_ahead = False
            self._log.info("a quorum's clocks have reached the newest time stamp in the log")

    def _check_again(self) -> None:
        self.check()
        self.start()
