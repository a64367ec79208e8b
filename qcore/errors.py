"""The exception tree of qcore, and the structured detail that goes over the wire with an error.

Every error says what was wrong, where, and what to do. `QcoreError.detail()` is the value of the
`detail` key next to an error text on the wire: at least `code` (the class name) and `retryable`.

`retryable` means: the operation has certainly had no effect, so that sending it again cannot
apply it twice. `OutcomeUnknown` is the proposal error that is never retryable in that sense.
"""

from __future__ import annotations

from typing import ClassVar, Self

DetailValue = str | int | float | bool | None


class QcoreError(Exception):
    """Root of every error that qcore raises on purpose."""

    retryable: ClassVar[bool] = False

    @property
    def code(self) -> str:
        """The stable name of the error's kind: the class name."""
        return type(self).__name__

    def detail(self) -> dict[str, DetailValue]:
        """The structured form that accompanies the text on the wire."""
        return {"code": self.code, "retryable": self.retryable}


class ConfigError(QcoreError):
    """A configuration value, scenario or topology file is wrong; says which field and why."""


class ProtocolError(QcoreError):
    """Somebody broke the wire protocol."""


class LocalProtocolError(ProtocolError):
    """This program tried to send something the protocol does not allow: a bug or a bad argument."""


class RemoteProtocolError(ProtocolError):
    """The other end sent something the protocol does not allow."""


class ProposalError(QcoreError):
    """A request to the replicated state machine did not end in a committed result."""


class NotLeader(ProposalError):
    """The node is not the leader and could not forward; nothing was applied.

    Args:
        leader_id: the leader's node id, or None while none is known.
        leader_addr: the leader's `host:port`, or None.
        text: what to say instead of the usual text.
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
    """The entry was overwritten by another leader's committed entry: it was certainly not applied."""

    retryable = True


class OutcomeUnknown(ProposalError):
    """The request may or may not take effect: its result did not arrive in time."""


class DeadlineExceeded(ProposalError):
    """A read could not be confirmed in time. Reads have no effect, so it may simply be repeated."""

    retryable = True


class ChangeRefused(ProposalError):
    """A membership change or a transfer was not begun; `name` says why in one stable word."""

    def __init__(self, name: str, reason: str) -> None:
        self.name = name
        super().__init__(f"refused ({name}): {reason}")

    def detail(self) -> dict[str, DetailValue]:
        return {**super().detail(), "name": self.name}


class IncompatibleVersion(QcoreError):
    """This program runs another state machine than the cluster, or cannot apply the active version."""


class NotCaughtUp(ProposalError):
    """A learner was added but did not catch up in time.

    It stays a learner and goes on catching up; or it never answered, and was removed again, or has again the address
    that it had before: the text says which.
    """


class TransferFailed(ProposalError):
    """Leadership did not go where it was asked to, and by this request it will not; says why.

    Args:
        text: what happened instead.
        leader_id, term: who leads, as far as the node knows.
    """

    def __init__(self, text: str, leader_id: int | None = None, term: int | None = None) -> None:
        self.leader_id = leader_id
        self.term = term
        super().__init__(text)

    def detail(self) -> dict[str, DetailValue]:
        return {**super().detail(), "leader_id": self.leader_id, "term": self.term}


class TransferUnknown(OutcomeUnknown):
    """A transfer of leadership is still under way, or how it ended is not known: look who leads."""


class SessionExpired(ProposalError):
    """The client session is not open. Its earlier commands may have been applied."""


class SequenceRefused(ProposalError):
    """The session's sequence number was acknowledged before, or too many are not acknowledged."""


class TooStale(ProposalError):
    """The replica cannot answer a stale read within the staleness asked for. Try another, or a fresher kind."""

    retryable = True


class TooLarge(ProposalError):
    """The command exceeds the size limit; it was refused before it was appended."""


class ResultTooLarge(ProposalError):
    """The state machine's result is too large to be sent. A command took effect all the same: look at the state."""


class ResultInvalid(ProposalError):
    """The state machine's result is no text that can be sent: a fault of the machine. A command took effect."""


class Overloaded(ProposalError):
    """A queue is full, or leadership is changing hands; nothing was appended.

    Args:
        text: what is full, and when to come back.
        retry_after_ms: retry after so long, at least 1; see `qcore.replica.requests.flow_control` for how it is
        found. Wait a random
            time longer, so that not everybody who was refused comes back at once.
    """

    retryable = True

    def __init__(self, text: str, retry_after_ms: int = 1) -> None:
        self.retry_after_ms = retry_after_ms
        super().__init__(text)

    @classmethod
    def because(cls, why: str, retry_after_ms: int) -> Self:
        """The error with the usual text around the reason."""
        return cls(f"{why}; nothing was appended: retry in {retry_after_ms} ms", retry_after_ms)

    def detail(self) -> dict[str, DetailValue]:
        return {**super().detail(), "retry_after_ms": self.retry_after_ms}


class StorageError(QcoreError):
    """The durable log cannot be read or written; the message names the file."""


class SnapshotGone(QcoreError):
    """The snapshot that is to be read is not held (any more): have it taken anew."""


class SnapshotFileError(QcoreError):
    """A snapshot file cannot be read or written, or does not hold what was written; says which file and why."""


class LogCorrupt(StorageError):
    """A checksum or structure check failed: the file was truncated or changed."""


class LogCompacted(StorageError):
    """The requested entries are older than the log's start; a snapshot holds their effect."""


class DiskFull(StorageError):
    """No space is left for the write, which had no effect; reads go on where there is a leader."""

    retryable = True


class DataDirLocked(StorageError):
    """Another process uses the data directory; the message says which."""


class TransportError(QcoreError):
    """A connection could not be made, broke, or stalled past its time limit."""

    retryable = True


class Refused(QcoreError):
    """A node refused a request for a reason of its own; the text is the node's."""


class Unsupported(QcoreError):
    """The request is part of the protocol, and this version cannot carry it out."""


class StateMachineFailed(QcoreError):
    """A state machine raised while it applied a committed command or restored a snapshot: the node must stop.

    Going on would let this replica differ from the others without anybody noticing.
    """


class StoreError(QcoreError):
    """A command to the entity store is refused; the same text on every replica."""
