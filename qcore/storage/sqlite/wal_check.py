"""Reads SQLite's write-ahead file before SQLite does, to distinguish damage from the trace of a crash.

SQLite's recovery stops at the first frame with a wrong checksum and forgets it and all frames after it. SQLite cannot
know better, but qcore can. qcore syncs after every transaction, so after a crash or power loss only the *last*
transaction can be unsynced, incomplete or torn. If two commit frames of the same generation (salt) follow the sound
part, synced transactions are damaged. The format is documented at
https://www.sqlite.org/fileformat2.html#the_write_ahead_log .

This check has a limit: damage to the very last transaction looks like a torn one, and so does damage to the commit
frame of the last but one. The high-water mark (`qcore.storage.sqlite.high_water_mark`) detects both, unless a power
loss took the newest marks.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from qcore.core.log.restore import RECOVERY_ADVICE
from qcore.errors import LogCorrupt
from qcore.storage.io_errors import error_from_os

HEADER_BYTES = 32
FRAME_HEADER_BYTES = 24
_MAGIC_LITTLE = 0x377F0682
_MAGIC_BIG = 0x377F0683
_MASK = 0xFFFFFFFF
_HEADER = struct.Struct(">8I")
_FRAME_HEADER = struct.Struct(">6I")


@dataclass(slots=True, frozen=True)
class _Frame:
    number: int
    is_commit: bool
    salt: tuple[int, int]


def check_wal(path: Path, page_size: int) -> int:
    """Check the write-ahead file against the states in which a crash could have left it. Changes nothing.

    Returns:
        How many frames SQLite's recovery accepts: those up to the last sound commit.

    Args:
        path: the `-wal` file; it may be absent or empty.
        page_size: of the database, bytes.

    Raises:
        LogCorrupt: frames of acknowledged transactions are damaged; names the file and the frame.
        StorageError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return _check(path, file, page_size)
    except FileNotFoundError:
        return 0
    except OSError as error:
        raise error_from_os(error, f"read {path}") from error


def _check(path: Path, file: BinaryIO, page_size: int) -> int:
    header = file.read(HEADER_BYTES)
    if len(header) < HEADER_BYTES:
        return 0
    magic, _version, size, _checkpoint, salt1, salt2, sum1, sum2 = _HEADER.unpack(header)
    word_format = "<" if magic == _MAGIC_LITTLE else ">"
    sums = _checksum(word_format, header[:24], 0, 0)
    is_sound = magic in (_MAGIC_LITTLE, _MAGIC_BIG) and size == page_size and sums == (sum1, sum2)
    if not is_sound:
        # The header is synced before any frame. A bad header is legal only if no frame follows.
        if any(frame.salt != (0, 0) for frame in _frame_headers(file, page_size, 1)):
            raise LogCorrupt(
                f"{path}: the header is damaged and frames follow it. {RECOVERY_ADVICE}"
            )
        return 0
    last_commit = _last_sound_commit(file, page_size, word_format, (salt1, salt2), sums)
    seen_commit = False
    for frame in _frame_headers(file, page_size, last_commit + 1):
        if frame.salt != (salt1, salt2):
            continue
        if seen_commit:
            raise LogCorrupt(
                f"{path}: frame {last_commit + 1} (or one soon after it) is damaged: the sound part "
                f"ends there, but committed transactions follow, up to frame {frame.number} "
                f"at least. {RECOVERY_ADVICE}"
            )
        seen_commit = frame.is_commit
    return last_commit


def _last_sound_commit(
    file: BinaryIO,
    page_size: int,
    word_format: str,
    salt: tuple[int, int],
    sums: tuple[int, int],
) -> int:
    """Number of the last commit frame that SQLite's recovery would accept, or 0."""
    file.seek(HEADER_BYTES)
    number = last_commit = 0
    while len(frame := file.read(FRAME_HEADER_BYTES + page_size)) == FRAME_HEADER_BYTES + page_size:
        page, commit_size, salt1, salt2, sum1, sum2 = _FRAME_HEADER.unpack_from(frame)
        if (salt1, salt2) != salt or page == 0:
            break
        sums = _checksum(word_format, frame[:8] + frame[FRAME_HEADER_BYTES:], *sums)
        if sums != (sum1, sum2):
            break
        number += 1
        if commit_size:
            last_commit = number
    return last_commit


def _frame_headers(file: BinaryIO, page_size: int, first: int) -> Iterator[_Frame]:
    """The headers of all frames from number `first` to the end of the file, sound or not."""
    stride = FRAME_HEADER_BYTES + page_size
    number = first
    while True:
        file.seek(HEADER_BYTES + (number - 1) * stride)
        head = file.read(FRAME_HEADER_BYTES)
        if len(head) < FRAME_HEADER_BYTES:
            return
        _page, commit_size, salt1, salt2, _sum1, _sum2 = _FRAME_HEADER.unpack(head)
        yield _Frame(number, commit_size != 0, (salt1, salt2))
        number += 1


def _checksum(word_format: str, content: bytes, s0: int, s1: int) -> tuple[int, int]:
    """SQLite's running checksum over pairs of 32-bit words (file format, section 4.2)."""
    words = struct.unpack(f"{word_format}{len(content) // 4}I", content)
    for even, odd in zip(words[::2], words[1::2], strict=True):
        s0 = (s0 + even + s1) & _MASK
        s1 = (s1 + odd + s0) & _MASK
    return s0, s1
