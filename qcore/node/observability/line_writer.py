"""`LineWriter`: writes lines to a file in a separate thread. The caller never waits for a slow file.

A pipe without a reader, a slow disk or a stopped terminal could block the event loop for any time. So lines wait in a
bounded queue, in order. While the queue is full, lines are dropped and counted. Once there is room again, one line
gives the number of missing lines.
"""

from __future__ import annotations

import io
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TextIO

#: Bytes in one write call.
_CHUNK_BYTES: Final = 64 * 1024
#: Pause after a failed write, seconds: a full disk may have room later.
_PAUSE_S: Final = 0.5

#: What an order to go on in another file counts as, so that `flush` waits for it, bytes.
_NEXT_FILE_BYTES: Final = 1


@dataclass(slots=True, frozen=True)
class _NextFile:
    """An order to go on in another file; see `LineWriter.reopen`."""

    open_file: Callable[[], int | None]
    first_line: bytes


class LineWriter:
    """Writes whole lines to a file descriptor. Any thread may call any method; only `flush` and `close` wait.

    Args:
        file: the descriptor; this class closes it only when it goes on in another file.
        limit_bytes: the most bytes that may wait.
        missing: makes the line that reports how many lines were dropped. It may be replaced later.
        failed: called once, in the thread, when a write fails; nothing is written after that. If it is None, the lines
            that could not be written are dropped, and writing continues with later lines.
        is_torn: whether the file ends within a line. Then the first write begins a new line.

    Attributes:
        dropped: the number of lines dropped since the start.
    """

    def __init__(
        self,
        file: int,
        limit_bytes: int,
        missing: Callable[[int], str],
        failed: Callable[[OSError], None] | None = None,
        *,
        is_torn: bool = False,
    ) -> None:
        self.missing = missing
        self.dropped = 0
        self._file = file
        self._limit = limit_bytes
        self._failed = failed
        self._unreported = 0  # dropped lines not reported yet
        # Lines, and at its place among them each order to go on in another file.
        self._queue: deque[bytes | _NextFile] = deque()
        self._queued_bytes = 0
        self._torn = is_torn  # the last write ended within a line
        self._ended = False
        # Reentrant: the garbage collector may run within `put`, and a finaliser may log.
        self._changed = threading.Condition(threading.RLock())
        self._thread = threading.Thread(target=self._run, name="qcore lines", daemon=True)
        self._thread.start()

    def fileno(self) -> int:
        """The descriptor."""
        return self._file

    def put(self, lines: bytes) -> None:
        """Queue one or several lines, each with its newline; drop all of them if there is no room."""
        with self._changed:
            # After a drop, wait until half of the queue is free; else every other line would be missing.
            limit = self._limit // 2 if self._unreported else self._limit
            if self._ended or self._queued_bytes + len(lines) > limit:
                self._drop(lines)
                return
            if self._unreported:
                self._report_dropped()
            self._append(lines)
            self._changed.notify_all()

    def reopen(self, open_file: Callable[[], int | None], first_line: bytes = b"") -> None:
        """Go on in another file. The lines that were put before go to the old one, which is then closed.

        Args:
            open_file: called in the thread, opens the file; if it returns None, the old one stays.
            first_line: written to the file first if it is empty.
        """
        with self._changed:
            if not self._ended:
                self._queue.append(_NextFile(open_file, first_line))
                self._queued_bytes += _NEXT_FILE_BYTES
                self._changed.notify_all()

    def flush(self, timeout_s: float) -> bool:
        """Wait until all lines are written, at most this long; returns whether they are."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._queued_bytes or self._ended, timeout_s)

    def close(self, timeout_s: float) -> bool:
        """Write the waiting lines, for at most this long, and accept no more lines.

        Returns:
            False if the thread still waits for a slow reader. The descriptor must stay open then.
        """
        is_written = self.flush(timeout_s)
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        self._thread.join(timeout_s if is_written else 0)
        return not self._thread.is_alive()

    def stream(self) -> TextIO:
        """A text stream that writes its lines here."""
        return io.TextIOWrapper(
            io.BufferedWriter(_LineStream(self), 1),
            encoding="utf-8",
            errors="backslashreplace",
            newline="\n",
            line_buffering=True,
        )

    # -- below the lock --------------------------------------------------------------------------

    def _append(self, lines: bytes) -> None:
        self._queue.append(lines)
        self._queued_bytes += len(lines)

    def _drop(self, lines: bytes) -> None:
        number = lines.count(b"\n")
        self.dropped += number
        self._unreported += number

    def _report_dropped(self) -> None:
        number, self._unreported = self._unreported, 0
        self._append((self.missing(number) + "\n").encode(errors="backslashreplace"))

    # -- the thread ------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._queue or self._ended)
                if self._ended:
                    return
                chunk = self._take()
            if isinstance(chunk, _NextFile):
                error, size = self._use(chunk), _NEXT_FILE_BYTES
            else:
                error, size = self._write(chunk), len(chunk)
            if error is not None and self._failed is None:
                time.sleep(_PAUSE_S)
            with self._changed:
                self._queued_bytes -= size
                if error is not None and self._failed is not None:
                    self._drop_all()
                elif self._unreported and not self._queue and error is None:
                    self._report_dropped()
                self._changed.notify_all()
            if error is not None and self._failed is not None:
                self._failed(error)
                return

    def _take(self) -> bytes | _NextFile:
        first = self._queue.popleft()
        if isinstance(first, _NextFile):
            return first
        taken, size = [first], len(first)
        while self._queue:
            lines = self._queue[0]
            if isinstance(lines, _NextFile) or size + len(lines) > _CHUNK_BYTES:
                break
            self._queue.popleft()
            taken.append(lines)
            size += len(lines)
        return b"".join(taken)

    def _use(self, following: _NextFile) -> OSError | None:
        file = following.open_file()
        if file is None:
            return None
        before, self._file, self._torn = self._file, file, False
        os.close(before)
        is_empty = os.fstat(file).st_size == 0
        return self._write(following.first_line) if is_empty else None

    def _write(self, chunk: bytes) -> OSError | None:
        rest = memoryview(chunk)
        try:
            if self._torn:
                os.write(self._file, b"\n")
                self._torn = False
            while rest:
                try:
                    rest = rest[os.write(self._file, rest) :]
                except BlockingIOError:  # the file is non-blocking
                    waiting = select.poll()
                    waiting.register(self._file, select.POLLOUT)
                    waiting.poll(_PAUSE_S * 1000)
        except OSError as error:
            done = len(chunk) - len(rest)
            self._torn = done > 0 and chunk[done - 1 : done] != b"\n"
            with self._changed:
                self._drop(bytes(rest))
            return error
        return None

    def _drop_all(self) -> None:
        self._ended = True
        for lines in self._queue:
            if isinstance(lines, bytes):
                self._drop(lines)
        self._queue.clear()
        self._queued_bytes = 0


class _LineStream(io.RawIOBase):
    """The binary file below `LineWriter.stream`. A write usually ends with a whole line."""

    def __init__(self, writer: LineWriter) -> None:
        self.writer = writer
        self._partial_line = b""

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self.writer.fileno()

    def write(self, data: object) -> int:
        piece = bytes(data)  # type: ignore[call-overload]  # a buffer, as `RawIOBase` has it
        size = len(piece)
        end = piece.rfind(b"\n") + 1
        if not end and len(self._partial_line) + len(piece) > _CHUNK_BYTES:
            # This line is too long: end it here.
            piece, end = piece + b"\n", len(piece) + 1
        if end:
            self.writer.put(self._partial_line + piece[:end])
            self._partial_line = piece[end:]
        else:
            self._partial_line += piece
        return size
