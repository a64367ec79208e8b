"""Reads a file that the user names, or standard input."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from qcore.errors import ConfigError
from qcore.files import decode_text, read_regular

#: The largest file, bytes: that of a topology (docs/reference/limits.md).
_MAX_BYTES: Final = 48 * 1024 * 1024


def read_text(file: str) -> str:
    """The text of a file, or for `-` of standard input.

    Raises:
        ConfigError: it cannot be read, is too large, or is not UTF-8.
    """
    if file != "-":
        try:
            return decode_text(read_regular(Path(file), _MAX_BYTES), file)
        except OSError as error:
            raise ConfigError(
                f"cannot read {file}: {error.strerror}; name another file, or - for standard input"
            ) from None
    if sys.stdin is None:
        raise ConfigError("standard input is closed: name a file")
    data = sys.stdin.buffer.read(_MAX_BYTES + 1)
    if len(data) > _MAX_BYTES:
        raise ConfigError(f"standard input is larger than {_MAX_BYTES} bytes")
    return decode_text(data, "standard input")
