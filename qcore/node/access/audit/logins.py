"""`Logins`: records who logs in, and who fails: in the audit log, in a metric, and in the node's log."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from qcore.errors import Overloaded, QcoreError, Unauthenticated
from qcore.node.access.audit.audit_log import AuditLog
from qcore.node.access.audit.repeated_records import RepeatedRecords
from qcore.node.access.failed_logins import source_of
from qcore.node.observability.logs import NodeLog
from qcore.node.observability.metrics import NodeMetrics

#: How a client proves who it is; `header` stands for a header that cannot be read.
Proof = Literal["password", "token", "recovery token", "header"]
_FAILED: Final = "login failed"


class EndedToken(Unauthenticated):
    """A token of this cluster that has expired or was ended. A program that renews its token too late sends it."""


@dataclass(slots=True, frozen=True)
class _Failure:
    """What a line of the node's log says of logins that failed."""

    user: str
    remote: str
    reason: str
    source: str


class Logins:
    """The logins at one node.

    Args:
        audit: gets a line for each login.
        metrics: counts failures.
        log: gets a line for the first failure of an address, and one a minute for those that follow.
        seconds: returns the monotonic clock.
    """

    def __init__(
        self, audit: AuditLog, metrics: NodeMetrics, log: NodeLog, seconds: Callable[[], float]
    ) -> None:
        self._audit = audit
        self._failures = metrics.failed_logins
        self._log = log
        self._seconds = seconds
        self._repeats: RepeatedRecords[tuple[str, ...], _Failure] = RepeatedRecords(_in_common)

    def succeeded(self, remote: str, user: str, proof: Proof) -> None:
        """A client has proved who it is."""
        self._audit.login(remote, user, proof, None)

    def failed(self, remote: str, user: str, proof: Proof, error: QcoreError) -> None:
        """A client has not proved that it is this user; the name is empty if it gave none."""
        self._audit.login(remote, user, proof, error)
        self.note_failure(remote, user, proof, error)

    def note_failure(self, remote: str, user: str, proof: Proof, error: QcoreError) -> None:
        """Count and log a failure that the audit log has as another request."""
        match error:
            case Overloaded():
                reason = "throttled"
            case EndedToken():
                reason = "ended_token"
            case _:
                reason = "token" if proof == "recovery token" else proof
        self._failures[reason,] += 1
        failure = _Failure(user, remote, reason, source_of(remote))
        if self._repeats.admit((reason, failure.source), (reason,), failure, self._seconds()):
            self._log.warning(_FAILED, user=user, remote=remote, reason=reason)

    def tick(self, *, at_end: bool = False) -> None:
        """Log how many failures came since the last line. Call it every second or so."""
        for summary in self._repeats.summaries(self._seconds(), of_all=at_end):
            failure = summary.record
            self._log.warning(
                _FAILED,
                user=failure.user,
                remote=failure.remote,
                reason=failure.reason,
                more=summary.number,
                seconds=summary.seconds,
            )


def _in_common(first: _Failure, other: _Failure) -> _Failure:
    source = first.source if first.source == other.source else ""
    return _Failure(first.user if first.user == other.user else "", source, first.reason, source)
