"""The compact format of a trace: the head of the file, and blocks of records.

    file     head, block of the schema, block of the origin, blocks of records, block of the end
    head     magic (8 bytes), format version (4), CRC-32 of these 12 bytes (4)
    block    type (1), length of the body (8), CRC-32 of the body (4), CRC-32 of these 13 bytes (4), body

| type | body |
|---|---|
| `S` | the schema, as JSON: its version, and each kind with its fields |
| `O` | the origin of the trace, as JSON that is compressed with zlib: see `TraceOrigin`. A trace may have none |
| `D` | the details of the next block of records, or of none at the end, in the same form; since version 2 |
| `R` | records: the number of parts (1 byte), a row for each part, then the parts, each compressed with zlib |
| `E` | the end: the number of records (8 bytes) and the trace hash (32 bytes) |

The row of a part has its kind (1 byte), its number of records (4), its bytes (8) and its stored bytes (8). The first
part of a block of records is the order, kind 255: the number of its kind for each record. Then each kind that occurs
has a part with a column for the time, the node and each field, as in `qcore.trace.column_codec`. So a reader decodes
only the kinds and fields that it needs. All numbers are little-endian.

The parts of a block of details are the order; the places, kind 254: for each detail, how many records of the next block
precede it, as a column of integers; and the kinds of details, from 128 on. Version 1 has no details, and is still read.

A block holds `BLOCK_RECORDS` records. It holds fewer if they have long texts: each `TEXT_PER_RECORD` characters of a
field in `LONG_FIELDS` count as one record more. The last block holds the rest.

The trace hash is the SHA-256 of the body of the schema and, for each block of records, of each part before compression,
after its kind, number of records and bytes. So it depends on nothing but the records: not on
the origin and the details either.
"""

from __future__ import annotations

import hashlib
import json
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from qcore.compiled_build import register_copies
from qcore.trace.column_codec import encode_column
from qcore.trace.record_details import DETAIL_COLUMNS, ColumnType
from qcore.trace.trace_origin import TraceOrigin
from qcore.trace.trace_record import COLUMNS, KINDS, RECORD_FIELDS, SCHEMA_VERSION

#: The first bytes of a compact trace. They are not text, and a conversion of line ends damages them.
MAGIC: Final = b"\x89QTR\r\n\x1a\n"
#: The version of the compact format that this qcore writes.
FORMAT_VERSION: Final = 2
#: The oldest one that it reads.
OLDEST_FORMAT_VERSION: Final = 1
#: The most records in a block.
BLOCK_RECORDS: Final = 4096
#: How many characters of a long text count as one record.
TEXT_PER_RECORD: Final = 1024

#: The kind of the part with the order of the records.
ORDER: Final = 255
#: The kind of the part with the places of the details.
PLACES: Final = 254
#: The kind of the part of the first kind of details.
DETAIL_BASE: Final = 128

HEAD: Final = struct.Struct("<8sII")
BLOCK_HEAD: Final = struct.Struct("<cQII")
PART_ROW: Final = struct.Struct("<BIQQ")
END: Final = struct.Struct("<Q32s")

_HASHED: Final = struct.Struct("<BIQ")
_LEVEL: Final = 1  # zlib: higher levels take twice the time for a file that is 6 % smaller
_ColumnTypes = tuple[ColumnType | None, ...]
_COLUMN_TYPES: Final[tuple[_ColumnTypes, ...]] = tuple(
    (None, "int", *COLUMNS[kind].values()) for kind in KINDS
)
_DETAIL_TYPES: Final[tuple[_ColumnTypes, ...]] = tuple(
    (None, "int", *columns.values()) for columns in DETAIL_COLUMNS.values()
)
#: The number of cells of a record of each kind.
ROW_WIDTHS: Final = tuple(map(len, _COLUMN_TYPES))
#: The same for each kind of details.
DETAIL_WIDTHS: Final = tuple(map(len, _DETAIL_TYPES))


@dataclass(frozen=True)
class Part:
    """The records of one kind in a block, as columns, or the order of all of its records.

    Attributes:
        kind: the number of the kind, or `ORDER`.
        count: the number of records.
        content: the columns, or one byte for each record.
    """

    kind: int
    count: int
    content: bytes

    def hash_into(self, digest: hashlib._Hash) -> None:
        """Add this part to the trace hash."""
        digest.update(_HASHED.pack(self.kind, self.count, len(self.content)))
        digest.update(self.content)


def schema_body() -> bytes:
    """The schema of this qcore."""
    kinds = [[kind, *fields] for kind, fields in RECORD_FIELDS.items()]
    return json.dumps(
        {"schema": SCHEMA_VERSION, "kinds": kinds}, separators=(",", ":"), sort_keys=True
    ).encode()


def new_digest(schema: bytes) -> hashlib._Hash:
    """The trace hash of no records."""
    return hashlib.sha256(schema)


def encode_parts(order: Sequence[int], cells: Sequence[list[Any]]) -> list[Part]:
    """Encode the records of one block.

    Args:
        order: the number of the kind of each record.
        cells: for each kind, the cells of its records, one record after the other: time, node and fields.
    """
    return [Part(ORDER, len(order), bytes(order)), *_parts_of(cells, _COLUMN_TYPES, 0)]


def _parts_of(
    cells: Sequence[list[Any]], types: Sequence[_ColumnTypes], base: int
) -> Iterator[Part]:
    for kind, of_kind in enumerate(cells):
        if of_kind:
            width = len(types[kind])
            columns = [
                encode_column(column, of_kind[place::width])
                for place, column in enumerate(types[kind])
            ]
            yield Part(base + kind, len(of_kind) // width, b"".join(columns))


def head() -> bytes:
    """The head of a file, and the block of its schema."""
    begin = MAGIC + struct.pack("<I", FORMAT_VERSION)
    return begin + struct.pack("<I", zlib.crc32(begin)) + block(b"S", schema_body())


def origin_block(origin: TraceOrigin) -> bytes:
    """The block of the origin."""
    return block(b"O", zlib.compress(origin.to_json().encode()))


def records_block(parts: Iterable[Part]) -> bytes:
    """A block of records."""
    return block(b"R", _table(parts))


def details_block(places: Sequence[int], order: Sequence[int], cells: Sequence[list[Any]]) -> bytes:
    """The block of the details of the next block of records.

    Args:
        places: for each detail, how many records of the block precede it.
        order: the number of the kind of each detail.
        cells: for each kind of details, the cells as in `encode_parts`.
    """
    kinds = bytes(DETAIL_BASE + kind for kind in order)
    parts = [
        Part(ORDER, len(kinds), kinds),
        Part(PLACES, len(kinds), encode_column("int", places)),
        *_parts_of(cells, _DETAIL_TYPES, DETAIL_BASE),
    ]
    return block(b"D", _table(parts))


def _table(parts: Iterable[Part]) -> bytes:
    table: list[bytes] = []
    stored: list[bytes] = []
    for part in parts:
        stored.append(zlib.compress(part.content, _LEVEL))
        table.append(PART_ROW.pack(part.kind, part.count, len(part.content), len(stored[-1])))
    return b"".join((bytes([len(table)]), *table, *stored))


def end_block(records: int, sha256: bytes) -> bytes:
    """The last block of a complete trace."""
    return block(b"E", END.pack(records, sha256))


def block(kind: bytes, body: bytes) -> bytes:
    """A block of this type."""
    begin = struct.pack("<cQI", kind, len(body), zlib.crc32(body))
    return begin + struct.pack("<I", zlib.crc32(begin)) + body


register_copies(globals())
