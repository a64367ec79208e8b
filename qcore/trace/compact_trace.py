"""`CompactTrace`: a trace in the compact format, of which a reader decodes only the kinds and fields that it needs."""

from __future__ import annotations

import json
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import repeat
from typing import Any, Final

from qcore.errors import ConfigError
from qcore.release import unknown_format
from qcore.trace.block_codec import (
    BLOCK_HEAD,
    END,
    FORMAT_VERSION,
    HEAD,
    MAGIC,
    ORDER,
    PART_ROW,
    Part,
    new_digest,
)
from qcore.trace.column_codec import DECODING_ERRORS, Values, decode_column, split_columns
from qcore.trace.trace_origin import TraceOrigin
from qcore.trace.trace_record import KINDS, RECORD_FIELDS, SCHEMA_VERSION, TraceRecord, cut_note

#: A file system may leave zeros at the end of a file after a power loss. No trace ends with so many of them.
_ZEROS: Final = 16
#: The longest origin that is read, in bytes.
_MAX_ORIGIN_BYTES: Final = 64 * 1024 * 1024
#: zlib compresses no text to less than a part of this.
_MOST_EXPANSION: Final = 1100
_READ_ELSEWHERE: Final = (
    "read it with the qcore that wrote it, or convert it with that one to JSON lines: "
    "qcore sim trace FILE --json-lines"
)
_checksum: Final = zlib.crc32
_ERRORS: Final = (*DECODING_ERRORS, zlib.error)
_make_record: Final = partial(tuple.__new__, TraceRecord)
_PLACES: Final = {
    kind: {name: place for place, name in enumerate(("t_us", "node", *fields))}
    for kind, fields in RECORD_FIELDS.items()
}


def is_compact(data: bytes) -> bool:
    """Whether these first bytes of a file, or all of a shorter file, begin a compact trace."""
    return bool(data) and MAGIC.startswith(data[: len(MAGIC)])


class _StoredPart:
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
        stored = memoryview(self._data)[self._start : self._start + self._stored]
        content = zlib.decompressobj().decompress(stored, self._size + 1)
        if len(content) != self._size:
            raise ValueError("a part has another length than its table says")
        return content


class _Block:
    """One block of records.

    Attributes:
        offset: its place in the file.
        count: the number of records.
        parts: the number of a kind, or `ORDER` -> its part.
    """

    __slots__ = ("count", "offset", "parts")

    def __init__(self, data: bytes, offset: int, start: int, end: int) -> None:
        self.offset = offset
        self.parts: dict[int, _StoredPart] = {}
        number = data[start]
        place = start + 1
        content = place + number * PART_ROW.size
        for _ in range(number):
            kind, count, size, stored = PART_ROW.unpack_from(data, place)
            if kind in self.parts or (kind != ORDER and kind >= len(KINDS)) or not count:
                raise ValueError(f"part {kind} is not one of its schema, or is there twice")
            if content + stored > end:
                raise ValueError("a part is longer than its block")
            self.parts[kind] = _StoredPart(kind, count, size, data, content, stored)
            place += PART_ROW.size
            content += stored
        self.count = self.parts[ORDER].count
        if sum(part.count for part in self.parts.values()) != 2 * self.count or content != end:
            raise ValueError("the parts of the block do not fit together")

    def columns(self, kind: int, places: Collection[int] | None = None) -> list[Values]:
        """The columns of a kind at these places (0 is the time, 1 the node), in this order; by default all."""
        part = self.parts[kind]
        stored = list(split_columns(part.content()))
        if len(stored) != 2 + len(RECORD_FIELDS[KINDS[kind]]):
            raise ValueError("a kind of records has a wrong number of columns")
        chosen = stored if places is None else [stored[place] for place in places]
        return [decode_column(code, data, part.count) for code, data in chosen]

    def last_us(self) -> int:
        kind = self.parts[ORDER].content()[-1]
        (times,) = self.columns(kind, (0,))
        return int(times[-1])

    def records(self, kinds: Collection[int]) -> Iterator[TraceRecord]:
        """The records of these kinds, in order."""
        found: dict[int, Iterator[TraceRecord]] = {}
        for kind in kinds:
            if kind in self.parts:
                times, nodes, *fields = self.columns(kind)
                cells = zip(times, repeat(KINDS[kind]), nodes, zip(*fields, strict=True))
                found[kind] = map(_make_record, cells)
        if len(found) == 1:
            return found.popitem()[1]
        order = self.parts[ORDER].content()
        for kind in found:
            if order.count(kind) != self.parts[kind].count:
                raise ValueError("the order of the records does not fit to them")
        if len(found) < len(self.parts) - 1:
            order = order.translate(None, bytes(set(range(256)) - set(found)))
        return map(next, map(found.__getitem__, order))


