"""The exceptions of qcore, and the structured detail that accompanies an error on the wire.

Every message states what went wrong, where, and what to do. `QcoreError.detail()` is the value of the `detail` key
beside an error text on the wire. It holds at least `code` and `retryable`. `code` is the name of the class, so a class
must keep its name.

`retryable` means that the operation certainly had no effect, so sending it again cannot apply it twice.
`OutcomeUnknown` is never retryable in that sense.
"""

from __future__ import annotations

from typing import ClassVar, Self

DetailValue = str | int | float | bool | None


class QcoreError(Exception):
    """The base class of every error that qcore raises deliberately."""

    retryable: ClassVar[bool] = False

    @property
    def code(self) -> str:
        """The class name. It is part of the wire protocol."""
        return type(self).__name__

    def detail(self) -> dict[str, DetailValue]:
        """The structured detail that accompanies the text on the wire."""
        return {"code": self.code, "retryable": self.retryable}


class ConfigError(QcoreError):
    """A configuration value, scenario or topology file is wrong. The message names the field and the reason."""


class ProtocolError(QcoreError):
    """A message violates the wire protocol."""


class LocalProtocolError(ProtocolError):
    """This program tried to send something that the protocol does not allow: a bug or a bad argument."""


class RemoteProtocolError(ProtocolError):
    """The other end sent something that the protocol does not allow."""


class ProposalError(QcoreError):
    """A request to the cluster did not end in a committed result."""


class NotLeader(ProposalError):
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

    def detail(self) -> dict[str, DetailValue]:
        return {
            **super().detail(),
            "leader_id": self.leader_id,
            "leader_addr": self.leader_addr,
        }


class ProposalDropped(ProposalError):
    """Another leader's committed entry replaced the entry, so it was certainly not applied."""

    retryable = True


class OutcomeUnknown(ProposalError):
    """The result did not arrive in time. The request may or may not take effect."""


class DeadlineExceeded(ProposalError):
    """A read could not be confirmed in time. A read has no effect, so it is safe to repeat."""

    retryable = True


class ChangeRefused(ProposalError):
    """A membership change or leadership transfer was rejected. `name` gives the reason as one stable word."""

    def __init__(self, name: str, reason: str) -> None:
        self.name = name
        super().__init__(f"refused ({name}): {reason}")

    def detail(self) -> dict[str, DetailValue]:
        return {**super().detail(), "name": self.name}


class IncompatibleVersion(QcoreError):
    """The program runs a different state machine from the cluster's, or does not support the active version."""


class NotCaughtUp(ProposalError):
    """A new learner did not catch up in time.

    Either it remains a learner and keeps catching up; or it never answered, so the leader removed it again or
    restored its previous address. The message states which.
    """


class TransferFailed(ProposalError):
    """The leadership did not move as requested, and this request will not move it any more.

    Args:
        text: what happened instead.
        leader_id, term: the leader and its term, as far as the node knows them.
    """

    def __init__(self, text: str, leader_id: int | None = None, term: int | None = None) -> None:
        self.leader_id = leader_id
        self.term = term
        super().__init__(text)

    def detail(self) -> dict[str, DetailValue]:
        return {**super().detail(), "leader_id": self.leader_id, "term": self.term}


class TransferUnknown(OutcomeUnknown):
    """A leadership transfer is still in progress, or its outcome is unknown. Check which node leads."""


class SessionExpired(ProposalError):
    """The client session is not open. Commands sent in it earlier may have been applied."""


class SequenceRefused(ProposalError):
    """The client has already acknowledged this sequence number, or too many recorded replies await acknowledgement."""


class TooStale(ProposalError):
    """The state of this node is older than the stale read allows. Try another node or another kind of read."""

    retryable = True


class TooLarge(ProposalError):
    """The command exceeds the size limit. It was rejected before it was appended."""


class ResultTooLarge(ProposalError):
    """The result of the state machine is too large to send. A command still took effect: read the state."""


class ResultInvalid(ProposalError):
    """The result of the state machine is not text that can be sent: a bug in the machine. A command took effect."""


class Overloaded(ProposalError):
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

    def detail(self) -> dict[str, DetailValue]:
        return {**super().detail(), "retry_after_ms": self.retry_after_ms}


class StorageError(QcoreError):
    """The durable log cannot be read or written. The message names the file."""


class SnapshotGone(QcoreError):
    """The node does not hold (or no longer holds) the snapshot to read. Request a new one."""


class SnapshotFileError(QcoreError):
    """A snapshot file cannot be read or written, or is damaged. The message names the file and the reason."""


class LogCorrupt(StorageError):
    """A checksum or a structural check failed: the file was truncated or changed."""


class LogCompacted(StorageError):
    """The requested entries are compacted. A snapshot holds their effect."""


class DiskFull(StorageError):
    """No space is left for the write, which had no effect. Reads continue while there is a leader."""

    retryable = True


class DataDirLocked(StorageError):
    """Another process uses the data directory. The message names it."""


class TransportError(QcoreError):
    """A connection could not be opened, broke, or made no progress within its timeout."""

    retryable = True


class Refused(QcoreError):
    """A node rejected a request for a reason that has no error class here. The message is the node's."""


class Unsupported(QcoreError):
    """The request is part of the protocol, but this version cannot execute it."""


class StateMachineFailed(QcoreError):
    """A state machine raised while it applied a committed command or restored a snapshot. The node must stop.

    If it continued, its state could silently diverge from that of the other replicas.
    """


class StoreError(QcoreError):
    """The entity store rejects a command. The text is replicated, so it must be the same on every replica."""
