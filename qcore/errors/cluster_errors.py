"""The errors of requests, storage and transport."""

from __future__ import annotations

from typing import Self

from qcore.errors.error_registry import (
    DetailValue,
    QcoreError,
    count,
    hint_ms,
    optional_int,
    optional_text,
    scalars,
    word,
)

# -- configuration and protocol ----------------------------------------------------------------------


class ConfigError(QcoreError, code="ConfigError"):
    """A configuration value, scenario or topology file is wrong. The message names the field and the reason."""


class ProtocolError(QcoreError, code="ProtocolError"):
    """A message violates the wire protocol."""


class LocalProtocolError(ProtocolError, code="LocalProtocolError"):
    """This program tried to send something that the protocol does not allow: a bug or a bad argument."""


class RemoteProtocolError(ProtocolError, code="RemoteProtocolError"):
    """The other end sent something that the protocol does not allow."""


class ErrorReply(RemoteProtocolError):
    """The other end did not understand an envelope that this end sent; `detail()` includes its explanation.

    Args:
        text: the `error` of the `Error` envelope.
        detail: its `detail`.
    """

    def __init__(self, text: object, detail: object = None) -> None:
        super().__init__(text if isinstance(text, str) else "an error without a text")
        self._detail = scalars(detail)

    def detail(self) -> dict[str, DetailValue]:
        return {**super().detail(), **self._detail}


class InvalidField(RemoteProtocolError):
    """A field of an envelope does not fit its other fields.

    Args:
        field: the path of the field, such as `Perform.session`.
        reason: what is wrong with it, and what to do.
    """

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self._field = field

    def detail(self) -> dict[str, DetailValue]:
        return {**super().detail(), "field": self._field}


class HelloRejected(RemoteProtocolError, code="HelloRejected"):
    """The peer rejected this node, or is not the expected node."""


# -- requests ----------------------------------------------------------------------------------------


class ProposalError(QcoreError, code="ProposalError"):
    """A request to the cluster did not end in a committed result."""


class NotLeader(
    ProposalError,
    code="NotLeader",
    fields={"leader_id": optional_int, "leader_addr": optional_text},
):
    """The node is not the leader and could not forward the request. Nothing was applied.

    Args:
        leader_id: the leader's node id, or None while no leader is known.
        leader_addr: the leader's `host:port`, or None.
        text: replaces the default message.
    """

    retryable = True

    def __init__(
        self,
        leader_id: int | None = None,
        leader_addr: str | None = None,
        text: str | None = None,
    ) -> None:
        self.leader_id = leader_id
        self.leader_addr = leader_addr
        where = (
            "no leader is known yet: retry in a moment"
            if leader_id is None
            else f"send it to node {leader_id} at {leader_addr or 'an unknown address'}"
        )
        super().__init__(text or f"this node is not the leader; {where}")


class ProposalDropped(ProposalError, code="ProposalDropped"):
    """Another leader's committed entry replaced the entry, so it was certainly not applied."""

    retryable = True


class OutcomeUnknown(ProposalError, code="OutcomeUnknown"):
    """The result did not arrive in time. The request may or may not take effect."""


class DeadlineExceeded(ProposalError, code="DeadlineExceeded"):
    """A read could not be confirmed in time. A read has no effect, so it is safe to repeat."""

    retryable = True


class ChangeRefused(ProposalError, code="ChangeRefused", fields={"name": word}):
    """A membership change or leadership transfer was rejected. `name` gives the reason as one stable word."""

    def __init__(self, name: str, reason: str) -> None:
        self.name = name
        super().__init__(f"refused ({name}): {reason}")


class AccessRefused(ProposalError, code="AccessRefused", fields={"name": word}):
    """A change of users, roles or join tokens was rejected. `name` gives the reason as one stable word."""

    def __init__(self, name: str, reason: str) -> None:
        self.name = name
        super().__init__(f"refused ({name}): {reason}")


class Unauthenticated(ProposalError, code="Unauthenticated"):
    """The node does not know who sends: no token or password was given, or it is not valid (any more).

    The request had no effect. Authenticate, then send it again.
    """


class IncompatibleVersion(QcoreError, code="IncompatibleVersion"):
    """The program runs a different state machine from the cluster's, or does not support the active version."""


class NotCaughtUp(ProposalError, code="NotCaughtUp"):
    """A new learner did not catch up in time.

    Either it remains a learner and keeps catching up; or it never answered, so the leader removed it again or
    restored its previous address. The message states which.
    """


class TransferFailed(
    ProposalError, code="TransferFailed", fields={"leader_id": optional_int, "term": optional_int}
):
    """The leadership did not move as requested, and this request will not move it any more.

    Args:
        text: what happened instead.
        leader_id, term: the leader and its term, as far as the node knows them.
    """

    def __init__(self, text: str, leader_id: int | None = None, term: int | None = None) -> None:
        self.leader_id = leader_id
        self.term = term
        super().__init__(text)


