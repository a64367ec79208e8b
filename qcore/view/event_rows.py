"""The events of a course in chunks, each with the state of the run before it: what a page decodes when it needs it."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

from qcore.analysis.course.course_types import MESSAGE_OUTCOMES, Course
from qcore.trace import TraceRecord
from qcore.view.chunk_codec import IdColumn, StoredAs, TextTable, differences
from qcore.view.keyframes import Extent, Keyframes, flight, messages_by_event

_IN_FLIGHT: Final = MESSAGE_OUTCOMES.index("in_flight")
#: The character of the first kind in the order of a chunk.
_FIRST_KIND: Final = ord("0")


@dataclass(slots=True, frozen=True)
class Chunk:
    """One chunk.

    Attributes:
        first, count: its events, by their numbers on the page.
        start_us, end_us: the times of its first and last event.
        kinds: how many events of each kind it holds.
        content: its columns.
    """

    first: int
    count: int
    start_us: int
    end_us: int
    kinds: list[int]
    content: dict[str, object]


class EventRows:
    """Makes the chunks of a page.

    Args:
        course: the course.
        extent: the part of it that the page shows.
        stored: how the columns of each kind are stored.
        operations: the operations of a chunk, from one time until another, if the chunks hold them.

    Attributes:
        message_of: see `messages_by_event`.
        names, roles: the names of messages and of roles that `chunks` found.
    """

    def __init__(
        self,
        course: Course,
        extent: Extent,
        stored: Mapping[str, Mapping[str, StoredAs]],
        operations: Callable[[int, int], dict[str, object]] | None = None,
    ) -> None:
        self._course = course
        self._extent = extent
        self._stored = stored
        self._operations = operations
        self._order = {kind: chr(_FIRST_KIND + number) for number, kind in enumerate(stored)}
        self.message_of = messages_by_event(course)
        self.names = TextTable()
        self.roles = TextTable()

    def chunks(self, size: int) -> Iterator[Chunk]:
        """The chunks, in order. Each begins when the time changes, so that its keyframe is the state at a time.

        Args:
            size: how many events a chunk holds at most. It holds more if they all have one time.
        """
        course, extent = self._course, self._extent
        states = Keyframes(course, extent)
        first = extent.first
        for records, next_us in self._parts(size):
            start_us = records[0].t_us - course.origin_us
            content: dict[str, object] = {"keyframe": states.keyframe(start_us)}
            content |= self._rows(first, records, start_us)
            content |= states.changes(start_us, next_us)
            content["extra"] = self._extra(start_us, next_us)
            if self._operations is not None:
                content |= self._operations(start_us, next_us)
            order = content["order"]
            assert isinstance(order, str)
            yield Chunk(
                first - extent.first,
                len(records),
                start_us,
                records[-1].t_us - course.origin_us,
                [order.count(character) for character in self._order.values()],
                content,
            )
            first += len(records)

    def _parts(self, size: int) -> Iterator[tuple[list[TraceRecord], int]]:
        """The records of each chunk, and the time at which the next one begins."""
        extent, origin = self._extent, self._course.origin_us
        buffer: list[TraceRecord] = []
        for record in islice(self._course.records, extent.first, extent.stop):
            buffer.append(record)
            if len(buffer) <= size or (
                len(buffer) > size + 1 and buffer[-1].t_us == buffer[-2].t_us
            ):
                continue
            cut = len(buffer) - 1
            while cut and buffer[cut].t_us == buffer[cut - 1].t_us:
                cut -= 1
            if cut:
                yield buffer[:cut], buffer[cut].t_us - origin
                del buffer[:cut]
        if buffer:
            yield buffer, extent.end_us + 1

    def _rows(self, first: int, records: Sequence[TraceRecord], start_us: int) -> dict[str, object]:
        rows: dict[str, list[tuple[object, ...]]] = {}
        events: dict[str, list[int]] = {}
        order: list[str] = []
        origin = self._course.origin_us
        for event, (t_us, kind, node, values) in enumerate(records, first):
            order.append(self._order[kind])
            rows.setdefault(kind, []).append((t_us - origin, node, *values))
            events.setdefault(kind, []).append(event)
        texts = TextTable()
        columns = {
            kind: self._columns(kind, of_kind, events[kind], start_us, texts)
            for kind, of_kind in rows.items()
        }
        return {"order": "".join(order), "rows": columns, "texts": texts.texts}

    def _columns(
        self,
        kind: str,
        rows: Sequence[tuple[object, ...]],
        events: Sequence[int],
        start_us: int,
        texts: TextTable,
    ) -> dict[str, Sequence[object]]:
        times, nodes, *fields = zip(*rows, strict=True)
        columns: dict[str, Sequence[object]] = {"t": differences(times, start_us), "node": nodes}
        stored = self._stored[kind]
        for (name, how), values in zip(stored.items(), fields, strict=False):
            if how == "text":
                columns[name] = texts.numbers(values)
            elif how == "message":
                columns[name] = self.names.numbers(values)
            elif how == "role":
                columns[name] = self.roles.numbers(values)
            elif how == "id":
                columns[name] = IdColumn().stored(nodes if kind == "send" else fields[0], values)
            else:
                columns[name] = values
        if kind == "send":
            columns |= self._ends(events)
        elif kind in ("recv", "drop"):
            columns["mate"] = [
                self._mate(event, self._course.messages.send_event) for event in events
            ]
        elif kind == "up":
            columns["applied"] = [
                self._course.tracks[node].applied.at(t_us) if node in self._course.tracks else 0
                for t_us, node in zip(times, nodes, strict=True)
            ]
        return columns

    def _ends(self, events: Sequence[int]) -> dict[str, Sequence[int]]:
        messages = self._course.messages
        numbers = [self.message_of[event] for event in events]
        outcomes = [messages.outcome[number] for number in numbers]
        return {
            "end": [
                -1 if outcome == _IN_FLIGHT else messages.end_us[number] - messages.sent_us[number]
                for number, outcome in zip(numbers, outcomes, strict=True)
            ],
            "outcome": outcomes,
            "mate": [self._mate(event, messages.end_event) for event in events],
        }

    def _mate(self, event: int, others: Sequence[int]) -> int:
        """The other event of a message minus this one; 0 if the page has none."""
        number = self.message_of[event]
        other = others[number] if number >= 0 else -1
        return other - event if self._extent.number(other) >= 0 else 0

    def _extra(self, start_us: int, next_us: int) -> list[list[object]]:
        """The messages that began in this time and of which no event is the sending: duplicates, and messages of which
        only the end is known."""
        messages = self._course.messages
        first, stop = (bisect_left(messages.sent_us, t_us) for t_us in (start_us, next_us))
        return [
            flight(self._course, self._extent, number)
            for number in range(first, stop)
            if messages.send_event[number] < 0
            or self.message_of[messages.send_event[number]] != number
        ]
