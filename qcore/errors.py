"""The exceptions of qcore, and the one registry that turns them into what the wire carries and back.

Every message states what went wrong, where, and what to do. On the wire an error is its text and a `detail`, which
holds at least `code` and `retryable`. Each class states its code and the further fields of its detail.
`to_wire` and `from_wire` are each other's inverse. A class that states no code travels as the class that it extends.

`retryable` means that the operation certainly had no effect, so sending it again cannot apply it twice.
`OutcomeUnknown` is never retryable in that sense.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar, Final, Self

from qcore.display import MAX_ERROR_CHARS, truncate

DetailValue = str | int | float | bool | None

#: Reads a field of a detail, which comes from outside: an invalid value or None gives the value for "unknown".
ReadField = Callable[[DetailValue], DetailValue]

#: Integers on the wire are below this.
_INT_LIMIT: Final = 2**63

#: code -> class, in the order of their definitions.
_BY_CODE: Final[dict[str, type[QcoreError]]] = {}


class QcoreError(Exception):
    """The base class of every error that qcore raises deliberately.

    A subclass states what the wire carries: `class DiskFull(StorageError, code="DiskFull")`.

    Attributes:
        code: names the kind of error on the wire, in traces and in snapshots. It never changes.
        retryable: whether the operation certainly had no effect.
        fields: the names of the attributes that the detail also holds, and how to read each.
    """

    code: str = "QcoreError"
    retryable: bool = False
    fields: ClassVar[Mapping[str, ReadField]] = {}

    def __init_subclass__(
        cls, *, code: str | None = None, fields: Mapping[str, ReadField] | None = None
    ) -> None:
        super().__init_subclass__()
        if code is None:
            if fields is not None:
                raise TypeError(f"{cls.__name__} has fields for the wire, so it needs a code")
            return
        if code in _BY_CODE:
            raise TypeError(f"{cls.__name__}: the code {code!r} is that of {_BY_CODE[code]}")
        cls.code = code
        cls.fields = {**cls.fields, **(fields or {})}
        _BY_CODE[code] = cls

    def detail(self) -> dict[str, DetailValue]:
        """The structured detail that accompanies the text on the wire."""
        values: dict[str, DetailValue] = {"code": self.code, "retryable": self.retryable}
        values.update((name, getattr(self, name)) for name in self.fields)
        return values


_BY_CODE[QcoreError.code] = QcoreError


class UnknownError(QcoreError):
    """An error of a kind that this version does not know: a newer node sent it. Its text is the node's.

    Args:
        text: the text.
        detail: the detail that came with it, which this error keeps.
    """

    def __init__(self, text: str, detail: Mapping[str, DetailValue]) -> None:
        super().__init__(text)
        code = detail.get("code")
        self.code = code if isinstance(code, str) else ""
        self.retryable = detail.get("retryable") is True
        self._detail = dict(detail)

    def detail(self) -> dict[str, DetailValue]:
        return {**self._detail, "code": self.code, "retryable": self.retryable}


def error_classes() -> Mapping[str, type[QcoreError]]:
    """Every class that states a code, by code."""
    return dict(_BY_CODE)


def to_wire(error: QcoreError) -> tuple[str, dict[str, DetailValue]]:
    """The text and the detail that the wire carries for `error`.

    The text is truncated to `MAX_ERROR_CHARS`, because it may quote a request.
    """
    return truncate(str(error), MAX_ERROR_CHARS), error.detail()


def from_wire(text: str, detail: object) -> QcoreError:
    """The error for a text and a detail; inverse of `to_wire`.

    Both come from outside. A field that is missing or invalid is unknown, and a key that does not belong to the class
    is ignored. A code that no class has gives an `UnknownError` with the same text.
    """
    values = scalars(detail)
    code = values.get("code")
    cls = _BY_CODE.get(code) if isinstance(code, str) else None
    if cls is None:
        return UnknownError(text, values)
    error = cls.__new__(cls)  # not called: the text is complete, and the parameters differ
    error.args = (text,)
    for name, read in cls.fields.items():
        setattr(error, name, read(values.get(name)))
    return error


def scalars(detail: object) -> dict[str, DetailValue]:
    """The valid part of a detail, which comes from outside."""
    if not isinstance(detail, Mapping):
        return {}
    return {
        key: value
        for key, value in detail.items()
        if isinstance(key, str) and (value is None or isinstance(value, str | int | float | bool))
    }


def _optional_int(value: DetailValue) -> int | None:
    return value if type(value) is int and abs(value) < _INT_LIMIT else None


def _optional_text(value: DetailValue) -> str | None:
    return value if isinstance(value, str) else None


def _word(value: DetailValue) -> str:
    return value if isinstance(value, str) else "unknown"


def _hint_ms(value: DetailValue) -> int:
    return max(1, _optional_int(value) or 1)


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


class HelloRejected(RemoteProtocolError, code="HelloRejected"):
    """The peer rejected this node, or is not the expected node."""


# -- requests ----------------------------------------------------------------------------------------


class ProposalError(QcoreError, code="ProposalError"):
    """A request to the cluster did not end in a committed result."""


class NotLeader(
    ProposalError,
    code="NotLeader",
    fields={"leader_id": _optional_int, "leader_addr": _optional_text},
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


class ChangeRefused(ProposalError, code="ChangeRefused", fields={"name": _word}):
    """A membership change or leadership transfer was rejected. `name` gives the reason as one stable word."""

    def __init__(self, name: str, reason: str) -> None:
        self.name = name
        super().__init__(f"refused ({name}): {reason}")


class IncompatibleVersion(QcoreError, code="IncompatibleVersion"):
    """The program runs a different state machine from the cluster's, or does not support the active version."""


