"""Flow control: how many requests, and how many bytes of them, may wait; and when a rejected client may retry.

A rejection names a time after which a retry is worth its cost. That time is measured, not configured: it is the time in
which the full queue drains by half, at its recent rate. Room for one request is not enough. In an overload many clients
are rejected. If all of them retried as soon as there is room for one, all but one would be rejected again. The time is
never longer than an election timeout: after that, either the queue moves again or another node leads.
"""

from __future__ import annotations

from qcore.errors import Overloaded

_SECOND_US = 1_000_000


class DrainMeter:
    """How fast a queue has drained in the last one to two seconds.

    It counts what leaves the queue in two buckets of one second each, the current and the previous one. The memory is
    constant, and the result is exact for a steady rate.
    """

    def __init__(self, now: int) -> None:
        self._began_at = now
        self._current = 0
        self._previous = 0
        self._has_previous = False

    def drained(self, amount: int, now: int) -> None:
        """`amount` left the queue at `now`, µs."""
        if now - self._began_at >= _SECOND_US:
            self._turn(now)
        self._current += amount

    def time_for(self, amount: int, now: int) -> int | None:
        """The time, µs, in which the queue drains by `amount`; None if nothing has drained recently."""
        if now - self._began_at >= _SECOND_US:
            self._turn(now)
        total = self._current + self._previous
        if not total:
            return None
        elapsed = now - self._began_at + (_SECOND_US if self._has_previous else 0)
        return amount * max(elapsed, 1) // total

    def _turn(self, now: int) -> None:
        """Begin the next bucket; keep one earlier bucket."""
        passed = (now - self._began_at) // _SECOND_US
        self._previous = self._current if passed == 1 else 0
        self._has_previous = True
        self._current = 0
        self._began_at += passed * _SECOND_US


def retry_after_ms(time_us: int | None, longest_us: int) -> int:
    """The hint of an `Overloaded`: from 1 ms to `longest_us`, which also stands for an unknown time."""
    waited_us = longest_us if time_us is None else min(time_us, longest_us)
    return max(1, -(-waited_us // 1000))


class FlowControl:
    """Counts the requests that have no outcome yet, and their bytes, and decides whether one more may join them.

    Args:
        max_requests, max_bytes: the limits. A request of any size is accepted if no other one waits.
        longest_us: the longest hint, µs: an election timeout.
        now: µs on the clock that later calls use.
    """

    def __init__(self, max_requests: int, max_bytes: int, longest_us: int, now: int) -> None:
        self._max_requests = max_requests
        self._max_bytes = max_bytes
        self._longest_us = longest_us
        self._requests_out = DrainMeter(now)
        self._bytes_out = DrainMeter(now)
        # Released since `_noted_at`: the meters are updated once a step, not once a request.
        self._noted_at = now
        self._released = self._released_bytes = 0
        self.requests = 0
        self.bytes = 0

    def rejection(self, size: int, now: int) -> Overloaded | None:
        """The rejection of a request of `size` bytes, with a hint when to retry; None if it may join."""
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
        """A request of `size` bytes joins."""
        self.requests += 1
        self.bytes += size

    def release(self, size: int, now: int) -> None:
        """A request of `size` bytes has its outcome."""
        self.requests -= 1
        self.bytes -= size
        if now != self._noted_at:
            self._note(now)
        self._released += 1
        self._released_bytes += size

    def _note(self, now: int) -> None:
        """Report the released requests to the meters."""
        self._requests_out.drained(self._released, self._noted_at)
        self._bytes_out.drained(self._released_bytes, self._noted_at)
        self._released = self._released_bytes = 0
        self._noted_at = now
