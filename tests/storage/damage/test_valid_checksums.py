"""Rows whose checksums are correct and whose content is not: a bug wrote them, and they are refused by name."""

from __future__ import annotations

import sqlite3
import struct
import zlib
from contextlib import closing
from pathlib import Path

import pytest

from qcore.core.entry import DurableState, HardState
from qcore.errors import LogCorrupt
from qcore.storage.log_outline import LogOutline
from qcore.storage.sqlite.checksums import decode_entries, decode_snapshot, fields_checksum
from qcore.storage.sqlite.log_rows import HAS_CLOCK, Column, EntryRow, entry_rows
from tests.storage.support.directories import command, open_storage, snapshot, stopped

DATABASE = Path("/data/log.db")


def entry_row(kind: int, data: bytes) -> EntryRow:
    head = struct.pack("<qqBq", 1, 2, kind, 5)
    return (1, 2, kind, 5, data, zlib.crc32(data, zlib.crc32(head)))


def test_terms_that_fall_are_refused() -> None:
    rows, _ = entry_rows([command(1, term=3), command(2, term=2)], 0)
    with pytest.raises(LogCorrupt, match=r"log\.db: entry 2: term 2 follows term 3"):
        decode_entries(DATABASE, rows, 1, 0)


@pytest.mark.parametrize(
    "row",
    [entry_row(9, b"text"), entry_row(0, b"\xff is no text"), entry_row(HAS_CLOCK, b"short")],
    ids=["unknown kind", "no text", "no clock"],
)
def test_entry_that_cannot_be_decoded_is_refused(row: EntryRow) -> None:
    with pytest.raises(LogCorrupt, match=r"log\.db: entry 1: unreadable"):
        decode_entries(DATABASE, [row], 1, 0)


@pytest.mark.parametrize(
    ("membership", "data", "why"),
    [
        ("a text column", b"state", "a column has the wrong type"),
        (b"no membership", b"state", "unreadable"),
        (b'{"voters":[1]}', b"\xff is no text", "unreadable"),
    ],
)
def test_snapshot_that_cannot_be_decoded_is_refused(
    membership: str | bytes, data: bytes, why: str
) -> None:
    fields: tuple[Column, ...] = (5, 2, 0, membership, 0, data)
    with pytest.raises(LogCorrupt, match=rf"log\.db: the snapshot through entry 5: {why}"):
        decode_snapshot(DATABASE, (*fields, fields_checksum(*fields)), [])


def test_log_with_a_lower_term_than_its_snapshot_is_refused() -> None:
    state = DurableState(HardState(3), snapshot(5, term=3), [command(6, term=2)])
    with pytest.raises(ValueError, match="entry 6 has term 2, the snapshot before it 3"):
        LogOutline.of(state)


def test_state_row_with_a_number_out_of_range_is_refused(tmp_path: Path) -> None:
    """Its checksum cannot even be computed."""
    path = stopped(tmp_path / "data").path
    with closing(sqlite3.connect(path / "log.db")) as connection, connection:
        connection.execute("UPDATE state SET chain = 1 << 40")
    with pytest.raises(LogCorrupt, match="the hard state: its checksum is wrong"):
        open_storage(path)
