"""Encodes rows with checksums, and verifies and decodes them."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter

from qcore.core.entry import Entry, Membership, Snapshot, SnapshotMeta
from qcore.core.log.compressed_text import SnapshotText
from qcore.core.log.disk_errors import log_corrupt
from qcore.core.log.growing_text import TextBuilder
from qcore.core.version import FIRST_VERSION, ClusterVersion
from qcore.storage.sqlite.log_rows import CLOCK, ENTRY_HEAD, HAS_CLOCK, HAS_USER, KINDS, Column

SnapshotRow = tuple[int, int, int, bytes, int, bytes, int]


def decode_entries(
    path: Path, rows: Iterable[tuple[Column, ...]], first_index: int, previous: int
) -> tuple[list[Entry], int]:
    """Verify and decode rows of table `log`, ordered by index.

    Args:
        path: the database, for messages.
        rows: `(idx, term, kind, time_us, data, checksum)`.
        first_index: the index that the first row must have.
        previous: checksum of the row before the first one.

    Returns:
        the entries, and the checksum of the last.

    Raises:
        LogCorrupt: a row is missing, changed or out of place; names the file and the entry.
    """
    entries: list[Entry] = []
    pack, crc32 = ENTRY_HEAD.pack, zlib.crc32
    expected, term_before = first_index, 0
    for index, term, kind, time_us, data, checksum in rows:
        if index != expected:
            raise log_corrupt(path, f"entry {expected}", f"missing, entry {index!r} comes instead")
        try:
            computed = crc32(data, crc32(pack(index, term, kind, time_us), previous))  # type: ignore[arg-type]  # a wrong type raises, below
        except (struct.error, TypeError):
            raise log_corrupt(path, f"entry {expected}", "a column has the wrong type") from None
        if computed != checksum:
            raise log_corrupt(
                path, f"entry {expected}", f"checksum {checksum!r}, computed {computed}"
            )
        entry = _entry(path, index, term, kind, time_us, data)
        if entry.term < term_before:
            raise log_corrupt(
                path, f"entry {expected}", f"term {entry.term} follows term {term_before}"
            )
        entries.append(entry)
        previous, term_before, expected = computed, entry.term, expected + 1
    return entries, previous


def _entry(
    path: Path, index: Column, term: Column, kind: Column, time_us: Column, data: Column
) -> Entry:
    """Build an entry from columns with a correct checksum."""
    assert isinstance(index, int)
    assert isinstance(term, int)
    assert isinstance(kind, int)
    assert isinstance(time_us, int)
    assert isinstance(data, bytes)
    try:
        if kind < HAS_CLOCK:
            return Entry(index, term, KINDS[kind], data.decode(), time_us)
        clock_us, at, user = 0, 0, ""
        if kind & HAS_CLOCK:
            (clock_us,) = CLOCK.unpack_from(data)
            at = CLOCK.size
        if kind & HAS_USER:
            end = at + 1 + data[at]
            user, at = data[at + 1 : end].decode(), end
        text = data[at:].decode()
        return Entry(index, term, KINDS[kind % HAS_CLOCK], text, time_us, clock_us, user)
    except (IndexError, UnicodeDecodeError, struct.error) as error:
        raise log_corrupt(path, f"entry {index}", f"unreadable: {error}") from error


def fields_checksum(*fields: Column) -> int:
    """crc32 of the fields with their types and lengths, so that different rows have different input."""
    checksum = 0
    for value in fields:
        content = value if isinstance(value, bytes) else str(value).encode()
        head = f"{type(value).__name__}:{len(content)}:".encode()
        checksum = zlib.crc32(content, zlib.crc32(head, checksum))
    return checksum


def snapshot_row(meta: SnapshotMeta, parts: int, data: bytes) -> SnapshotRow:
    """The row of a snapshot: last index, term and time, membership, number of parts, data, checksum.

    Args:
        meta: what the snapshot covers.
        parts: how many rows of table `snapshot_part` hold the text; 0 if `data` holds it.
        data: the text as UTF-8, or the concatenated `part_checksum` of all parts.
    """
    fields = (
        meta.last_included_index,
        meta.last_included_term,
        meta.last_included_time_us,
        _configuration(meta),
        parts,
        data,
    )
    return (*fields, fields_checksum(*fields))


@dataclass(slots=True)
class _Configuration:
    """Replaces the bare membership once the snapshot has a cluster clock or a version that 0.1.0 does not know."""

    membership: Membership
    clock_us: int
    version: ClusterVersion


_CONFIGURATION: TypeAdapter[_Configuration] = TypeAdapter(_Configuration)
_CONFIGURATION_START = '{"membership":'


def needs_layout_3(meta: SnapshotMeta) -> bool:
    """Whether the snapshot holds something that 0.1.0 cannot read."""
    return bool(meta.last_included_clock_us) or meta.version != FIRST_VERSION


def _configuration(meta: SnapshotMeta) -> bytes:
    if not needs_layout_3(meta):
        return meta.membership.to_json().encode()
    return _CONFIGURATION.dump_json(
        _Configuration(meta.membership, meta.last_included_clock_us, meta.version)
    )


def decode_meta(index: int, term: int, time_us: int, text: str) -> SnapshotMeta:
    """Decode what a snapshot covers from the columns of its row.

    Raises:
        ValueError: this text does not come from `snapshot_row`.
    """
    if not text.startswith(_CONFIGURATION_START):
        return SnapshotMeta(index, term, time_us, Membership.from_json(text))
    found = _CONFIGURATION.validate_json(text)
    return SnapshotMeta(index, term, time_us, found.membership, found.clock_us, found.version)


def part_checksum(part: bytes) -> bytes:
    """crc32 of one part of a snapshot's text, as 4 bytes."""
    return zlib.crc32(part).to_bytes(4)


