"""The blocks of a compact trace in memory: records with their details, of which a reader decodes only what it needs."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import partial
from itertools import chain, compress, repeat
from typing import Final

from qcore.trace.block_codec import DETAIL_BASE, ORDER, PART_ROW, PLACES
from qcore.trace.column_codec import Values, decode_column, split_columns
from qcore.trace.record_details import DETAIL_KINDS
from qcore.trace.trace_record import ALL_FIELDS, KINDS, TraceRecord

#: The name of the column with the number of each record in the trace, details included.
EVENT: Final = "event"

#: zlib compresses no text to less than a part of this.
_MOST_EXPANSION: Final = 1100
_make_record: Final = partial(tuple.__new__, TraceRecord)

#: The number of a kind in a block -> its name, and the inverse.
NAMES: Final = {**dict(enumerate(KINDS)), **dict(enumerate(DETAIL_KINDS, DETAIL_BASE))}
NUMBERS: Final = {name: number for number, name in NAMES.items()}
RECORD_NUMBERS: Final = tuple(range(len(KINDS)))
DETAIL_NUMBERS: Final = tuple(range(DETAIL_BASE, DETAIL_BASE + len(DETAIL_KINDS)))
_COLUMN_PLACES: Final = {
    NUMBERS[kind]: {name: place for place, name in enumerate(("t_us", "node", *fields))}
    for kind, fields in ALL_FIELDS.items()
}
#: For each kind, what turns an order into 1 at the places of the kind, and 0 at all others.
_MASKS: Final = {
    number: bytes(other == number for other in range(256))
    for number in (*RECORD_NUMBERS, *DETAIL_NUMBERS)
}


class StoredPart:
    """A part of a block that is not decompressed yet."""

    __slots__ = ("_data", "_size", "_start", "_stored", "count", "kind")

    def __init__(
        self, kind: int, count: int, size: int, data: bytes, start: int, stored: int
    ) -> None:
        if size > _MOST_EXPANSION * stored:
            raise ValueError("a part is too long")
        self.kind = kind
        self.count = count
        self._size = size
        self._data = data
        self._start = start
        self._stored = stored

    def content(self) -> bytes:
        """Its bytes."""
        stored = memoryview(self._data)[self._start : self._start + self._stored]
        content = zlib.decompressobj().decompress(stored, self._size + 1)
        if len(content) != self._size:
            raise ValueError("a part has another length than its table says")
        return content


Parts = dict[int, StoredPart]


def record_parts(data: bytes, start: int, end: int) -> Parts:
    """The parts of a block of records: the number of a kind, or `ORDER` -> its part.

    Raises:
        ValueError: it is no such block.
    """
    parts = _parts(data, start, end, (ORDER, *RECORD_NUMBERS))
    if sum(part.count for part in parts.values()) != 2 * parts[ORDER].count:
        raise ValueError("the parts of the block do not fit together")
    return parts


def detail_parts(data: bytes, start: int, end: int) -> Parts:
    """The parts of a block of details: the number of a kind, `ORDER` or `PLACES` -> its part.

    Raises:
        ValueError: it is no such block.
    """
    parts = _parts(data, start, end, (ORDER, PLACES, *DETAIL_NUMBERS))
    number = parts[ORDER].count
    if parts[PLACES].count != number or sum(part.count for part in parts.values()) != 3 * number:
        raise ValueError("the parts of the block do not fit together")
    return parts


def _parts(data: bytes, start: int, end: int, kinds: Collection[int]) -> Parts:
    parts: Parts = {}
    number = data[start]
    place = start + 1
    content = place + number * PART_ROW.size
    for _ in range(number):
        kind, count, size, stored = PART_ROW.unpack_from(data, place)
        if kind in parts or kind not in kinds or not count:
            raise ValueError(f"part {kind} is not one of its schema, or is there twice")
        if content + stored > end:
            raise ValueError("a part is longer than its block")
        parts[kind] = StoredPart(kind, count, size, data, content, stored)
        place += PART_ROW.size
        content += stored
    if content != end:
        raise ValueError("the parts of the block do not fit together")
    return parts


class StoredBlock:
    """One block of records, with their details. A trace may also end with details and no records after them.

    Attributes:
        offset: its place in the file.
        first: the number of its first record in the trace, details included.
        count: the number of records.
        events: the number of records and details.
        parts: the parts of its records, which the trace hash covers.
    """

    __slots__ = ("_details", "_merged", "count", "events", "first", "offset", "parts")

    def __init__(
        self, offset: int, first: int, parts: Mapping[int, StoredPart], details: Parts
    ) -> None:
        self.offset = offset
        self.first = first
        self.parts = parts
        self._details = details
        self._merged = b""
        self.count = parts[ORDER].count if parts else 0
        self.events = self.count + (details[ORDER].count if details else 0)

    def part(self, number: int) -> StoredPart | None:
        """The part of a kind of records or details; None if there is none of this kind."""
        return self.parts.get(number) if number < DETAIL_BASE else self._details.get(number)

    def columns(self, number: int, names: Iterable[str]) -> tuple[Values, ...]:
        """The columns with these names for a kind: `t_us`, `node`, `event` or fields.

        Raises:
            ValueError: the block has no records of this kind. It may also be another of `DECODING_ERRORS`.
        """
        part = self.part(number)
        if part is None:
            raise ValueError(f"the block has no part {number}")
        places = _COLUMN_PLACES[number]
        stored = self._stored(part)
        return tuple(
            self.places_of(number)
            if name == EVENT
            else decode_column(*stored[places[name]], part.count)
            for name in names
        )

    def places_of(self, number: int) -> list[int]:
        """The numbers in the trace of the records of a kind, details included."""
        order = self._order(with_details=True)
        return list(
            compress(range(self.first, self.first + len(order)), order.translate(_MASKS[number]))
        )

    def last_us(self) -> int:
        """The time of its last record."""
        number = self.parts[ORDER].content()[-1]
        (times,) = self.columns(number, ("t_us",))
        return int(times[-1])

    def records(self, numbers: Collection[int]) -> Iterator[TraceRecord]:
        """The records and details of these kinds, in order."""
        found: dict[int, Iterator[TraceRecord]] = {}
        counts: dict[int, int] = {}
        for number in numbers:
            part = self.part(number)
            if part is not None:
                times, nodes, *fields = (
                    decode_column(code, data, part.count) for code, data in self._stored(part)
                )
                cells = zip(times, repeat(NAMES[number]), nodes, zip(*fields, strict=True))
                found[number] = map(_make_record, cells)
                counts[number] = part.count
        if len(found) <= 1:
            return next(iter(found.values()), iter(()))
        order = self._order(with_details=any(number >= DETAIL_BASE for number in found))
        for number, count in counts.items():
            if order.count(number) != count:
                raise ValueError("the order of the records does not fit to them")
        if len(order) != sum(counts.values()):
            order = order.translate(None, bytes(set(range(256)) - set(found)))
        return map(next, map(found.__getitem__, order))

    def _stored(self, part: StoredPart) -> list[tuple[bytes, memoryview]]:
        stored = list(split_columns(part.content()))
        if len(stored) != len(_COLUMN_PLACES[part.kind]):
            raise ValueError("a kind of records has a wrong number of columns")
        return stored

    def _order(self, *, with_details: bool) -> bytes:
        """The kind of each record; with details also theirs, each before the record that it precedes."""
        if not with_details or not self._details:
            return self.parts[ORDER].content() if self.parts else b""
        if not self._merged:
            order = self.parts[ORDER].content() if self.parts else b""
            kinds = self._details[ORDER].content()
            ((code, data),) = split_columns(self._details[PLACES].content())
            merged = bytearray()
            before = 0
            for place, kind in zip(decode_column(code, data, len(kinds)), kinds, strict=True):
                if not before <= place <= len(order):
                    raise ValueError("the places of the details are not in order")
                if place > before:
                    merged += order[before:place]
                    before = place
                merged.append(kind)
            merged += order[before:]
            self._merged = bytes(merged)
        return self._merged


def numbers_of(kinds: Collection[str] | None, *, details: bool = False) -> list[int]:
    """The numbers of these kinds; by default of all kinds of records, and of details if asked."""
    if kinds is None:
        return list(chain(RECORD_NUMBERS, DETAIL_NUMBERS if details else ()))
    return [number for number, name in NAMES.items() if name in kinds]
