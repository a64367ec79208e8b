"""`AuditLog`: who has done what, as JSON lines: logins, changes of users, admin requests, refusals.

A request has one line, which is written when it ends. `AUDIT_KEYS` says what a line holds. Lines without a log index
that repeat are counted, because they cost their sender nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final, Literal, Protocol

from qcore.display import printable
from qcore.errors import (
    AccessRefused,
    ChangeRefused,
    ConfigError,
    IncompatibleVersion,
    NotLeader,
    OutcomeUnknown,
    Overloaded,
    PermissionDenied,
    QcoreError,
    QuotaExceeded,
    Refused,
    RemoteProtocolError,
    Unauthenticated,
)
from qcore.node.access.audit.repeated_records import RepeatedRecords
from qcore.node.access.failed_logins import source_of

#: The keys of a line, and what they mean. docs/security.md has the same table.
AUDIT_KEYS: Final = {
    "time": "when it ended, by the node's wall clock, UTC",
    "user": "the user; empty for none. For a failed login, the name that was given",
    "remote": "`host:port` of the other end",
    "action": "`login`, the name of the message, `GET` for a page, or `read`, `write` and `watch` for data",
    "what": "for a login `password`, `token`, `recovery token` or `header`; else the user, role, nodes or token that "
    "it was about, with what changed: roles, `password`. Never a secret",
    "index": "the log index at which it had taken effect; null if it did not go through the log",
    "outcome": "`done`; `refused`: it changed nothing; `failed`; `unknown`: it may still take effect",
    "error": "the code of the error; null for none",
    "why": "its text; empty for none",
    "more": "only in a summary: how many lines like this one were left out",
    "seconds": "only in a summary: in how many seconds",
}

_MAX_CHARS: Final = 200
_Outcome = Literal["done", "refused", "failed", "unknown"]
#: Errors of requests that a node or the cluster did not accept.
_REFUSALS: Final = (
    AccessRefused,
    ChangeRefused,
    ConfigError,
    IncompatibleVersion,
    NotLeader,
    Overloaded,
    PermissionDenied,
    QuotaExceeded,
    Refused,
    RemoteProtocolError,
    Unauthenticated,
)


class LineSink(Protocol):
    """Takes lines and never waits; see `qcore.node.observability.line_writer.LineWriter`."""

    def put(self, lines: bytes) -> None:
        """Queue lines."""


@dataclass(slots=True, frozen=True)
class _Record:
    """What a line says; see `AUDIT_KEYS`. The source is the part of `remote` by which lines are counted."""

    user: str
    remote: str
    action: str
    what: str
    index: int | None
    outcome: _Outcome
    error: str | None
    why: str
    source: str


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
        self._repeats: RepeatedRecords[tuple[str, ...], _Record] = RepeatedRecords(_in_common)

    @property
    def is_on(self) -> bool:
        """Whether there is an audit log."""
        return self._sink is not None

    def login(self, remote: str, user: str, what: str, error: QcoreError | None) -> None:
        """A login. If it failed, anyone may have given the name."""
        self._record(remote, user, "login", what, error=error, is_proved=error is None)

    def refused(self, remote: str, user: str, action: str, error: QcoreError) -> None:
        """A page, or a request that is recorded only if its user may not send it."""
        self._record(remote, user, action, "", error=error)

    def ended(
        self,
        remote: str,
        user: str,
        action: str,
        what: str,
        index: int | None,
        error: QcoreError | None,
    ) -> None:
        """A request ended that is always recorded.

        Of a node that names the leader there is no line: the client goes on to that one, which writes it.
        """
        if not (isinstance(error, NotLeader) and error.leader_id is not None):
            self._record(remote, user, action, what, index=index, error=error)

    def tick(self, *, at_end: bool = False) -> None:
        """Write the summaries that are due, or all. Call it every second or so."""
        for summary in self._repeats.summaries(self._seconds(), of_all=at_end):
            self._write(summary.record, more=summary.number, seconds=summary.seconds)

    def _record(
        self,
        remote: str,
        user: str,
        action: str,
        what: str,
        *,
        index: int | None = None,
        error: QcoreError | None = None,
        is_proved: bool = True,
    ) -> None:
        if self._sink is None:
            return
        code, why = (None, "") if error is None else (error.code, printable(str(error), _MAX_CHARS))
        record = _Record(
            printable(user, _MAX_CHARS),
            remote,
            action,
            printable(what, _MAX_CHARS),
            index,
            _outcome(error),
            code,
            why,
            source_of(remote),
        )
        if index is None:
            # What a refused request names is no part of its kind, because its sender has chosen it freely.
            who = record.user if is_proved else ""
            about = record.what if error is None or action == "login" else ""
            kind = (action, record.outcome, code or "", about, who, record.source)
            coarse_kind = (action, record.outcome, code or "")
            if not self._repeats.admit(kind, coarse_kind, record, self._seconds()):
                return
        self._write(record)

    def _write(self, record: _Record, **of_summary: int) -> None:
        time = datetime.fromtimestamp(self._wall_us() / 1e6, UTC)
        line: dict[str, object] = {
            "time": time.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "user": record.user,
            "remote": record.remote,
            "action": record.action,
            "what": record.what,
            "index": record.index,
            "outcome": record.outcome,
            "error": record.error,
            "why": record.why,
            **of_summary,
        }
        if self._sink is not None:
            self._sink.put((json.dumps(line) + "\n").encode())


def _outcome(error: QcoreError | None) -> _Outcome:
    if error is None:
        return "done"
    if isinstance(error, OutcomeUnknown):
        return "unknown"
    return "refused" if isinstance(error, _REFUSALS) else "failed"


def _in_common(first: _Record, other: _Record) -> _Record:
    """A record of both: what differs is left out, and of the ends the address stays."""

    def same(one: str, another: str) -> str:
        return one if one == another else ""

    return replace(
        first,
        user=same(first.user, other.user),
        remote=first.remote if first.remote == other.remote else same(first.source, other.source),
        source=same(first.source, other.source),
        what=same(first.what, other.what),
        why=same(first.why, other.why),
    )
