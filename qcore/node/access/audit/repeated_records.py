"""`RepeatedRecords`: lets the first record of a kind through, and counts those that follow for a summary.

Nothing is lost without a count, and a stranger cannot fill a disk: each kind makes at most one record a minute.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
R = TypeVar("R")

#: The time after which a summary gives the number of the records that were counted, seconds.
INTERVAL_S: Final = 60.0
#: The most kinds at a time. Beyond it, records are counted by their coarse kind.
MAX_KINDS: Final = 64


@dataclass(slots=True)
class _Counted(Generic[R]):
    """What the records of one kind have in common, and how many were counted since a time."""

    record: R
    since: float
    number: int = 0


@dataclass(slots=True, frozen=True)
class Summary(Generic[R]):
    """How many records like this one came in a time, in seconds, and were not written."""

    record: R
    number: int
    seconds: int


class RepeatedRecords(Generic[K, R]):
    """Decides which records are written. Times are seconds of a monotonic clock.

    Args:
        in_common: what two records of one kind have in common.
    """

    def __init__(self, in_common: Callable[[R, R], R]) -> None:
        self._in_common = in_common
        self._kinds: dict[K, _Counted[R]] = {}

    def admit(self, kind: K, coarse_kind: K, record: R, now: float) -> bool:
        """Whether to write a record now. If not, it is counted.

        Args:
            kind: of the record.
            coarse_kind: its kind while there are too many kinds. There must be few of these.
            record: what to write.
            now: the time.
        """
        if kind not in self._kinds and len(self._kinds) >= MAX_KINDS:
            kind = coarse_kind
        counted = self._kinds.get(kind)
        if counted is None:
            self._kinds[kind] = _Counted(record, now)
            return True
        counted.number += 1
        counted.record = self._in_common(counted.record, record)
        return False

    def summaries(self, now: float, *, of_all: bool = False) -> Iterable[Summary[R]]:
        """The summaries that are due: of kinds whose interval has ended, or of all kinds at the end of the process.

        A kind without a record in its interval is forgotten: its next record is written.
        """
        found: list[Summary[R]] = []
        for kind, counted in [*self._kinds.items()]:
            if now - counted.since < INTERVAL_S and not of_all:
                continue
            if counted.number:
                seconds = max(1, round(now - counted.since))
                found.append(Summary(counted.record, counted.number, seconds))
                counted.number, counted.since = 0, now
            else:
                del self._kinds[kind]
        return found