class CompactTrace:
    """A trace in the compact format, in memory. Its records are decoded when they are asked for.

    Args:
        data: the content of the file.
        name: the name of the file, for errors.

    Attributes:
        counts: kind -> number of records, without those that are missing.
        is_complete: whether the trace has its end. If not, the writer was killed, or the disk was full.
        origin: what the run began with; None if the trace does not say it.
        stored_sha256: the trace hash at the end of the file, in hexadecimal; None if the trace is not complete.

    Raises:
        ConfigError: it is no compact trace of a version that this qcore reads, or it is damaged. The error names the
            file and the offset.
    """

    def __init__(self, data: bytes, name: str = "trace") -> None:
        self._data = data
        self._name = name
        self._end = 0  # where the zeros of a power loss begin, or the end of the file
        self._blocks: list[_Block] = []
        self._schema = b""
        self.is_complete = False
        self.origin: TraceOrigin | None = None
        self.stored_sha256: str | None = None
        self._read_blocks()
        self.counts: Mapping[str, int] = {
            kind: sum(block.parts[n].count for block in self._blocks if n in block.parts)
            for n, kind in enumerate(KINDS)
        }

    def __len__(self) -> int:
        return sum(block.count for block in self._blocks)

    @property
    def format_version(self) -> int:
        """The version of the compact format in which the trace is stored."""
        return FORMAT_VERSION

    def last_us(self) -> int | None:
        """The time of the last record; None if there is none."""
        if not self._blocks:
            return None
        with _damage(self._name, self._blocks[-1].offset):
            return self._blocks[-1].last_us()

    def iterate(self, kinds: Collection[str] | None = None) -> Iterator[TraceRecord]:
        """Yield the records, in order. In place of records that were cut off there is a fault with `TRUNCATED_NOTE`.

        Args:
            kinds: only these kinds; the others are not decoded.

        Raises:
            ConfigError: a block is damaged.
        """
        for block in self._blocks:
            with _damage(self._name, block.offset):
                records = list(block.records(_numbers(kinds)))
            yield from records
        yield from self._cut(kinds)

    def records(self, kinds: Collection[str] | None = None) -> list[TraceRecord]:
        """The records in a list. Arguments and errors are those of `iterate`."""
        found: list[TraceRecord] = []
        for block in self._blocks:
            with _damage(self._name, block.offset):
                found.extend(block.records(_numbers(kinds)))
        found.extend(self._cut(kinds))
        return found

    def columns(self, kind: str, *names: str) -> Iterator[tuple[Sequence[Any], ...]]:
        """Yield columns of the records of one kind, for some thousand records at a time, in order.

        Args:
            kind: the kind.
            names: `t_us`, `node`, or names of fields of this kind.

        Raises:
            ConfigError: a block is damaged.
        """
        number = KINDS.index(kind)
        places = [_PLACES[kind][name] for name in names]
        for block in self._blocks:
            if number in block.parts:
                with _damage(self._name, block.offset):
                    columns = tuple(block.columns(number, places))
                yield columns

    def compute_sha256(self) -> str:
        """The trace hash of the records, in hexadecimal. It differs from `stored_sha256` if they were changed.

        Raises:
            ConfigError: a block is damaged.
        """
        digest = new_digest(self._schema)
        for block in self._blocks:
            with _damage(self._name, block.offset):
                for part in block.parts.values():
                    Part(part.kind, part.count, part.content()).hash_into(digest)
        return digest.hexdigest()

    def _cut(self, kinds: Collection[str] | None) -> Iterator[TraceRecord]:
        if not self.is_complete and (kinds is None or "fault" in kinds):
            last_us = self.last_us()
            if last_us is not None:
                yield cut_note(last_us)

    # -- blocks ----------------------------------------------------------------------------------

    def _read_blocks(self) -> None:
        data, name = self._data, self._name
        if not is_compact(data):
            raise ConfigError(f"{name} is not a compact trace")
        without_zeros = len(data.rstrip(b"\0"))
        self._end = len(data) if len(data) - without_zeros < _ZEROS else without_zeros
        if self._end < HEAD.size:
            return  # cut within the head
        _, version, checksum = HEAD.unpack_from(data)
        if _checksum(data[: HEAD.size - 4]) != checksum:
            raise _damaged(name, 0, "the head of the file has a wrong checksum")
        if version != FORMAT_VERSION:
            raise ConfigError(
                f"{name}: the trace {unknown_format(version, FORMAT_VERSION)}; {_READ_ELSEWHERE}"
            )
        offset = HEAD.size
        while offset < len(data):
            if self.is_complete and data[offset : self._end].strip(b"\0"):
                raise _damaged(name, offset, "there is more after the end of the trace")
            kind, start, end = self._frame(offset)
            if not kind:
                return
            with _damage(name, offset):
                self._read_block(kind, offset, start, end)
            offset = end

    def _frame(self, offset: int) -> tuple[bytes, int, int]:
        """The type of a block, and the begin and end of its body. No type if the block was cut short."""
        data = self._data
        start = offset + BLOCK_HEAD.size
        if start > len(data):
            return b"", 0, 0
        kind, length, checksum, own_checksum = BLOCK_HEAD.unpack_from(data, offset)
        if _checksum(data[offset : start - 4]) != own_checksum:
            if start > self._end:
                return b"", 0, 0
            raise _damaged(self._name, offset, "the head of a block has a wrong checksum")
        end = start + length
        if end > len(data):
            return b"", 0, 0
        if _checksum(memoryview(data)[start:end]) != checksum:
            if end > self._end:
                return b"", 0, 0
            raise _damaged(self._name, offset, "a block has a wrong checksum")
        return kind, start, end

    def _read_block(self, kind: bytes, offset: int, start: int, end: int) -> None:
        if (kind == b"S") == bool(self._schema):
            raise ValueError("the schema is missing, or there is a second one")
        if kind == b"S":
            self._schema = self._data[start:end]
            _check_schema(self._schema, self._name)
        elif kind == b"O":
            body = zlib.decompressobj().decompress(self._data[start:end], _MAX_ORIGIN_BYTES)
            self.origin = TraceOrigin.from_json(body.decode())
        elif kind == b"R":
            self._blocks.append(_Block(self._data, offset, start, end))
        elif kind == b"E":
            records, digest = END.unpack(self._data[start:end])
            if records != len(self):
                raise ValueError(f"the trace has {len(self)} records, its end says {records}")
            self.is_complete = True
            self.stored_sha256 = digest.hex()
        else:
            raise ValueError(f"there is no type {kind!r} of blocks")


def _numbers(kinds: Collection[str] | None) -> list[int]:
    return [number for number, kind in enumerate(KINDS) if kinds is None or kind in kinds]


def _check_schema(body: bytes, name: str) -> None:
    schema = json.loads(body)
    version = schema["schema"]
    if version != SCHEMA_VERSION:
        raise ConfigError(
            f"{name}: the schema of the trace {unknown_format(version, SCHEMA_VERSION)}; {_READ_ELSEWHERE}"
        )
    if schema["kinds"] != [[kind, *fields] for kind, fields in RECORD_FIELDS.items()]:
        raise ConfigError(
            f"{name}: the trace has kinds or fields that this qcore does not know; {_READ_ELSEWHERE}"
        )


def _damaged(name: str, offset: int, what: str) -> ConfigError:
    return ConfigError(
        f"{name}: the trace is damaged at offset {offset}: {what}; write it again, or use a copy"
    )


@contextmanager
def _damage(name: str, offset: int) -> Iterator[None]:
    """Report an error within a block as damage of the file."""
    try:
        yield
    except _ERRORS as error:
        raise _damaged(name, offset, str(error) or type(error).__name__) from None
