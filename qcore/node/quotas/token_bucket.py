"""`TokenBucket`: a rate with a burst. Exact: it counts in integers, and takes the time as an argument."""

from __future__ import annotations

from typing import Final

_SECOND_US: Final = 1_000_000


class TokenBucket:
    """Holds up to `burst` tokens, full at first. Each second brings `rate` more.

    So in any time of `t` seconds at most `burst + rate * t` tokens are taken. An amount above `burst` is taken when the
    bucket is full, and leaves a debt.

    Args:
        rate: tokens a second, at least 1.
        burst: the most tokens, at least 1.
        now: µs on the clock that later calls use.
    """

    __slots__ = ("_at", "_full", "_level", "_rate")

    def __init__(self, rate: int, burst: int, now: int) -> None:
        self._rate = rate
        self._full = burst * _SECOND_US
        self._level = (
            self._full
        )  # in millionths of a token: then a microsecond brings `rate` of them
        self._at = now

    def wait_us(self, amount: int, now: int) -> int:
        """How long until `amount` may be taken, µs; 0 if it may be taken now."""
        self._fill(now)
        missing = min(amount * _SECOND_US, self._full) - self._level
        return 0 if missing <= 0 else -(-missing // self._rate)

    def take(self, amount: int) -> None:
        """Take tokens, after `wait_us` has returned 0."""
        self._level -= amount * _SECOND_US

    def is_full(self, now: int) -> bool:
        """Whether it is as good as a new one."""
        self._fill(now)
        return self._level == self._full

    def _fill(self, now: int) -> None:
        if now > self._at:
            self._level = min(self._full, self._level + (now - self._at) * self._rate)
            self._at = now
