"""The records of a course, of which readers get only the kinds that they need, with the numbers of the events."""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterator, Sequence
from itertools import chain

from qcore.trace import TraceRecord


class CourseRecords(list[TraceRecord]):
    """Records that know which of them are of a kind, because many readers want a few of a million."""

    __slots__ = ("_events",)

    _events: dict[str, array[int]]

    def events(self, kinds: Collection[str]) -> Sequence[int]:
        """The numbers of the records of some kinds, in order."""
        by_kind: dict[str, array[int]] = getattr(self, "_events", {})
        if not by_kind:
            self._events = by_kind
            for event, record in enumerate(self):
                found = by_kind.get(record[1])
                if found is None:
                    found = by_kind[record[1]] = array("q")
                found.append(event)
        chosen = [by_kind[kind] for kind in kinds if kind in by_kind]
        return chosen[0] if len(chosen) == 1 else sorted(chain.from_iterable(chosen))


def events_of(
    records: Sequence[TraceRecord], kinds: Collection[str]
) -> Iterator[tuple[int, TraceRecord]]:
    """The records of some kinds, each after its number in the course.

    Args:
        records: the records of a course.
        kinds: the kinds.
    """
    if isinstance(records, CourseRecords):
        return ((event, records[event]) for event in records.events(kinds))
    return ((event, record) for event, record in enumerate(records) if record[1] in kinds)
