"""A look at a stored log before it is opened: which version of the cluster it belongs to.

Opening a log moves what a crash left in its write-ahead file, and takes its lock. A node that is not the one that
the data needs must end before that, so this reads without changing anything. What it finds is a hint: checksums are
verified when the log is opened and loaded.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from qcore.core.version import ClusterVersion
from qcore.storage.checks import HAS_CLOCK, KIND_CODES, decode_meta, version_in
from qcore.storage.sqlite import DATABASE_FILE

_NEWEST_ENTRY = "SELECT data, kind FROM log WHERE (kind & 15) = ? ORDER BY idx DESC LIMIT 1"


def stored_version(directory: Path) -> ClusterVersion | None:
    """The newest version that the log in a data directory names, committed or not.

    Returns:
        None if there is no log, if it names no version, or if it cannot be read now: opening it will say why.
    """
    path = (directory / DATABASE_FILE).absolute()
    if not path.exists():
        return None
    index_path, wal_path = path.with_name(path.name + "-shm"), path.with_name(path.name + "-wal")
    had_index = index_path.exists()
    # Without a write-ahead file SQLite would make one, if it is not told that nothing changes.
    options = "mode=ro" if wal_path.exists() else "mode=ro&immutable=1"
    try:
        with closing(
            sqlite3.connect(f"{path.as_uri()}?{options}", uri=True, timeout=0)
        ) as connection:
            entry = connection.execute(_NEWEST_ENTRY, (KIND_CODES["version"],)).fetchone()
            if entry is not None:
                return version_in(entry[0], has_clock=bool(entry[1] & HAS_CLOCK))
            snapshot = connection.execute("SELECT membership FROM snapshot").fetchone()
            return None if snapshot is None else decode_meta(0, 0, 0, snapshot[0].decode()).version
    except (sqlite3.Error, UnicodeDecodeError, ValueError):
        return None
    finally:
        if not had_index:
            index_path.unlink(missing_ok=True)
