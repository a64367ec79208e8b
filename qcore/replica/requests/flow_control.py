"""Flow control: how many requests, and how many bytes of them, may wait; and when to come back if there is no room.

A rejection names a time after which a retry is worth its cost. That time is measured, not configured: it is how long
the
queue that is full needs to drain by half, at the rate at which it drained lately. By half, and not by the one
request that was refused: whoever is refused in an overload is one of many, and if all came back as soon as there
is room for one, all but one would be refused again. The time is never longer than an election timeout: after that
either the queue moves again or somebody else leads.
"""

from __future__ import annotations

from qcore.errors import Overloaded

_SECOND_US = 1_000_000


class DrainMeter:
    """How fast a queue drained lately, over the last one to two seconds.

    Counts what left it in two buckets of a second each, the present one and the one before: constant in memory, and
    exact for a steady rate.
    """

    def __init__(self, now: int) -> None:
        self._began_at = now
        self._present = 0
        self._previous = 0
        self._has_previous = False

    def drained(self, amount: int, now: int) -> None:
        """So much left the queue at `now`, µs."""
        if now - self._began_at >= _SECOND_US:
            self._turn(now)
        self._present += amount

    def time_for(self, amount: int, now: int) -> int | None:
        """How long, µs, the queue needs to drain by `amount`; None if nothing drained lately."""
        if now - self._began_at >= _SECOND_US:
            self._turn(now)
        total = self._present + self._previous
        if not total:
            return None
        elapsed = now - self._began_at + (_SECOND_US if self._has_previous else 0)
        return amount * max(elapsed, 1) // total

    def _turn(self, now: int) -> None:
        """Begin the next bucket; what is older than a bucket is forgotten."""
        passed = (now - self._began_at) // _SECOND_US
        self._previous = self._present if passed == 1 else 0
        self._has_previous = True
        self._present = 0
        self._began_at += passed * _SECOND_US


def retry_after_ms(time_us: int | None, longest_us: int) -> int:
    """A time as the hint of an `Overloaded`: from 1 ms to `longest_us`, which also stands for an unknown time."""
    waited_us = longest_us if time_us is None else min(time_us, longest_us)
    return max(1, -(-waited_us // 1000))


class FlowControl:
    """The requests that have no outcome yet, by number and by bytes, and whether one more may join them.

    Args:
        max_requests, max_bytes: beyond either a request is refused; alone, one of any size is taken.
        longest_us: the longest hint, µs: an election timeout.
        now: µs on the clock that later calls use.
    """

    def __init__(self, max_requests: int, max_bytes: int, longest_us: int, now: int) -> None:
        self._max_requests = max_requests
        self._max_bytes = max_bytes
        self._longest_us = longest_us
        self._requests_out = DrainMeter(now)
        self._bytes_out = DrainMeter(now)
        # What was released since `_noted_at`: a meter is told once for all of a step, not for each request.
        self._noted_at = now
        self._released = self._released_bytes = 0
        self.requests = 0
        self.bytes = 0

    def rejection(self, size: int, now: int) -> Overloaded | None:
        """Why a request of `size` bytes cannot be taken now, with a hint when it may be; None if it can."""
        if self.requests >= self._max_requests:
            self._note(now)
            time_us = self._requests_out.time_for((self.requests + 1) // 2, now)
            return Overloaded.because(
                f"{self.requests} requests are waiting", retry_after_ms(time_us, self._longest_us)
            )
        if self.requests and self.bytes + size > self._max_bytes:
            self._note(now)
            time_us = self._bytes_out.time_for(max(self.bytes // 2, size), now)
            return Overloaded.because(
                f"requests of {self.bytes} bytes are waiting",
                retry_after_ms(time_us, self._longest_us),
            )
        return None

    def take(self, size: int) -> None:
        """A request of so many bytes joins."""
        self.requests += 1
        self.bytes += size

    def release(self, size: int, now: int) -> None:
        """A request of so many bytes has its outcome."""
        self.requests -= 1
        self.bytes -= size
        if now != self._noted_at:
            self._note(now)
        self._released += 1
        self._released_bytes += size

    def _note(self, now: int) -> None:
        """Tell the meters what was released until now."""
        self._requests_out.drained(self._released, self._noted_at)
        self._bytes_out.drained(self._released_bytes, self._noted_at)
        self._released = self._released_bytes = 0
        self._noted_at = now