def decode_snapshot(
    path: Path, row: tuple[Column, ...], parts: Iterable[tuple[Column, ...]]
) -> Snapshot:
    """Verify and decode the row that `snapshot_row` made.

    Args:
        path: the database, for messages.
        row: see `snapshot_row`.
        parts: `(data,)` of each part with this snapshot's last index, in order.

    Raises:
        LogCorrupt: the row was changed; names the file and the snapshot's last entry.
    """
    index, term, time_us, membership, number, data, checksum = row
    what = f"the snapshot through entry {index!r}"
    if fields_checksum(index, term, time_us, membership, number, data) != checksum:
        raise log_corrupt(path, what, "its checksum is wrong")
    if not (
        isinstance(index, int)
        and isinstance(term, int)
        and isinstance(time_us, int)
        and isinstance(membership, bytes)
        and isinstance(number, int)
        and isinstance(data, bytes)
    ):
        raise log_corrupt(path, what, "a column has the wrong type")
    try:
        meta = decode_meta(index, term, time_us, membership.decode())
        text = _joined(path, what, data, parts) if number else data.decode()
        return Snapshot(meta, text)
    except ValueError as error:
        raise log_corrupt(path, what, f"unreadable: {error}") from error


def _joined(
    path: Path, what: str, checksums: bytes, parts: Iterable[tuple[Column, ...]]
) -> SnapshotText:
    """Join the text of a snapshot that is kept in parts."""
    text = TextBuilder()
    found = 0
    for position, (part,) in enumerate(parts):
        expected = checksums[4 * position : 4 * position + 4]
        if not isinstance(part, bytes) or part_checksum(part) != expected:
            raise log_corrupt(path, what, f"part {position + 1} is not the one that was written")
        text.add(part.decode())
        found += 1
    if 4 * found != len(checksums):
        raise log_corrupt(path, what, f"{found} of {len(checksums) // 4} parts are left")
    return text.build()
