"""The records of a course, of which readers get only the kinds that they need, with the numbers of the events."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from qcore.trace import TraceRecord


def events_of(
    records: Sequence[TraceRecord], kinds: Collection[str]
) -> Iterator[tuple[int, TraceRecord]]:
    """The records of some kinds, each after its number in the course.

    Args:
        records: the records of a course.
        kinds: the kinds.
    """
    return ((event, record) for event, record in enumerate(records) if record[1] in kinds)
