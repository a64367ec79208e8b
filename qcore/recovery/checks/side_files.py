"""Checks the files of a data directory besides the log: key, known members, mark of divergence, leftovers."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import Final

from qcore.core.entry import Membership
from qcore.errors import StorageError
from qcore.files import read_regular, special_file_kind
from qcore.node.discovery.promise_file import FILE_NAME as PROMISES_FILE
from qcore.node.discovery.promise_file import PromiseFile
from qcore.node.peers.known_members_file import FILE_NAME as PEERS_FILE
from qcore.node.peers.known_members_file import MAX_FILE_BYTES as MAX_PEERS_BYTES
from qcore.node.peers.known_members_file import decode_known_members
from qcore.node.peers.node_key_file import KEY_FILE_NAME, read_key
from qcore.node.watches.divergence import FILE_NAME as DIVERGED_FILE
from qcore.node.watches.divergence import DivergenceMarkFile
from qcore.recovery.checks.findings import CheckReport
from qcore.storage.files.directory_lock import LOCK_FILE
from qcore.storage.files.synced_files import readable_by_others
from qcore.storage.sqlite.sqlite_storage import DATABASE_FILE, MARK_FILE

#: Files that a writer left when it was killed. None of them is ever read.
_LEFTOVER: Final = re.compile(
    rf"({re.escape(DATABASE_FILE)}\.new(-journal|-wal|-shm)?|{re.escape(MARK_FILE)}\.new|peers\.new"
    rf"|{re.escape(DATABASE_FILE)}-shm|\..+\.[0-9a-f]{{8}}\.partial)"
)
_NODE_FILES: Final = (
    *(DATABASE_FILE, f"{DATABASE_FILE}-wal", MARK_FILE, LOCK_FILE),
    *(KEY_FILE_NAME, PEERS_FILE, DIVERGED_FILE, PROMISES_FILE),
)
_REPLACE: Final = (
    "bring the file back from a copy; or remove the node from the cluster, move its data directory away, and add the "
    "node again with an empty one"
)


def leftovers(directory: Path) -> list[str]:
    """The names of files that a killed writer left, sorted.

    Raises:
        OSError: the directory cannot be read.
    """
    return sorted(name for name in os.listdir(directory) if _LEFTOVER.fullmatch(name))


def check_kinds(report: CheckReport) -> bool:
    """Check that the node's files are regular files. Returns False if one is not, so that it cannot be opened."""
    is_sound = True
    for name in _NODE_FILES:
        try:
            mode = os.lstat(report.directory / name).st_mode
        except OSError:
            continue  # it is missing, or the check that needs it meets the same error
        kind = special_file_kind(mode)
        if kind is not None:
            is_sound = False
            advice = "move it away, and put the file itself there"
            report.add("fault", name, f"it is {kind}, not a regular file", advice)
    return is_sound


def check_side_files(report: CheckReport, membership: Membership | None) -> None:
    """Check everything but the log and the lock.

    Args:
        report: gets the findings.
        membership: the newest configuration in the log; None if it is unknown.
    """
    node_id = None if report.log is None else report.log.identity.node_id
    _check_key(
        report, None if membership is None or node_id is None else membership.key_of(node_id)
    )
    _check_peers(report)
    _check_divergence(report)
    if membership is None:  # a member does not read its promises
        _check_promises(report)
    if report.process is None:  # a node that runs may be writing them
        for name in leftovers(report.directory):
            what = "an interrupted writer left it; it is never read"
            report.add("note", name, what, "nothing; `qcore repair` moves it away", "leftovers")
    readers = [name for name in readable_by_others(report.directory) if name != KEY_FILE_NAME]
    if readers:
        what = "other users of this machine can read it"
        advice = f"chmod 700 {report.directory}, if they should not"
        for name in readers:
            report.add("note", name, what, advice)


def _check_key(report: CheckReport, configured: str | None) -> None:
    path = report.directory / KEY_FILE_NAME
    try:
        key = read_key(report.directory)
    except StorageError as error:
        report.add_error(error, path)
        return
    if key is None:
        if configured is not None:
            what = "it is missing, and the members know this node by its key"
            report.add("fault", path.name, what, _REPLACE)
        return
    if configured is not None and key.public != configured:
        what = f"its public key is {key.public}, and the members know this node by {configured}"
        report.add("fault", path.name, what, _REPLACE)
    mode = stat.S_IMODE(path.lstat().st_mode)
    if mode & 0o077:
        what = f"others may use it: its mode is {mode:04o}, not 0600"
        advice = (
            "`qcore repair` takes their rights away; if another user may have read it, replace the member, which gets "
            "a new key"
        )
        report.add("fault", path.name, what, advice, "key_mode")


def _check_peers(report: CheckReport) -> None:
    path = report.directory / PEERS_FILE
    try:
        _, is_checked = decode_known_members(path, read_regular(path, MAX_PEERS_BYTES))
    except FileNotFoundError:
        log = report.log
        if log is not None and log.membership is not None and len(log.membership.members()) > 1:
            what = "it is missing: this node has forgotten which data directories the other members have"
            advice = (
                "if a member was wiped since, stop it, remove it and add it again; else nothing"
            )
            report.add("note", path.name, what, advice)
        return
    except StorageError as error:
        report.add_error(error, path)
        return
    except OSError as error:
        report.add("fault", path.name, f"it cannot be read: {error.strerror}", "check the disk")
        return
    if not is_checked:
        what = "it has no checksum: qcore 0.1.0 wrote it"
        report.add("note", path.name, what, "nothing: the next start of the node adds one")


def _check_promises(report: CheckReport) -> None:
    try:
        PromiseFile(report.directory).load()
    except StorageError as error:
        report.add_error(error, report.directory / PROMISES_FILE)


def _check_divergence(report: CheckReport) -> None:
    path = report.directory / DIVERGED_FILE
    try:
        index = DivergenceMarkFile(report.directory).load()
    except StorageError as error:
        report.add_error(error, path)
        return
    if index is not None:
        node = "ID" if report.log is None else report.log.identity.node_id
        where = f"at entry {index}" if index else "at an unknown entry: the file was changed"
        what = f"the state or log of this node differs from that of a majority ({where})"
        advice = f"start the node, then `qcore member reinstall {node}`"
        report.add("fault", path.name, what, advice)
