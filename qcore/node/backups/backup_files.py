"""The files of scheduled backups: their names, how one is written, and which are removed.

    0123456789abcdef0123456789abcdef-00000000000000012345-20261129T031500Z.snapshot

The name is the cluster's id, the last index, and the time (UTC). So the names of one cluster sort by position, and the
backups of a cluster are never removed for those of another one, such as the cluster that was restored from them.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from qcore.core.entry import Snapshot
from qcore.core.log.compressed_text import text_parts
from qcore.errors import ConfigError, DiskFull, SnapshotFileError
from qcore.storage.files.snapshot_file import SnapshotFileWriter, SnapshotHeader, verify

#: A backup leaves at least this much space, so that it never fills a disk on which the node itself writes.
SPARE_BYTES: Final = 256 << 20
_TIME: Final = "%Y%m%dT%H%M%SZ"


@dataclass(slots=True, frozen=True)
class BackupFile:
    """A backup in the directory.

    Attributes:
        index: the last index that it covers.
        taken_at: when it was taken, seconds since the Unix epoch.
    """

    path: Path
    index: int
    taken_at: float


@dataclass(slots=True, frozen=True)
class WrittenBackup:
    """A backup that was written.

    Attributes:
        size: bytes of the file.
        removed: how many older ones were removed.
    """

    file: BackupFile
    size: int
    removed: int


def backups_in(directory: Path, cluster_id: str) -> list[BackupFile]:
    """The backups of a cluster in a directory, oldest first.

    Raises:
        SnapshotFileError: the directory cannot be read.
    """
    name = re.compile(rf"{re.escape(cluster_id)}-(\d{{20}})-(\d{{8}}T\d{{6}}Z)\.snapshot")
    found: list[BackupFile] = []
    try:
        names = sorted(os.listdir(directory))
    except OSError as error:
        raise SnapshotFileError(
            f"backup_dir {directory} cannot be read: {error.strerror}: make it, and let the node write there"
        ) from error
    for each in names:
        if match := name.fullmatch(each):
            try:
                taken = datetime.strptime(match[2], _TIME).replace(tzinfo=UTC)
            except ValueError:
                continue  # no node gives such a name
            found.append(BackupFile(directory / each, int(match[1]), taken.timestamp()))
    return found


def require_writable(directory: Path) -> None:
    """Check early that backups can be written: this node may have to take its first one when another node is lost.

    Raises:
        SnapshotFileError: the node may not write there.
    """
    if not os.access(directory, os.W_OK | os.X_OK):
        raise SnapshotFileError(
            f"backup_dir {directory} cannot be written: let the node write there"
        )


def write_backup(
    directory: Path,
    snapshot: Snapshot,
    now_s: float,
    keep: int,
    spare_bytes: int = SPARE_BYTES,
    stopping: Callable[[], bool] = lambda: False,
) -> WrittenBackup:
    """Write a backup, read it again and verify it; then remove the oldest ones beyond `keep`.

    Args:
        directory: an existing directory.
        snapshot: the state.
        now_s: seconds since the Unix epoch, for the name.
        keep: how many to keep, at least 1. The new one is among them.
        spare_bytes: how much space must be left.
        stopping: whether the node stops, which must not wait for a large backup.

    Raises:
        DiskFull: it would not leave enough space; nothing was written.
        SnapshotFileError: it cannot be written, or does not hold what was written; nothing was removed.
    """
    meta = snapshot.meta
    size, digest = 0, hashlib.sha256()
    for part in _parts(snapshot, stopping):
        data = part.encode()
        size += len(data)
        digest.update(data)
    header = SnapshotHeader(
        meta.membership.cluster_id,
        meta.last_included_index,
        meta.last_included_term,
        meta.last_included_time_us,
        meta.membership,
        size,
        digest.hexdigest(),
        meta.last_included_clock_us,
        meta.version,
    )
    whole = len(header.line()) + size
    _require_space(directory, whole + spare_bytes)
    moment = datetime.fromtimestamp(now_s, UTC).strftime(_TIME)
    path = directory / f"{header.cluster_id}-{meta.last_included_index:020}-{moment}.snapshot"
    try:
        with SnapshotFileWriter(path, header) as writer:
            for part in _parts(snapshot, stopping):
                writer.write(part)
            writer.finish()
    except ConfigError as error:  # another node wrote the same backup there in the same second
        raise SnapshotFileError(f"{path} exists: let each node have its own directory") from error
    try:
        verify(path)
    except SnapshotFileError:
        path.unlink(missing_ok=True)
        raise
    removed = _remove_oldest(directory, header.cluster_id, path, keep)
    return WrittenBackup(BackupFile(path, meta.last_included_index, now_s), whole, removed)


def _parts(snapshot: Snapshot, stopping: Callable[[], bool]) -> Iterator[str]:
    for part in text_parts(snapshot.data):
        if stopping():
            raise SnapshotFileError("the node stops: the backup was not finished")
        yield part


def _require_space(directory: Path, needed: int) -> None:
    try:
        free = shutil.disk_usage(directory).free
    except OSError as error:
        raise SnapshotFileError(
            f"backup_dir {directory} cannot be used: {error.strerror}: make it, and let the node write there"
        ) from error
    if free < needed:
        raise DiskFull(
            f"backup_dir {directory} has {free} bytes free, and a backup needs {needed} with what it leaves free: free "
            "some space, or keep fewer backups"
        )


def _remove_oldest(directory: Path, cluster_id: str, newest: Path, keep: int) -> int:
    """Remove the oldest backups until `keep` are left. The new one, which was verified, always stays."""
    older = [each for each in backups_in(directory, cluster_id) if each.path != newest]
    removed = 0
    for each in older[: max(0, len(older) - keep + 1)]:
        try:
            each.path.unlink()
        except FileNotFoundError:
            continue  # another node, or the operator, has removed it
        except OSError as error:
            text = os.strerror(error.errno or errno.EIO)
            raise SnapshotFileError(f"{each.path} cannot be removed: {text}") from error
        removed += 1
    return removed
