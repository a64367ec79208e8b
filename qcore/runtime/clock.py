"""The two clocks of `REAL` for a replica, monotonic time and wall time. No other module reads them for it."""

from __future__ import annotations

import secrets
import time
from typing import Final

# Linux's monotonic clock stands still while the machine is suspended, so a resumed leader would believe that its lease
# is still valid. CLOCK_BOOTTIME keeps counting. Other systems have only the monotonic clock.
_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

# The system's clock begins at 0 with each boot. So a late response to a message from before a reboot could look like a
# response to this process, and make the state look fresher than it is (`qcore.core.reads.freshness`). To prevent that,
# each process begins at a random value. The values stay below 2**60 for centuries, far from
# `qcore.core.raft_server.NEVER`.
_BASE_US: Final = (1 << 58) + secrets.randbits(59)


def now_us() -> int:
    """Monotonic microseconds, including suspended time, for timeouts, deadlines and leases.

    Each process counts from a random value, so values of two processes cannot be compared.
    """
    return _BASE_US + time.clock_gettime_ns(_CLOCK) // 1000


def wall_us() -> int:
    """Microseconds since the Unix epoch, for the time stamps of entries and traces."""
    return time.time_ns() // 1000
