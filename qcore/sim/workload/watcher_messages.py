"""The messages between a simulated watcher and a node. Each belongs to one connection of the watcher.

The messages of a node on a connection are numbered from 1, like the bytes of a TCP connection. If a number is missing,
a cut or a lossy link has lost a message, and the connection is broken: TCP never delivers what follows a lost segment.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from qcore.compiled_build import register_copies
from qcore.errors import QcoreError

Position = tuple[int, int]


@dataclass
class OpenWatch:
    """Connect, and begin a watch."""

    connection: int
    request: str
    after: Position | None
    timeout_ms: int


@dataclass
class Probe:
    """Ask whether the connection still exists."""

    connection: int


@dataclass
class CloseWatch:
    """End the watch, and close the connection."""

    connection: int


#: What a watcher sends.
ToNode: TypeAlias = OpenWatch | Probe | CloseWatch


@dataclass
class WatchBegun:
    """The watch has begun after `start`."""

    start: Position


@dataclass
class WatchNotice:
    """A change."""

    at: Position
    body: str


@dataclass
class WatchFailed:
    """The watch cannot begin, or has ended. The node closes the connection."""

    error: QcoreError


@dataclass
class ProbeAnswer:
    """The connection exists. `sent_us` is when the node sent this, after all notices of earlier changes."""

    sent_us: int


@dataclass
class ConnectionReset:
    """The connection does not exist (any more): no process listens, or it has died."""


@dataclass
class FromNode:
    """A message to the watcher. `number` counts the messages of the connection; 0 for a reset."""

    connection: int
    number: int
    content: WatchBegun | WatchNotice | WatchFailed | ProbeAnswer | ConnectionReset


register_copies(globals())
