"""What goes over the pipes between an executor and a worker process, beside reports."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

#: Before each message on the pipes, its length.
LENGTH_BYTES: Final = 8
#: What a worker writes at the begin of its position file: the job, and the place of the seed in it.
POSITION: Final = struct.Struct("<qq")


@dataclass(slots=True, frozen=True)
class SourceMessage:
    """A source is in a directory."""

    key: str
    directory: str
    random: bool


@dataclass(slots=True, frozen=True)
class JobMessage:
    """Run these seeds. `saved_as`: as in `Job`."""

    number: int
    source: str
    seeds: tuple[int, ...]
    saved_as: str
