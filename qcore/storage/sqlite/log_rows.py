"""Encodes rows of tables `log` and `state` with checksums. That of `state` has the hard state and the log's bounds."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from qcore.compiled_build import register_copies
from qcore.core.entry import Entry, EntryKind
from qcore.core.log.disk_errors import log_corrupt

#: A value that SQLite may return for a column.
Column = int | float | str | bytes | None
EntryRow = tuple[int, int, int, int, bytes, int]

#: A kind is stored as its position here, plus `HAS_CLOCK` if the cluster clock comes before the data.
KINDS: tuple[EntryKind, ...] = ("command", "noop", "membership", "session", "version", "access")
HAS_CLOCK: Final = 16
#: Added if the user comes before the data, behind the clock: its length in bytes as one byte, then the name.
HAS_USER: Final = 32
CLOCK: Final = struct.Struct("<q")
CLOCK_BYTES: Final = CLOCK.size
KIND_CODES: dict[EntryKind, int] = {kind: code for code, kind in enumerate(KINDS)}

ENTRY_HEAD: Final = struct.Struct("<qqBq")

_UPDATE_2 = (
    "UPDATE state SET sequence=?, term=?, voted_for=?, commit_index=?, first_index=?, "
    "last_index=?, base_chain=?, chain=?, has_snapshot=?, checksum=? WHERE id = 1"
)
_UPDATE_3 = _UPDATE_2.replace("checksum=?", "promise_ms=?, checksum=?")
_STATE_FIELDS = struct.Struct("<qq?qqqqII?")
_PROMISE = struct.Struct("<q")


def entry_rows(entries: Sequence[Entry], previous: int) -> tuple[list[EntryRow], int]:
    """Rows for table `log`. Each checksum continues that of the row before.

    Args:
        entries: consecutive entries.
        previous: checksum of the row before the first one.

    Returns:
        the rows, and the checksum of the last.

    Raises:
        ValueError: a text cannot be encoded, or a number does not fit 64 bits.
    """
    rows: list[EntryRow] = []
    pack, crc32, codes = ENTRY_HEAD.pack, zlib.crc32, KIND_CODES
    try:
        for entry in entries:
            data = entry.data.encode()
            kind = codes[entry.kind]
            if entry.user:
                kind += HAS_USER
                user = entry.user.encode()
                data = bytes((len(user),)) + user + data
            if entry.clock_us:
                kind += HAS_CLOCK
                data = CLOCK.pack(entry.clock_us) + data
            head = pack(entry.index, entry.term, kind, entry.time_us)
            previous = crc32(data, crc32(head, previous))
            rows.append((entry.index, entry.term, kind, entry.time_us, data, previous))
    except (struct.error, KeyError) as error:
        raise ValueError(f"entry {entry.index} cannot be stored: {error!r}") from error
    return rows, previous


@dataclass
class StoredState:
    """The fields of the row.

    `sequence` counts transactions. `base_chain` is the checksum before the first entry, `chain` that of the last.
    `first_index` is the index that the first entry has or would have. `promise_ms` is None in layout 2,
    which does not store it.
    """

    sequence: int = 0
    term: int = 0
    voted_for: int | None = None
    commit: int = 0
    first_index: int = 1
    last_index: int = 0
    base_chain: int = 0
    chain: int = 0
    has_snapshot: bool = False
    promise_ms: int | None = None

    def next(self) -> StoredState:
        """A copy for the next transaction."""
        return StoredState(
            self.sequence + 1,
            self.term,
            self.voted_for,
            self.commit,
            self.first_index,
            self.last_index,
            self.base_chain,
            self.chain,
            self.has_snapshot,
            self.promise_ms,
        )

    @property
    def update(self) -> str:
        """The SQL statement for the values that `row` returns."""
        return _UPDATE_2 if self.promise_ms is None else _UPDATE_3

    def row(self) -> tuple[Column, ...]:
        """All fields and their checksum.

        Raises:
            ValueError: a number does not fit 64 bits.
        """
        fields: tuple[Column, ...] = (
            self.sequence,
            self.term,
            self.voted_for,
            self.commit,
            self.first_index,
            self.last_index,
            self.base_chain,
            self.chain,
            self.has_snapshot,
        )
        if self.promise_ms is not None:
            fields = (*fields, self.promise_ms)
        try:
            return (*fields, self._checksum())
        except struct.error as error:
            raise ValueError(f"hard state or log bounds cannot be stored: {error}") from error

    def _checksum(self) -> int:
        packed = _STATE_FIELDS.pack(
            self.sequence,
            self.term,
            self.voted_for is not None,
            self.voted_for or 0,
            self.commit,
            self.first_index,
            self.last_index,
            self.base_chain,
            self.chain,
            self.has_snapshot,
        )
        if self.promise_ms is not None:
            packed += _PROMISE.pack(self.promise_ms)
        return zlib.crc32(packed)

    @classmethod
    def from_row(cls, path: Path, row: tuple[Column, ...]) -> StoredState:
        """Verify and decode what `row` made.

        Raises:
            LogCorrupt: the row was changed.
        """
        *fields, checksum = row
        if all(type(f) is int for i, f in enumerate(fields) if i != 2 or f is not None):
            fields[8] = bool(fields[8])  # SQLite stores it as a number
            stored = cls(*fields)  # type: ignore[arg-type]  # the types were checked just above
            try:
                if stored._checksum() == checksum:
                    return stored
            except struct.error:
                pass  # a number out of range is as wrong as a checksum
        raise log_corrupt(path, "the hard state", "its checksum is wrong")


register_copies(globals())
