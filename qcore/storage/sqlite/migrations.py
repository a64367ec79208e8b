"""What brings a database of an older layout to the present one, one version at a time.

Each step runs inside one transaction, before anything else reads the tables. It verifies what it
rewrites: a row that was damaged must not get a checksum that says it is sound.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

from qcore.storage.sqlite.checksums import fields_checksum, log_corrupt

Migration = Callable[[Path, sqlite3.Connection], None]

_SNAPSHOT_TABLE_2 = (
    "CREATE TABLE snapshot (id INTEGER PRIMARY KEY CHECK (id = 1), last_index INTEGER NOT NULL, "
    "last_term INTEGER NOT NULL, last_time_us INTEGER NOT NULL, membership BLOB NOT NULL, "
    "parts INTEGER NOT NULL, data BLOB NOT NULL, checksum INTEGER NOT NULL)"
)
_PART_TABLE_2 = "CREATE TABLE snapshot_part (id INTEGER PRIMARY KEY, last_index INTEGER NOT NULL, data BLOB NOT NULL)"


def _add_snapshot_time(path: Path, connection: sqlite3.Connection) -> None:
    """1 to 2: a snapshot knows the log time of its last entry, and a large one is kept in parts."""
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
    """The log time of the entry at `index`, or a bound that no later entry goes below.

    That is the next entry's time where the snapshot's last one is gone, and now where the log is
    empty: the best that an old layout leaves, since the time was not kept.
    """
    row = connection.execute(
        "SELECT time_us FROM log WHERE idx >= ? ORDER BY idx LIMIT 1", (index,)
    ).fetchone()
    return time.time_ns() // 1000 if row is None else int(row[0])


#: version n -> what brings a database of version n to n + 1.
MIGRATIONS: dict[int, Migration] = {1: _add_snapshot_time}
