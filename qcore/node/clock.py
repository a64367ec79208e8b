"""The two clocks of a real node. Nothing else in the node reads a clock for the replica."""

from __future__ import annotations

import time


def now_us() -> int:
    """The monotonic clock, µs: for timeouts and deadlines."""
    return time.monotonic_ns() // 1000


def wall_us() -> int:
    """Microseconds since the Unix epoch: stamps entries and traces."""
    return time.time_ns() // 1000
