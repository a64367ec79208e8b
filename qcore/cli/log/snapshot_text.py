"""Counts what a snapshot's text holds, part by part: the sessions, and the state machine's text after them.

`qcore.replica.sessions.session_text` has the two forms of the sessions' table.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(slots=True, frozen=True)
class SnapshotSummary:
    """What a snapshot holds.

    Attributes:
        sessions: how many sessions are open.
        replies: how many replies they keep for retries.
        session_bytes: size of their table.
        machine_bytes: size of the state machine's text.
    """

    sessions: int
    replies: int
    session_bytes: int
    machine_bytes: int


def summarise(parts: Iterator[str]) -> SnapshotSummary:
    """Read a snapshot's text to its end.

    Raises:
        ValueError: it does not begin with a table of sessions.
    """
    text = _Lines(parts)
    match json.loads(text.line()):
        case {"sessions": int() as sessions}:
            replies = sum(_skip_session(text) for _ in range(sessions))
        case list() as rows:
            sessions, replies = len(rows), sum(len(row[4]) for row in rows)
        case _:
            raise ValueError("it does not begin with a table of sessions")
    return SnapshotSummary(sessions, replies, text.read_bytes, text.rest_bytes())


def _skip_session(text: _Lines) -> int:
    """Read one session. Returns how many replies it keeps."""
    match json.loads(text.line()):
        case [int(), int(), int(), int(), int() as count]:
            left = count
            while left > 0:
                line = json.loads(text.line())
                if not isinstance(line, list) or not line:
                    raise ValueError("a line of the session table holds no replies")
                left -= len(line)
            return count
    raise ValueError("a line of the session table is not a session")


class _Lines:
    """The lines of a text that comes in parts."""

    def __init__(self, parts: Iterator[str]) -> None:
        self._parts = parts
        self._held = ""
        self._at = 0
        self.read_bytes = 0

    def line(self) -> str:
        """The next line, with its end.

        Raises:
            ValueError: the text ends before the line does.
        """
        pieces: list[str] = []
        while (end := self._held.find("\n", self._at)) < 0:
            pieces.append(self._held[self._at :])
            self._held, self._at = next(self._parts, ""), 0
            if not self._held:
                raise ValueError("it ends within the table of sessions")
        pieces.append(self._held[self._at : end + 1])
        self._at = end + 1
        line = "".join(pieces)
        self.read_bytes += len(line.encode())
        return line

    def rest_bytes(self) -> int:
        """Read the rest. Returns its size in bytes."""
        size = len(self._held[self._at :].encode())
        return size + sum(len(part.encode()) for part in self._parts)
