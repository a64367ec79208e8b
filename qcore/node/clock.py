"""The two clocks of a real node. Nothing else in the node reads a clock for the replica."""

from __future__ import annotations

import time
from typing import Final

# Linux's monotonic clock stands still while the machine is suspended, and a leader that wakes up would take
# its lease for a young one. CLOCK_BOOTTIME counts on; elsewhere there is only the monotonic clock.
_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def now_us() -> int:
    """Microseconds that only go forward, suspended time included: for timeouts, deadlines and leases."""
    return time.clock_gettime_ns(_CLOCK) // 1000


def wall_us() -> int:
    """Microseconds since the Unix epoch: stamps entries and traces."""
    return time.time_ns() // 1000
