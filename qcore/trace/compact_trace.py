"""`CompactTrace`: a trace in the compact format, of which a reader decodes only the kinds and fields that it needs."""

from __future__ import annotations

import json
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from qcore.errors import ConfigError
from qcore.release import unknown_format
from qcore.trace.block_codec import (
    BLOCK_HEAD,
    END,
    FORMAT_VERSION,
    HEAD,
    MAGIC,
    OLDEST_FORMAT_VERSION,
    Part,
    new_digest,
)
from qcore.trace.column_codec import DECODING_ERRORS
from qcore.trace.record_details import DETAIL_KINDS
from qcore.trace.stored_block import (
    NUMBERS,
    Parts,
    StoredBlock,
    detail_parts,
    numbers_of,
    record_parts,
)
from qcore.trace.trace_origin import TraceOrigin
from qcore.trace.trace_record import KINDS, RECORD_FIELDS, SCHEMA_VERSION, TraceRecord, cut_note

#: A file system may leave zeros at the end of a file after a power loss. No trace ends with so many of them.
_ZEROS: Final = 16
#: The longest origin that is read, in bytes.
_MAX_ORIGIN_BYTES: Final = 64 * 1024 * 1024
_READ_ELSEWHERE: Final = (
    "read it with the qcore that wrote it, or convert it with that one to JSON lines: "
    "qcore sim trace FILE --json-lines"
)
_checksum: Final = zlib.crc32
_ERRORS: Final = (*DECODING_ERRORS, zlib.error)


def is_compact(data: bytes) -> bool:
    """Whether these first bytes of a file, or all of a shorter file, begin a compact trace."""
    return bool(data) and MAGIC.startswith(data[: len(MAGIC)])


class CompactTrace:
    """A trace in the compact format, in memory. Its records are decoded when they are asked for.

    Args:
        data: the content of the file.
        name: the name of the file, for errors.

    Attributes:
        counts: kind -> number of records, without those that are missing.
        detail_counts: kind -> number of details.
        format_version: the version of the compact format in which the trace is stored.
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
        self._blocks: list[StoredBlock] = []
        self._details: Parts = {}  # of the next block
        self._schema = b""
        self.format_version = FORMAT_VERSION
        self.is_complete = False
        self.origin: TraceOrigin | None = None
        self.stored_sha256: str | None = None
        self._read_blocks()
        self.counts: Mapping[str, int] = self._count(KINDS)
        self.detail_counts: Mapping[str, int] = self._count(DETAIL_KINDS)

    def __len__(self) -> int:
        return sum(block.count for block in self._blocks)

    @property
    def block_events(self) -> Sequence[int]:
        """How many records and details each block has."""
        return [block.events for block in self._blocks]

    def last_us(self) -> int | None:
        """The time of the last record; None if there is none."""
        last = next((block for block in reversed(self._blocks) if block.count), None)
        if last is None:
            return None
        with _damage(self._name, last.offset):
            return last.last_us()

    def iterate(
        self, kinds: Collection[str] | None = None, *, details: bool = False
    ) -> Iterator[TraceRecord]:
        """Yield the records, in order. In place of records that were cut off there is a fault with `TRUNCATED_NOTE`.

        Args:
            kinds: only these kinds, which may be kinds of details; the others are not decoded.
            details: without `kinds`, the details too.

        Raises:
            ConfigError: a block is damaged.
        """
        for block in self._blocks:
            with _damage(self._name, block.offset):
                records = list(block.records(numbers_of(kinds, details=details)))
            yield from records
        yield from self._cut(kinds)

    def records(
        self, kinds: Collection[str] | None = None, *, details: bool = False
    ) -> list[TraceRecord]:
        """The records in a list. Arguments and errors are those of `iterate`."""
        found: list[TraceRecord] = []
        numbers = numbers_of(kinds, details=details)
        for block in self._blocks:
            with _damage(self._name, block.offset):
                found.extend(block.records(numbers))
        found.extend(self._cut(kinds))
        return found

    def block_records(self, number: int) -> list[TraceRecord]:
        """The records and details of one block, in order.

        Raises:
            ConfigError: the block is damaged.
        """
        block = self._blocks[number]
        with _damage(self._name, block.offset):
            return list(block.records(numbers_of(None, details=True)))

    def columns(self, kind: str, *names: str) -> Iterator[tuple[Sequence[Any], ...]]:
        """Yield columns of the records of one kind, for some thousand records at a time, in order.

        Args:
            kind: a kind of records or details.
            names: `t_us`, `node`, names of fields of this kind, or `event`: the number of the record in the trace, from
                0 on, where details count.

        Raises:
            ConfigError: a block is damaged.
        """
        number = NUMBERS[kind]
        for block in self._blocks:
            if block.part(number) is not None:
                with _damage(self._name, block.offset):
                    columns = block.columns(number, names)
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

    def _count(self, kinds: Sequence[str]) -> dict[str, int]:
        return {
            kind: sum(
                part.count
                for block in self._blocks
                if (part := block.part(NUMBERS[kind])) is not None
            )
            for kind in kinds
        }

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
        if not OLDEST_FORMAT_VERSION <= version <= FORMAT_VERSION:
            raise ConfigError(
                f"{name}: the trace {unknown_format(version, FORMAT_VERSION)}; {_READ_ELSEWHERE}"
            )
        self.format_version = version
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
        elif kind == b"D":
            if self._details:
                raise ValueError("the details have no records")
            self._details = detail_parts(self._data, start, end)
        elif kind == b"R":
            self._add_block(offset, record_parts(self._data, start, end))
        elif kind == b"E":
            if self._details:
                self._add_block(offset, {})
            records, digest = END.unpack(self._data[start:end])
            if records != len(self):
                raise ValueError(f"the trace has {len(self)} records, its end says {records}")
            self.is_complete = True
            self.stored_sha256 = digest.hex()
        else:
            raise ValueError(f"there is no type {kind!r} of blocks")

    def _add_block(self, offset: int, parts: Parts) -> None:
        first = self._blocks[-1].first + self._blocks[-1].events if self._blocks else 0
        self._blocks.append(StoredBlock(offset, first, parts, self._details))
        self._details = {}


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