class TransferUnknown(OutcomeUnknown, code="TransferUnknown"):
    """A leadership transfer is still in progress, or its outcome is unknown. Check which node leads."""


class SessionExpired(ProposalError, code="SessionExpired"):
    """The client session is not open. Commands sent in it earlier may have been applied."""


class SequenceRefused(ProposalError, code="SequenceRefused"):
    """The client has already acknowledged this sequence number, or too many recorded replies await acknowledgement."""


class TooStale(ProposalError, code="TooStale"):
    """The state of this node is older than the stale read allows. Try another node or another kind of read."""

    retryable = True


class TooLarge(ProposalError, code="TooLarge"):
    """The command exceeds the size limit. It was rejected before it was appended."""


class ResultTooLarge(ProposalError, code="ResultTooLarge"):
    """The result of the state machine is too large to send. A command still took effect: read the state."""


class ResultInvalid(ProposalError, code="ResultInvalid"):
    """The result of the state machine is not text that can be sent: a bug in the machine. A command took effect."""


class Overloaded(ProposalError, code="Overloaded", fields={"retry_after_ms": hint_ms}):
    """A queue is full, or a leadership transfer is in progress. Nothing was appended.

    Args:
        text: what is full, and when to retry.
        retry_after_ms: how long to wait before a retry, at least 1. `qcore.replica.requests.flow_control` computes
            it. Add a random time, so that the rejected clients do not all retry together.
    """

    retryable = True

    def __init__(self, text: str, retry_after_ms: int = 1) -> None:
        self.retry_after_ms = retry_after_ms
        super().__init__(text)

    @classmethod
    def because(cls, why: str, retry_after_ms: int) -> Self:
        """The error with the default message around the reason."""
        return cls(f"{why}; nothing was appended: retry in {retry_after_ms} ms", retry_after_ms)


class QuotaExceeded(
    ProposalError,
    code="QuotaExceeded",
    fields={
        "quota": word,
        "limit": count,
        "use": count,
        "retry_after_ms": optional_int,
    },
):
    """A quota is used up. Nothing was appended.

    Args:
        text: which quota, its limit, its use, and what to do.
        quota: `state`, `log` or `disk` for what the cluster stores; `connection_requests`, `connection_bytes`,
            `user_requests` or `user_bytes` for what a client sends in a second.
        limit: the configured limit, bytes or requests.
        use: what is used now. For `disk`: what is free.
        retry_after_ms: when a retry is worth its cost. None: not before others have made room.
    """

    retryable = True

    def __init__(
        self, text: str, quota: str, limit: int, use: int, retry_after_ms: int | None = None
    ) -> None:
        self.quota = quota
        self.limit = limit
        self.use = use
        self.retry_after_ms = retry_after_ms
        super().__init__(text)


# -- files, connections, the node itself -------------------------------------------------------------


class StorageError(QcoreError, code="StorageError"):
    """The durable log cannot be read or written. The message names the file."""


class SnapshotGone(QcoreError, code="SnapshotGone"):
    """The node does not hold (or no longer holds) the snapshot to read. Request a new one."""


class SnapshotFileError(QcoreError, code="SnapshotFileError"):
    """A snapshot file cannot be read or written, or is damaged. The message names the file and the reason."""


class LogCorrupt(StorageError, code="LogCorrupt"):
    """A checksum or a structural check failed: the file was truncated or changed."""


class DiskFull(StorageError, code="DiskFull"):
    """No space is left for the write, which had no effect. Reads continue while there is a leader."""

    retryable = True


class DataDirLocked(StorageError, code="DataDirLocked"):
    """Another process uses the data directory. The message names it."""


class TransportError(QcoreError, code="TransportError"):
    """A connection could not be opened, broke, or made no progress within its timeout."""

    retryable = True


class TlsFailed(TransportError, code="TlsFailed"):
    """Both ends cannot agree on TLS or on a certificate. A retry changes nothing: the text says what to change."""

    retryable = False


class ConnectionLost(TransportError, code="ConnectionLost"):
    """The connection ended before the response arrived: the request may or may not have taken effect."""

    retryable = False


class RequestNotReceived(TransportError, code="RequestNotReceived"):
    """The node closed the idle connection before the request reached it: the request certainly had no effect."""


class Refused(QcoreError, code="Refused"):
    """A node rejected a request for a reason that has no error class here. The message is the node's."""


class StateMachineFailed(QcoreError, code="StateMachineFailed"):
    """A state machine raised while it applied a committed command or restored a snapshot. The node must stop.

    If it continued, its state could silently diverge from that of the other replicas.
    """
