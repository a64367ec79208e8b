"""The pages of a database that another process may be writing, as of one committed transaction.

A running node locks its database exclusively, so SQLite refuses every other reader. A reader that took a lock would
also stop the checkpoints of the write-ahead file. So this code reads both files itself, and takes no lock and creates
no file. The format is documented at https://www.sqlite.org/fileformat2.html .

A page comes from its last committed frame in the write-ahead file, else from the database. A checkpoint may copy newer
frames into the database while pages are being read, so what was read may mix two transactions: the reader must verify
it. If it is wrong and `changed` is True, the reader must read again.
"""

from __future__ import annotations

import os
import struct
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from qcore.errors import StorageError
from qcore.files import open_regular
from qcore.storage.io_errors import error_from_os
from qcore.storage.sqlite.database import PAGE_SIZE, check_header
from qcore.storage.sqlite.wal_check import (
    FRAME_HEADER_BYTES,
    HEADER_BYTES,
    check_wal,
)

_FRAME_BYTES: Final = FRAME_HEADER_BYTES + PAGE_SIZE
_FRAME_HEADER = struct.Struct(">4I")
#: Where the header of the write-ahead file has the two salts, which change when it is written from its start again.
_SALTS = slice(16, 24)
#: Frames whose headers are read at a time.
_FRAMES_AT_A_TIME: Final = 64


class FrameIndex:
    """Which frame of the write-ahead file holds each page. Only the frames that were added since are read again."""

    def __init__(self) -> None:
        self.frames: dict[int, int] = {}
        self._salts = b""
        self._read = 0

    def clear(self) -> None:
        """Forget all frames: there is no write-ahead file."""
        self.frames, self._read, self._salts = {}, 0, b""

    def refresh(self, descriptor: int, limit: int | None) -> None:
        """Read the frames that were added.

        Args:
            descriptor: the write-ahead file.
            limit: the last sound frame; None to believe the headers of the frames.
        """
        salts = os.pread(descriptor, HEADER_BYTES, 0)[_SALTS]
        if salts != self._salts or limit is not None:
            self.frames, self._read, self._salts = {}, 0, salts
        if len(salts) < 8:
            return
        number = self._read
        uncommitted: dict[int, int] = {}
        while True:
            start = HEADER_BYTES + number * _FRAME_BYTES
            content = os.pread(descriptor, _FRAMES_AT_A_TIME * _FRAME_BYTES, start)
            for offset in range(0, len(content) - _FRAME_BYTES + 1, _FRAME_BYTES):
                page, commit_size, *found = _FRAME_HEADER.unpack_from(content, offset)
                ended = limit is not None and number >= limit
                if ended or page == 0 or struct.pack(">2I", *found) != salts:
                    return
                uncommitted[page] = number
                number += 1
                if commit_size:
                    self.frames.update(uncommitted)
                    uncommitted.clear()
                    self._read = number
            if len(content) < _FRAMES_AT_A_TIME * _FRAME_BYTES:
                return


class PageView:
    """The pages as of one transaction. A context manager; keep it for a moment only.

    Args:
        path: the database.
        index: kept between views of the same files; it makes a new view cheap.
        verify: read the whole write-ahead file, and ignore its frames from the first on whose checksum is wrong.

    Raises:
        LogCorrupt: the database is no database, or the write-ahead file is damaged.
        StorageError: a file is missing, or cannot be read.
    """

    def __init__(self, path: Path, index: FrameIndex, *, verify: bool = False) -> None:
        self._path = path
        self._wal_path = path.with_name(path.name + "-wal")
        self._index = index
        self._database, self._wal = -1, -1
        try:
            self._database = _open(path)  # first: the checks below would wait for a FIFO
            with suppress(FileNotFoundError):
                self._wal = _open(self._wal_path)
            self._before = self._state()
            self._read_index(verify)
        except FileNotFoundError:
            self.close()
            raise StorageError(f"{path} is gone: it was removed while it was read") from None
        except OSError as error:
            self.close()
            raise error_from_os(error, f"read {path}") from error
        except BaseException:
            self.close()
            raise

    def _read_index(self, verify: bool) -> None:
        check_header(self._path)
        if self._wal < 0:
            self._index.clear()
            return
        limit = check_wal(self._wal_path, PAGE_SIZE) if verify else None
        self._index.refresh(self._wal, limit)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the files."""
        for descriptor in (self._database, self._wal):
            if descriptor >= 0:
                os.close(descriptor)
        self._database = self._wal = -1

    def page(self, number: int) -> bytes:
        """The content of a page, counted from 1; shorter if the file ends before it.

        Raises:
            StorageError: it cannot be read.
        """
        frame = self._index.frames.get(number)
        try:
            if frame is None:
                return os.pread(self._database, PAGE_SIZE, (number - 1) * PAGE_SIZE)
            start = HEADER_BYTES + frame * _FRAME_BYTES + FRAME_HEADER_BYTES
            return os.pread(self._wal, PAGE_SIZE, start)
        except (OSError, OverflowError) as error:
            if isinstance(error, OverflowError):
                return b""
            raise error_from_os(error, f"read {self._path}") from error

    def changed(self) -> bool:
        """Whether another process has written to the files since this view was opened."""
        return self._state() != self._before or not _is_at(self._wal, self._wal_path)

    def _state(self) -> tuple[int, ...]:
        state: list[int] = []
        for descriptor in (self._database, self._wal):
            if descriptor >= 0:
                status = os.fstat(descriptor)
                state += (status.st_size, status.st_mtime_ns)
        return tuple(state)


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether the path still names the open file, or still names none if there was none."""
    if descriptor < 0:
        return not path.exists()
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def _open(path: Path) -> int:
    with open_regular(path) as file:
        return os.dup(file.fileno())
