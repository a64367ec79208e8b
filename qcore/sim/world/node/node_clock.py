"""The clocks of a simulated node: a monotonic one that may drift, and a wall clock that may also jump."""

from __future__ import annotations

from typing import Final

#: Wall clocks show this at simulated time 0, in microseconds since the Unix epoch (2023-11-14, arbitrary).
WALL_EPOCH_US: Final = 1_700_000_000_000_000

_MILLION: Final = 1_000_000


class NodeClock:
    """Translates simulated time, the true time, into what the clocks of one node show.

    Args:
        base_us: what the monotonic clock shows at simulated time 0. It differs from node to node, so that code which
            compares the monotonic clocks of two nodes fails visibly.
        drift_ppm: how much faster than true time the clocks run, in parts per million.
        wall_offset_us: how far the wall clock is ahead.

    Attributes:
        slowest_ppm: the lowest drift since the start of the run.
    """

    __slots__ = (
        "_anchor_local",
        "_anchor_true",
        "_base",
        "drift_ppm",
        "slowest_ppm",
        "wall_offset_us",
    )

    def __init__(self, base_us: int = 0, drift_ppm: int = 0, wall_offset_us: int = 0) -> None:
        self._base = base_us
        self._anchor_local = base_us
        self._anchor_true = 0
        self.drift_ppm = self.slowest_ppm = drift_ppm
        self.wall_offset_us = wall_offset_us

    def local(self, true_us: int) -> int:
        """What the monotonic clock shows."""
        elapsed = true_us - self._anchor_true
        if self.drift_ppm:
            elapsed = elapsed * (_MILLION + self.drift_ppm) // _MILLION
        return self._anchor_local + elapsed

    def true_at(self, local_us: int) -> int:
        """The earliest simulated time at which the monotonic clock shows at least `local_us`."""
        elapsed = local_us - self._anchor_local
        if self.drift_ppm:
            elapsed = -(-elapsed * _MILLION // (_MILLION + self.drift_ppm))
        return self._anchor_true + elapsed

    def wall_of(self, local_us: int) -> int:
        """What the wall clock shows, µs since the Unix epoch, when the monotonic clock shows `local_us`."""
        return WALL_EPOCH_US + local_us - self._base + self.wall_offset_us

    def ahead_us(self, true_us: int) -> int:
        """How far the wall clock is ahead of true time."""
        return self.wall_of(self.local(true_us)) - WALL_EPOCH_US - true_us

    def set_drift(self, true_us: int, drift_ppm: int) -> None:
        """Run at another speed from now on, without a jump."""
        self._anchor_local = self.local(true_us)
        self._anchor_true = true_us
        self.drift_ppm = drift_ppm
        self.slowest_ppm = min(self.slowest_ppm, drift_ppm)

    def max_true_duration(self, local_us: int) -> int:
        """The most true time that can have passed while the monotonic clock counted `local_us`."""
        return -(-local_us * _MILLION // (_MILLION + min(0, self.slowest_ppm)))