class NotCaughtUp(ProposalError, code="NotCaughtUp"):
    """A new learner did not catch up in time.

    Either it remains a learner and keeps catching up; or it never answered, so the leader removed it again or
    restored its previous address. The message states which.
    """


class TransferFailed(
    ProposalError, code="TransferFailed", fields={"leader_id": _optional_int, "term": _optional_int}
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


class Overloaded(ProposalError, code="Overloaded", fields={"retry_after_ms": _hint_ms}):
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


# -- the entity store --------------------------------------------------------------------------------


class StoreError(QcoreError, code="StoreError"):
    """The entity store rejects a command. Text and detail are part of the result, so they are equal on all replicas."""


class BadRequest(StoreError, code="BadRequest"):
    """The request does not have the shape of `Perform` (docs/reference/wire.md); the text names the field."""


class EntityNotFound(StoreError, code="EntityNotFound"):
    """No entity has this id."""


class TypeNotFound(StoreError, code="TypeNotFound"):
    """No schema is set for this entity type."""


class FieldNotFound(StoreError, code="FieldNotFound"):
    """The entity's complete schema does not have this field."""


class KindMismatch(StoreError, code="KindMismatch"):
    """The value's kind is not the kind in the field's schema."""


class ValueOutOfRange(StoreError, code="ValueOutOfRange"):
    """The value cannot be stored: integer or float overflow, or a choice that does not exist."""


class NotAdjustable(StoreError, code="NotAdjustable"):
    """`Add` or `Subtract` is not defined for values of this kind."""


class BadPath(StoreError, code="BadPath"):
    """An indirection path has an empty segment, or ends before it names a field."""


class EmptyReference(StoreError, code="EmptyReference"):
    """A path follows a reference that is null."""


class DanglingReference(StoreError, code="DanglingReference"):
    """A path follows a reference to an entity that does not exist or no longer exists."""


class NotAReference(StoreError, code="NotAReference"):
    """A path follows a field that is neither a reference nor a list of entities."""


class IndexMissing(StoreError, code="IndexMissing"):
    """A path goes through a list of entities without an index."""


class IndexNegative(StoreError, code="IndexNegative"):
    """A path indexes a list of entities with a negative number."""


class IndexOutOfBounds(StoreError, code="IndexOutOfBounds"):
    """A path indexes a list of entities beyond its end."""


class SchemaInvalid(StoreError, code="SchemaInvalid"):
    """A schema contradicts itself or the rules of names and built-in fields."""


class UnknownParentType(StoreError, code="UnknownParentType"):
    """A schema inherits from a type that has no schema."""


class InheritanceCycle(StoreError, code="InheritanceCycle"):
    """A schema inherits, directly or not, from itself."""


class AlreadyLoaded(StoreError, code="AlreadyLoaded"):
    """A topology was loaded before. It is loaded once in the life of a cluster."""


class ResponseTooLarge(StoreError, code="ResponseTooLarge"):
    """The values that one request reads are too large for one response."""


class NameTooLong(StoreError, code="NameTooLong"):
    """The name of a type or a field exceeds the limit."""


class ValueTooLarge(StoreError, code="ValueTooLarge"):
    """A value exceeds the limit for one field."""


class SchemaTooLarge(StoreError, code="SchemaTooLarge"):
    """A schema, or all schemas together, would exceed a limit."""


class TooManyOperations(StoreError, code="TooManyOperations"):
    """One request takes more steps than a replica does for one entry."""
