"""`AuditLog`: who has done what, as JSON lines: logins, changes of users, roles and tokens, admin requests, refusals.

| key | meaning |
|---|---|
| `time` | of the node's wall clock, UTC |
| `user` | the user; empty for none |
| `remote` | `host:port` of the other end |
| `action` | `login`, or the message |
| `what` | what it was about: a user, a role; never a secret |
| `index` | the log index at which it took effect, if it is known |
| `outcome` | `ok`, `accepted` for an admin request that was passed on, or the code of the error |
| `more_like_this` | how many similar lines were left out before this one |
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final, Protocol

from qcore.display import printable
from qcore.errors import QcoreError
from qcore.node.access.failed_logins import source_of
from qcore.node.observability.repeated_lines import RepeatLimiter

_MAX_CHARS: Final = 200


class LineSink(Protocol):
    """Takes lines and never waits; see `qcore.node.observability.line_writer.LineWriter`."""

    def put(self, lines: bytes) -> None:
        """Queue lines."""


class AuditLog:
    """Writes the lines.

    Args:
        sink: gets them; None for no audit log.
        wall_us: returns the wall clock.
        seconds: returns the monotonic clock.
    """

    def __init__(
        self, sink: LineSink | None, wall_us: Callable[[], int], seconds: Callable[[], float]
    ) -> None:
        self._sink = sink
        self._wall_us = wall_us
        self._seconds = seconds
        # Strangers must not fill the disk: refusals that repeat are counted.
        self._repeats: RepeatLimiter[tuple[str, str, str]] = RepeatLimiter()

    def login(self, remote: str, user: str, what: str, error: QcoreError | None) -> None:
        """A login, by a `password` or in a `header`."""
        if error is None:
            self.write(remote, user, "login", what)
        else:
            self._refused(remote, user, "login", what, error)

    def accepted(self, remote: str, user: str, action: str, what: str) -> None:
        """An admin request that its user may send. Whether it succeeds is in the node's log."""
        self.write(remote, user, action, what, outcome="accepted")

    def refused(self, remote: str, user: str, action: str, error: QcoreError) -> None:
        """A request that its user may not send."""
        self._refused(remote, user, action, "", error)

    def _refused(self, remote: str, user: str, action: str, what: str, error: QcoreError) -> None:
        # Not by user: a stranger chooses the names.
        more = self._repeats.admit((action, what, error.code), self._seconds())
        if more is not None:
            self.write(remote, user, action, what, error=error, more=more)

    def write(
        self,
        remote: str,
        user: str,
        action: str,
        what: str = "",
        *,
        index: int | None = None,
        error: QcoreError | None = None,
        more: int = 0,
        outcome: str = "ok",
    ) -> None:
        """Write a line; see the table above."""
        if self._sink is None:
            return
        if error is None and index is None:
            # Such a line needs no entry of the log, so a user could fill the disk with them. Its name is proved, so it
            # is part of the kind.
            kind = (action, what, f"{user} {source_of(remote)}")
            left_out = self._repeats.admit(kind, self._seconds())
            if left_out is None:
                return
            more = left_out
        time = datetime.fromtimestamp(self._wall_us() / 1e6, UTC)
        line: dict[str, object] = {
            "time": time.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "user": printable(user, _MAX_CHARS),
            "remote": remote,
            "action": action,
            "what": printable(what, _MAX_CHARS),
            "index": index,
            "outcome": outcome if error is None else error.code,
        }
        if more:
            line["more_like_this"] = more
        self._sink.put((json.dumps(line) + "\n").encode())
