"""Opens the file of the audit log. Only its owner may read it."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from qcore.errors import ConfigError
from qcore.files import open_to_append
from qcore.node.observability.line_writer import LineWriter
from qcore.node.observability.logs import NodeLog

_MAX_QUEUED_BYTES: Final = 4 * 1024 * 1024
#: How long a node that ends waits for a slow file, seconds.
_FINAL_FLUSH_S: Final = 2.0


def open_audit_file(path: Path, log: NodeLog) -> LineWriter:
    """A writer that appends to the file. Lines that find no room are counted, and the log names the number.

    Raises:
        ConfigError: the file cannot be opened.
    """
    try:
        file = open_private(path)
    except OSError as error:
        raise ConfigError(f"--audit-log {path}: {error.strerror}") from None

    def missing(number: int) -> str:
        log.error("audit lines dropped: the file was too slow", number=number)
        return f'{{"action":"missing","number":{number}}}'

    return LineWriter(file, _MAX_QUEUED_BYTES, missing)


def open_private(path: Path) -> int:
    """Open the file to append to it; returns the descriptor.

    Raises:
        OSError: it cannot be opened.
    """
    file = open_to_append(path)
    if stat.S_ISREG(os.fstat(file).st_mode):
        os.fchmod(file, 0o600)
    return file


def close_audit_file(writer: LineWriter) -> None:
    """Write the waiting lines, and close the file. If it is too slow, it stays open for the thread."""
    if writer.close(_FINAL_FLUSH_S):
        os.close(writer.fileno())
