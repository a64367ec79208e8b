"""The two clocks of a real node. Nothing else in the node reads a clock for the replica."""

from __future__ import annotations

import secrets
import time
from typing import Final

# Linux's monotonic clock stands still while the machine is suspended, and a leader that wakes up would take
# its lease for a young one. CLOCK_BOOTTIME counts on; elsewhere there is only the monotonic clock.
_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

# The system's clock begins at 0 with each boot, so a late echo of what this node said before a reboot could look like
# one of this life, and the state younger than it is (`qcore.core.reads.freshness`). So each process begins anywhere.
# The
# values stay below 2**60 for centuries, far from `qcore.core.raft_server.NEVER`.
_BASE_US: Final = (1 << 58) + secrets.randbits(59)


def now_us() -> int:
    """Microseconds that only go forward, suspended time included: for timeouts, deadlines and leases.

    They count from a moment that each process draws: two processes' values cannot be compared.
    """
    return _BASE_US + time.clock_gettime_ns(_CLOCK) // 1000


def wall_us() -> int:
    """Microseconds since the Unix epoch: stamps entries and traces."""
    return time.time_ns() // 1000
