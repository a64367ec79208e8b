"""Repairs a data directory, but only where nothing that was acknowledged can be lost.

| step | what it does | why nothing is lost |
|---|---|---|
| `key_mode` | takes the rights of others to `node.key` away | the content stays |
| `leftovers` | moves files away that an interrupted writer left | no program reads them |
| `drop_snapshot` | removes a damaged snapshot | the log has every entry from the first one on, all sound |
| `drop_covered` | drops entries from the log, some of them damaged | a sound snapshot covers them all |

Everything else is refused: a node that has lost entries or votes must be replaced, not repaired. The files are copied
before they are changed, and the directory is checked again afterwards.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from qcore.errors import DataDirLocked
from qcore.node.peers.node_key_file import load_key
from qcore.recovery.checks.data_dir_check import check_data_dir
from qcore.recovery.checks.findings import CheckReport
from qcore.recovery.checks.side_files import leftovers
from qcore.recovery.recovery_refused import RecoveryRefused
from qcore.recovery.repairs.backup_copy import back_up
from qcore.storage.files.directory_lock import DirectoryLock
from qcore.storage.files.synced_files import sync_path
from qcore.storage.io_errors import error_from_os, error_from_sqlite
from qcore.storage.sqlite import database
from qcore.storage.sqlite.high_water_mark import Mark, MarkFile
from qcore.storage.sqlite.log_rows import StoredState
from qcore.storage.sqlite.log_tables import LogTables
from qcore.storage.sqlite.snapshot_parts import SnapshotParts
from qcore.storage.sqlite.sqlite_storage import DATABASE_FILE, MARK_FILE

_BACKUP_PREFIX: Final = "before-repair"
#: The order of the steps.
_STEPS: Final = ("key_mode", "leftovers", "drop_snapshot", "drop_covered")


@dataclass(slots=True, frozen=True)
class RepairPlan:
    """What a repair does.

    Attributes:
        report: of the check.
        steps: keys of the table above, in their order; none if nothing needs a repair.
    """

    report: CheckReport
    steps: tuple[str, ...]

    def texts(self) -> list[str]:
        """What each step does, for people."""
        directory, log = self.report.directory, self.report.log
        covered = (
            0 if log is None or log.snapshot is None else log.snapshot.meta.last_included_index
        )
        last = 0 if log is None else log.state.last_index
        names = ", ".join(leftovers(directory)) if "leftovers" in self.steps else ""
        texts = {
            "key_mode": "set the mode of node.key to 0600: only its owner may read it",
            "leftovers": f"move what interrupted writers left into the copy: {names}",
            "drop_snapshot": f"remove the damaged snapshot; the log has all entries from 1 to {last}, and they are "
            "sound",
            "drop_covered": f"drop the entries up to {covered} from the log; the snapshot covers them, and it is sound",
        }
        return [texts[step] for step in self.steps]


def plan_repair(directory: Path) -> RepairPlan:
    """Check a data directory, and decide what a repair does. Changes nothing.

    Raises:
        ConfigError: this is not a data directory.
        RecoveryRefused: a node runs on it, or a fault needs more than a repair.
        StorageError: it cannot be read.
    """
    report = check_data_dir(directory)
    if report.process is not None:
        raise RecoveryRefused(f"a node runs on {directory} (process {report.process}): stop it")
    others = [found for found in report.faults if found.repair is None]
    if others:
        first = others[0]
        more = (
            f" (and {len(others) - 1} more faults: `qcore check {directory}`)"
            if len(others) > 1
            else ""
        )
        raise RecoveryRefused(
            f"{first.where}: {first.what}{more}. A repair could lose what was acknowledged, so nothing was changed: "
            f"{first.advice}"
        )
    needed = {found.repair for found in report.findings}
    return RepairPlan(report, tuple(step for step in _STEPS if step in needed))


def carry_out(plan: RepairPlan) -> Path:
    """Copy the files, do the steps, and check the directory again. Returns the directory with the copy.

    Raises:
        RecoveryRefused: a node runs on the directory by now, or it is not sound afterwards.
        StorageError: a file cannot be written.
    """
    directory = plan.report.directory
    backup = back_up(directory, _BACKUP_PREFIX)
    try:
        with ExitStack() as stack:
            lock = DirectoryLock(directory)
            stack.callback(lock.release)
            _do(plan, directory)
    except DataDirLocked as error:
        raise RecoveryRefused(str(error)) from error
    if faults := check_data_dir(directory).faults:
        raise RecoveryRefused(
            f"{directory} is still not sound: {faults[0].where}: {faults[0].what}. Its old files are in {backup}"
        )
    return backup


def _do(plan: RepairPlan, directory: Path) -> None:
    if "key_mode" in plan.steps:
        load_key(directory)
    if "leftovers" in plan.steps:
        try:
            for name in leftovers(directory):  # the copy has them
                os.unlink(directory / name)
        except OSError as error:
            raise error_from_os(error, f"move files out of {directory}") from error
        sync_path(directory)
    changes: list[Callable[[sqlite3.Connection, StoredState], None]] = []
    if "drop_snapshot" in plan.steps:
        changes.append(_drop_snapshot)
    if "drop_covered" in plan.steps:
        log = plan.report.log
        assert log is not None
        assert log.snapshot is not None
        covered = log.snapshot.meta.last_included_index

        def drop(connection: sqlite3.Connection, stored: StoredState) -> None:
            _drop_covered(connection, stored, covered)

        changes.append(drop)
    if changes:
        _rewrite(directory, changes)


def _drop_snapshot(connection: sqlite3.Connection, stored: StoredState) -> None:
    connection.execute("DELETE FROM snapshot")
    connection.execute("DELETE FROM snapshot_part")
    stored.has_snapshot = False


def _drop_covered(connection: sqlite3.Connection, stored: StoredState, covered: int) -> None:
    if covered >= stored.last_index:
        connection.execute("DELETE FROM log")
        stored.base_chain = stored.chain = 0
        stored.last_index = covered
    else:
        row = connection.execute("SELECT checksum FROM log WHERE idx = ?", (covered,)).fetchone()
        # Without it, the check could not have verified the entries that follow.
        stored.base_chain = int(row[0])
        connection.execute("DELETE FROM log WHERE idx <= ?", (covered,))
    stored.first_index = covered + 1


def _rewrite(
    directory: Path, changes: Sequence[Callable[[sqlite3.Connection, StoredState], None]]
) -> None:
    """Make changes in one transaction. The caller holds the lock."""
    path = directory / DATABASE_FILE
    mark = MarkFile(directory / MARK_FILE)
    try:
        connection = database.connect(path.absolute(), is_checked=False)
        try:
            stored = LogTables(path, connection, SnapshotParts(connection)).read_state()
            stored.sequence += 1
            connection.execute("BEGIN IMMEDIATE")
            for change in changes:
                change(connection, stored)
            connection.execute(stored.update, stored.row())
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise error_from_sqlite(error, path, "repair", connection) from error
        finally:
            connection.close()
        mark.advance(Mark(stored.sequence, stored.last_index))
        mark.sync()
    finally:
        mark.close()
