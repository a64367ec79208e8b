"""`check_data_dir`: reads everything in a data directory, changes nothing in it, and creates no file there."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from qcore.core.log.restore import RECOVERY_ADVICE
from qcore.errors import ConfigError, LogCorrupt, StorageError
from qcore.files import open_regular
from qcore.recovery.checks.database_copy import check_database, database_copy
from qcore.recovery.checks.findings import CheckReport
from qcore.recovery.checks.log_check import check_log, report_damaged_snapshot
from qcore.recovery.checks.side_files import check_kinds, check_side_files, leftovers
from qcore.storage.files.directory_lock import owner_of
from qcore.storage.files.synced_files import path_exists
from qcore.storage.io_errors import error_from_os
from qcore.storage.live.log_reader import LogReader
from qcore.storage.sqlite.database import check_header
from qcore.storage.sqlite.high_water_mark import Mark, MarkFile, check_sequence
from qcore.storage.sqlite.sqlite_storage import DATABASE_FILE, MARK_FILE

_GIVE_ONE: Final = "give the directory that `qcore node start --data-dir` names"


def check_data_dir(directory: Path) -> CheckReport:
    """Check a data directory, also one on which a node runs.

    While a node runs, each part is read at its own moment, and the structure of the database is not checked.

    Raises:
        ConfigError: this is not a data directory.
        StorageError: it cannot be read.
    """
    try:
        if not directory.is_dir():
            missing = "is not a directory" if directory.exists() else "does not exist"
            raise ConfigError(f"{directory} {missing}: {_GIVE_ONE}")
        report = CheckReport(directory, owner_of(directory))
        if not check_kinds(report):
            return report
        mark = _read_mark(report)
        if not path_exists(directory / DATABASE_FILE):
            _report_missing_log(report, mark)
            return report
        _check_log_files(report, mark)
        check_side_files(report, None if report.log is None else report.log.membership)
    except OSError as error:
        raise error_from_os(error, f"read {directory}") from error
    return report


def _read_mark(report: CheckReport) -> Mark | None:
    path = report.directory / MARK_FILE
    try:
        if not path_exists(path) and not path_exists(report.directory / DATABASE_FILE):
            return None
        mark = MarkFile.read(path)
    except StorageError as error:
        report.add_error(error, path)
        return None
    report.acknowledged_index = mark.last_index
    return mark


def _report_missing_log(report: CheckReport, mark: Mark | None) -> None:
    """The directory has no log: it is new, damaged, or no data directory."""
    directory = report.directory
    has_wal = path_exists(directory / f"{DATABASE_FILE}-wal")
    if has_wal or (mark is not None and mark.sequence > 0):
        what = "it is missing, but the directory holds traces of acknowledged writes"
        advice = f"if it was moved, put it back as it was. Otherwise: {RECOVERY_ADVICE}"
        report.add("fault", DATABASE_FILE, what, advice)
    elif mark is None and not report.findings and not leftovers(directory):
        raise ConfigError(
            f"{directory} is not a node's data directory: it has no {DATABASE_FILE}: {_GIVE_ONE}"
        )
    else:
        what = "it is missing: the node was stopped while it made the directory; nothing was acknowledged from it"
        report.add("note", DATABASE_FILE, what, "start the node, which makes it again")
        check_side_files(report, None)


def _check_log_files(report: CheckReport, mark: Mark | None) -> None:
    path = report.directory / DATABASE_FILE
    if (
        report.process is not None
    ):  # a node that runs changes the files: each part is read at its own moment
        _check_content(report, path, None)
        return
    open_regular(path).close()  # what cannot be opened at all is no finding
    try:
        report.layout = check_header(path)
    except StorageError as error:  # also if a newer program wrote it, or the version was changed
        report.add_error(error, path)
        return
    try:
        with database_copy(path) as copy:
            try:
                check_database(copy)
            except StorageError as error:
                report.add_error(error, copy)
            _check_content(report, copy, mark)
    except LogCorrupt as error:
        wal_path = path.with_name(path.name + "-wal")
        report.add_error(error, wal_path if str(error).startswith(str(wal_path)) else path)
        _check_content(report, path, None)


def _check_content(report: CheckReport, path: Path, mark: Mark | None) -> None:
    """Check what the database holds.

    Args:
        report: gets the findings.
        path: the database, or a copy.
        mark: its mark; None to check nothing against it.
    """
    try:
        reader = LogReader(path.parent)
        damage: LogCorrupt | None = None
        try:
            log = reader.describe()
        except LogCorrupt as error:
            damage = error
            log = reader.describe(with_snapshot=False)
        report.log = log
        if damage is not None:
            report_damaged_snapshot(report, log, str(damage).removeprefix(f"{path}: "))
        if mark is not None:
            _check_sequence(report, log.state.sequence, mark)
        check_log(report, reader, log)
    except ConfigError as error:
        raise StorageError(str(error)) from error  # it was removed meanwhile
    except StorageError as error:
        if not report.faults:
            report.add_error(error, path)


def _check_sequence(report: CheckReport, sequence: int, mark: Mark) -> None:
    path = report.directory / DATABASE_FILE
    try:
        check_sequence(path, sequence, mark)
    except LogCorrupt as error:
        report.add_error(error, path)
