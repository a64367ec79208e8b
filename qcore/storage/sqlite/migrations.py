"""Migrates a database of an older layout, one version at a time.

All steps run inside one transaction, before anything else reads the tables. A step verifies what it rewrites: a
damaged row must not get a correct checksum.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

from qcore.core.log.disk_errors import log_corrupt
from qcore.storage.sqlite.checksums import fields_checksum

Migration = Callable[[Path, sqlite3.Connection], None]

_SNAPSHOT_TABLE_2 = (
    "CREATE TABLE snapshot (id INTEGER PRIMARY KEY CHECK (id = 1), last_index INTEGER NOT NULL, "
    "last_term INTEGER NOT NULL, last_time_us INTEGER NOT NULL, membership BLOB NOT NULL, "
    "parts INTEGER NOT NULL, data BLOB NOT NULL, checksum INTEGER NOT NULL)"
)
_PART_TABLE_2 = "CREATE TABLE snapshot_part (id INTEGER PRIMARY KEY, last_index INTEGER NOT NULL, data BLOB NOT NULL)"


def _add_snapshot_time(path: Path, connection: sqlite3.Connection) -> None:
    """1 to 2: a snapshot has the log time of its last entry, and a large one is kept in parts."""
    rows = connection.execute(
        "SELECT last_index, last_term, membership, data, checksum FROM snapshot"
    ).fetchall()
    connection.execute("DROP TABLE snapshot")
    connection.execute(_SNAPSHOT_TABLE_2)
    connection.execute(_PART_TABLE_2)
    for index, term, membership, data, checksum in rows:
        if fields_checksum(index, term, membership, data) != checksum:
            raise log_corrupt(
                path, f"the snapshot through entry {index!r}", "its checksum is wrong"
            )
        fields = (index, term, _time_of(connection, index), membership, 0, data)
        connection.execute(
            "INSERT INTO snapshot VALUES (1, ?, ?, ?, ?, ?, ?, ?)",
            (*fields, fields_checksum(*fields)),
        )


def _time_of(connection: sqlite3.Connection, index: int) -> int:
    """The log time of the entry at `index`, or a lower bound for all later entries.

    If the snapshot's last entry is gone, the bound is the next entry's time; if the log is empty, it is now. An old
    layout did not keep the time, so there is no better value.
    """
    row = connection.execute(
        "SELECT time_us FROM log WHERE idx >= ? ORDER BY idx LIMIT 1", (index,)
    ).fetchone()
    return time.time_ns() // 1000 if row is None else int(row[0])


#: Version n: the step from version n to n + 1.
MIGRATIONS: dict[int, Migration] = {1: _add_snapshot_time}
