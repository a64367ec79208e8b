"""The checksum at the end of each line of a recording. It distinguishes a damaged line from a difference.

`TEXT<tab>CRC`, where CRC is the CRC-32 of the text in 8 hexadecimal digits. A tab never occurs in the JSON that qcore
writes, so a line shows by itself whether it has a checksum. Lines of format version 1 have none.
"""

from __future__ import annotations

from typing import Final
from zlib import crc32

_DIGITS: Final = 8
_SUFFIX: Final = 1 + _DIGITS


def with_checksum(line: str) -> bytes:
    """The line with its checksum, without a newline. A lone surrogate is kept: it must not end the recording."""
    data = line.encode("utf-8", "surrogatepass")
    return b"%b\t%08x" % (data, crc32(data))


def without_checksum(line: bytes) -> bytes:
    """The text of a line, without its checksum and newline; the line may have no checksum.

    Raises:
        ValueError: the checksum is another one.
    """
    line = line.removesuffix(b"\n")
    if line[-_SUFFIX:-_DIGITS] != b"\t":
        return line
    text, stored = line[:-_SUFFIX], line[-_DIGITS:]
    found = b"%08x" % crc32(text)
    if found != stored:
        raise WrongChecksum(
            f"the line is damaged: its checksum is {found.decode()}, and {stored.decode(errors='replace')} is stored"
        )
    return text


class WrongChecksum(ValueError):
    """A line changed after it was written."""
