"""Counts what a snapshot's text holds, part by part: users, sessions, and the state machine's text after them.

`qcore.replica.access.access_text` has the form of the users' table, and `qcore.replica.sessions.session_text` the two
forms of the sessions' table.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

from qcore.replica.access.access_records import redacted
from qcore.replica.access.access_text import TABLE_BEGIN


@dataclass(slots=True, frozen=True)
class SnapshotSummary:
    """What a snapshot holds.

    Attributes:
        sessions: how many sessions are open.
        replies: how many replies they keep for retries.
        session_bytes: size of their table.
        machine_bytes: size of the state machine's text.
        users: how many users there are.
        access_bytes: size of the table of users, roles and join tokens.
    """

    sessions: int
    replies: int
    session_bytes: int
    machine_bytes: int
    users: int = 0
    access_bytes: int = 0


def summarise(parts: Iterator[str]) -> SnapshotSummary:
    """Read a snapshot's text to its end.

    Raises:
        ValueError: it does not begin with a table of sessions.
    """
    text = _Lines(parts)
    first = text.line()
    users, lines = _access_rows(first)
    for _ in range(lines):
        text.line()
    access_bytes = text.read_bytes if lines else 0
    match json.loads(text.line() if lines else first):
        case {"sessions": int() as sessions}:
            replies = sum(_skip_session(text) for _ in range(sessions))
        case list() as rows:
            sessions, replies = len(rows), sum(len(row[4]) for row in rows)
        case _:
            raise ValueError("it does not begin with a table of sessions")
    session_bytes = text.read_bytes - access_bytes
    return SnapshotSummary(sessions, replies, session_bytes, text.rest_bytes(), users, access_bytes)


def without_hashes(parts: Iterator[str]) -> Iterator[str]:
    """A snapshot's text, with a digest in the place of each password hash.

    Raises:
        ValueError: it ends within the table of users.
    """
    text = _Lines(parts)
    first = text.line()
    yield first
    for _ in range(_access_rows(first)[1]):
        yield redacted(text.line())
    yield from text.rest()


def holds_users(begin: str) -> bool:
    """Whether a snapshot whose text begins so has users."""
    return _access_rows(begin.partition("\n")[0])[0] > 0


def _access_rows(line: str) -> tuple[int, int]:
    """How many users a snapshot has, and how many lines of their table follow its first one."""
    if line.startswith(TABLE_BEGIN):
        match json.loads(line):
            case {"access": [int() as users, int() as roles, int() as tokens]}:
                return users, users + roles + tokens
    return 0, 0


def _skip_session(text: _Lines) -> int:
    """Read one session. Returns how many replies it keeps."""
    match json.loads(text.line()):
        case [int(), int(), int(), int(), int() as count, *_]:
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
        return sum(len(part.encode()) for part in self.rest())

    def rest(self) -> Iterator[str]:
        """Read the rest, in parts."""
        yield self._held[self._at :]
        yield from self._parts
