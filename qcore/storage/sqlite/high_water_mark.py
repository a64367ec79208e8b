"""The high-water mark: a lower bound, kept outside the database, of what is durable.

SQLite ignores every write-ahead frame from the first damaged one on, as it must after a power loss. A flipped bit
there would silently take back acknowledged writes. So each commit gets a sequence number. The database stores it in
the same transaction, and after the commit it is also written here. A database that holds less than its mark has lost
acknowledged writes.

The mark is written after the commit and is synced only now and then. So after any crash it may lag behind the database
but never lead it, and no sound database is refused.
"""

from __future__ import annotations

import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

from qcore.core.log.restore import RECOVERY_ADVICE
from qcore.errors import LogCorrupt, StorageError
from qcore.release import unknown_format
from qcore.storage.files.synced_files import create_private_file, write_all
from qcore.storage.io_errors import error_from_os, is_full

#: Magic, sequence number of the commit, last log index after it, crc32 of these.
_SLOT = struct.Struct("<8sqqI")
_HEAD = struct.Struct("<8sqq")
_MAGIC = b"qcoremk1"
#: The magic ends with the number of the format, a digit.
_FORMAT = 1
#: Two slots in two disk sectors, used in turn, so a torn write spoils only the newer one.
_SLOT_OFFSETS = (0, 512)
_FILE_BYTES = 1024


@dataclass(slots=True, frozen=True)
class Mark:
    """A durable commit: its sequence number, and the last log index after it."""

    sequence: int
    last_index: int


class MarkFile:
    """The open mark file. Each commit costs one `pwrite` of 28 bytes and no extra sync."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            raise error_from_os(error, f"open {path}") from error

    @staticmethod
    def create(path: Path) -> None:
        """Create a durable mark file with sequence number 0, or replace an existing one. Its name is not synced.

        Raises:
            DiskFull: no space.
            StorageError: it cannot be written.
        """
        new = path.with_name(path.name + ".new")
        try:
            file = create_private_file(new)
            try:
                write_all(file, _encode(Mark(0, 0)).ljust(_FILE_BYTES, b"\0"), 0)
                os.fsync(file)
            finally:
                os.close(file)
            new.rename(path)
        except OSError as error:
            raise error_from_os(error, f"create {path}") from error

    @staticmethod
    def read(path: Path) -> Mark:
        """Return the mark of the newest readable slot.

        Raises:
            LogCorrupt: the file is missing, or neither slot is sound.
            StorageError: the file cannot be read, or a newer qcore wrote it.
        """
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            raise LogCorrupt(f"{path} is missing: {RECOVERY_ADVICE}") from None
        except OSError as error:
            raise error_from_os(error, f"read {path}") from error
        marks = [mark for offset in _SLOT_OFFSETS if (mark := _decode(content, offset))]
        if not marks:
            _check_newer(path, content)
            raise LogCorrupt(
                f"{path} is damaged: no readable mark in {len(content)} bytes. {RECOVERY_ADVICE}"
            )
        return max(marks, key=lambda mark: mark.sequence)

    def advance(self, mark: Mark) -> None:
        """Record a commit that is already durable.

        Raises:
            StorageError: the file cannot be written.
        """
        try:
            write_all(self._file, _encode(mark), _SLOT_OFFSETS[mark.sequence & 1])
        except OSError as error:
            # On a full copy-on-write disk the mark stays as it is, which is still a valid lower bound.
            if not is_full(error):
                raise error_from_os(error, f"write {self._path}") from error

    def sync(self) -> None:
        """Make the mark itself durable.

        Raises:
            StorageError: the sync failed.
        """
        try:
            os.fdatasync(self._file)
        except OSError as error:
            raise error_from_os(error, f"sync {self._path}") from error

    def close(self) -> None:
        """Close the file. Call it once."""
        os.close(self._file)


def check_sequence(path: Path, sequence: int | None, mark: Mark) -> None:
    """Refuse a database that holds less than was acknowledged.

    Args:
        path: the database.
        sequence: number of its last transaction; None if unknown.
        mark: the mark of the database.

    Raises:
        LogCorrupt: acknowledged transactions are missing.
    """
    if sequence is not None and sequence < mark.sequence:
        raise LogCorrupt(
            f"{path}: its last write has number {sequence}, but number {mark.sequence} "
            f"(log up to entry {mark.last_index}) was acknowledged: {path}-wal was cut short, "
            f"damaged or removed. {RECOVERY_ADVICE}"
        )


def _encode(mark: Mark) -> bytes:
    head = _HEAD.pack(_MAGIC, mark.sequence, mark.last_index)
    return head + zlib.crc32(head).to_bytes(4, "little")


def _check_newer(path: Path, content: bytes) -> None:
    """Refuse a mark of a newer format. A later format keeps the form of a slot: its magic, and its checksum at the end.

    Raises:
        StorageError: a newer qcore wrote it.
    """
    for offset in _SLOT_OFFSETS:
        slot = content[offset : offset + _SLOT.size]
        is_mark = slot.startswith(_MAGIC[:-1]) and slot[7:8].isdigit()
        if is_mark and slot[-4:] == struct.pack("<I", zlib.crc32(slot[:-4])):
            reason = unknown_format(int(slot[7:8]), _FORMAT)
            raise StorageError(f"{path} {reason}: start the node with the qcore that wrote it")


def _decode(content: bytes, offset: int) -> Mark | None:
    slot = content[offset : offset + _SLOT.size]
    if len(slot) < _SLOT.size:
        return None
    magic, sequence, last_index, checksum = _SLOT.unpack(slot)
    if magic != _MAGIC or checksum != zlib.crc32(slot[:-4]):
        return None
    return Mark(sequence, last_index)
