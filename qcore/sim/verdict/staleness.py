"""Checks whether stale reads are fresh enough: a pure checker for histories of simulated and of real clusters.

A stale read with a bound promises less than linearizability. It may see an old state, but it must not miss a write
that was acknowledged longer ago than the bound. The checker knows registers only; each starts with the value None.

The checker knows what clients know: the requests and responses with their times, and the log indexes in the
responses, which order the writes. It never blames a read for a write whose place in that order is uncertain. One write
certainly follows another only if its index is higher or, if an index is unknown, if it began after the other was
acknowledged.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

Value = str | int | float | bool | None


@dataclass(slots=True, frozen=True)
class RegisterWrite:
    """A write that took effect, or may have. Times in µs.

    Attributes:
        key, value: the register, and its value after the write.
        invoke_us: when the client sent the request.
        return_us: when the client learned that the write took effect; None if it never did.
        index: the log index of the write; 0 while it is not known.
        label: a name for messages.
    """

    key: str
    value: Value
    invoke_us: int
    return_us: int | None
    index: int = 0
    label: str = ""


@dataclass(slots=True, frozen=True)
class StaleRead:
    """A stale read with a response. Times in µs.

    Attributes:
        key, value: the register, and the value that the read found.
        served_us: when the node answered. If that is unknown, when the client sent the request, which makes the check
            more lenient.
        bound_us: the allowed age of the state.
        return_us: when the client received the response, which cannot contain a write that began later.
        label: a name for messages.
        served_by: the node that answered; 0 while it is not known.
    """

    key: str
    value: Value
    served_us: int
    bound_us: int
    return_us: int
    label: str = ""
    served_by: int = 0


@dataclass(slots=True, frozen=True)
class StalenessViolation:
    """A stale read that exceeded its bound.

    Attributes:
        read: the read.
        missed: the first write that it misses; None if it found a value that was never written.
        excess_us: by how much the state was older than allowed.
    """

    read: StaleRead
    missed: RegisterWrite | None
    excess_us: int

    def describe(self) -> str:
        """One sentence for humans."""
        read = self.read
        found = f"{read.label} found {read.value!r} in {read.key}"
        if self.missed is None:
            return f"{found}, which nobody had asked to write by then"
        missed = self.missed
        assert missed.return_us is not None
        age_us = read.served_us - missed.return_us
        return (
            f"{found} and misses {missed.value!r}, written by {missed.label} and acknowledged {_ms(age_us)} before "
            f"the answer: {_ms(self.excess_us)} too old, {_ms(read.bound_us)} were allowed"
        )


def check_staleness(
    reads: Iterable[StaleRead], writes: Iterable[RegisterWrite]
) -> list[StalenessViolation]:
    """The reads that missed a write acknowledged longer ago than their bound, in the given order.

    Args:
        reads: stale reads with a response.
        writes: all writes that took effect or may have; exclude those that certainly had no effect.
    """
    by_key: dict[str, _Register] = {}
    for write in writes:
        by_key.setdefault(write.key, _Register()).add(write)
    empty = _Register()
    verdicts = (by_key.get(read.key, empty).judge(read) for read in reads)
    return [verdict for verdict in verdicts if verdict is not None]


class _Register:
    """The writes of one register, and for each write the first acknowledged one that follows it."""

    def __init__(self) -> None:
        #: The first item stands for the register before all writes.
        self._writes = [RegisterWrite("", None, -1, -1)]
        self._by_value: dict[tuple[type, Value], list[int]] = {}
        self._next_acknowledged_of: dict[int, RegisterWrite | None] = {}
        self._indexed: list[RegisterWrite] = []
        self._unindexed: list[RegisterWrite] = []
        self._invoked: list[RegisterWrite] = []
        #: For each position of these lists, the first acknowledged write from that position on.
        self._first_indexed: list[RegisterWrite] = []
        self._first_unindexed: list[RegisterWrite] = []
        self._first_invoked: list[RegisterWrite] = []

    def add(self, write: RegisterWrite) -> None:
        self._writes.append(write)

    def judge(self, read: StaleRead) -> StalenessViolation | None:
        """Judge one read. None if some write of the value that it found may have been the newest within the bound."""
        horizon = read.served_us - read.bound_us
        latest: RegisterWrite | None = None
        known = False
        if not self._by_value:
            self._prepare()
        for position in self._by_value.get(_kind_of(read.value), ()):
            if self._writes[position].invoke_us > read.return_us:
                continue  # this write began after the read ended
            known = True
            missed = self._next_acknowledged(position)
            if missed is None:
                return None
            assert missed.return_us is not None
            if missed.return_us >= horizon:
                return None
            if latest is None or (latest.return_us or 0) < missed.return_us:
                latest = missed
        if not known:
            return StalenessViolation(read, None, 0)
        assert latest is not None
        assert latest.return_us is not None
        return StalenessViolation(read, latest, horizon - latest.return_us)

    def _prepare(self) -> None:
        for position, write in enumerate(self._writes):
            self._by_value.setdefault(_kind_of(write.value), []).append(position)
        # The first item, which stands for no write, counts as acknowledged before all others: no read misses it.
        known = [write for write in self._writes[1:] if write.return_us is not None]
        self._invoked = sorted(known, key=lambda write: write.invoke_us)
        self._unindexed = [write for write in self._invoked if not write.index]
        self._indexed = sorted(
            (write for write in known if write.index), key=lambda write: write.index
        )
        self._first_invoked = _suffix_first(self._invoked)
        self._first_unindexed = _suffix_first(self._unindexed)
        self._first_indexed = _suffix_first(self._indexed)

    def _next_acknowledged(self, position: int) -> RegisterWrite | None:
        """Of the writes that certainly follow the one at `position`, the one that was acknowledged first."""
        if position not in self._next_acknowledged_of:
            self._next_acknowledged_of[position] = self._find_next_acknowledged(
                self._writes[position]
            )
        return self._next_acknowledged_of[position]

    def _find_next_acknowledged(self, write: RegisterWrite) -> RegisterWrite | None:
        found: list[RegisterWrite] = []
        by_time, first_by_time = self._invoked, self._first_invoked
        if write.index:
            start = bisect_left(self._indexed, write.index + 1, key=lambda other: other.index)
            found += self._first_indexed[start : start + 1]
            by_time, first_by_time = self._unindexed, self._first_unindexed
        if write.return_us is not None:
            start = bisect_left(by_time, write.return_us + 1, key=lambda w: w.invoke_us)
            found += first_by_time[start : start + 1]
        return min(found, key=_when_acknowledged, default=None)


def _kind_of(value: Value) -> tuple[type, Value]:
    """A key under which 1, 1.0 and true differ, as in JSON."""
    return type(value), value


def _when_acknowledged(write: RegisterWrite) -> int:
    assert write.return_us is not None
    return write.return_us


def _suffix_first(writes: Sequence[RegisterWrite]) -> list[RegisterWrite]:
    """For each position, the first acknowledged write from that position on."""
    first: list[RegisterWrite] = []
    for write in reversed(writes):
        first.append(min(write, first[-1], key=_when_acknowledged) if first else write)
    return first[::-1]


def _ms(time_us: int) -> str:
    return f"{time_us / 1000:g} ms"
