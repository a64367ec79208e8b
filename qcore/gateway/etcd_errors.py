"""The errors of etcd's API, and which of them each error of qcore becomes.

The numbers of the codes and the texts are facts of etcd 3.4 (`etcdserver/api/v3rpc/rpctypes/error.go`), and the
statuses are those of its gateway (grpc-gateway 1.9). Clients compare them.
"""

from __future__ import annotations

from enum import IntEnum
from http import HTTPStatus
from typing import Final

from qcore.errors import (
    AccessRefused,
    ConfigError,
    DuplicateKey,
    LeaseExists,
    LeaseNotFound,
    NotLeader,
    OutcomeUnknown,
    Overloaded,
    PermissionDenied,
    QcoreError,
    QuotaExceeded,
    RevisionCompacted,
    RevisionInFuture,
    StoreError,
    TooLarge,
    Unauthenticated,
    ValueTooLarge,
)


class Code(IntEnum):
    """The codes of gRPC."""

    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    NOT_FOUND = 5
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    UNAUTHENTICATED = 16


_STATUSES: Final = {
    Code.UNKNOWN: 500,
    Code.INVALID_ARGUMENT: 400,
    Code.NOT_FOUND: 404,
    Code.PERMISSION_DENIED: 403,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.FAILED_PRECONDITION: 412,
    Code.OUT_OF_RANGE: 400,
    Code.UNIMPLEMENTED: 501,
    Code.INTERNAL: 500,
    Code.UNAVAILABLE: 503,
    Code.UNAUTHENTICATED: 401,
}


class EtcdError(Exception):
    """An error as etcd reports it.

    Args:
        code: of gRPC.
        text: the message.
    """

    def __init__(self, code: Code, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text

    @property
    def status(self) -> int:
        """The status of the HTTP response."""
        return _STATUSES[self.code]

    def to_json(self) -> dict[str, object]:
        """The body of the response."""
        return {"error": self.text, "message": self.text, "code": int(self.code)}

    def to_stream_json(self) -> dict[str, object]:
        """What is in `error` of a stream that has begun."""
        return {
            "grpc_code": int(self.code),
            "http_code": self.status,
            "message": self.text,
            "http_status": HTTPStatus(self.status).phrase,
        }


class InvalidRequest(EtcdError):
    """A request that cannot be read. etcd has another code for the first message of a stream."""

    def __init__(self, text: str) -> None:
        super().__init__(Code.INVALID_ARGUMENT, text)

    @property
    def in_stream(self) -> EtcdError:
        """The same in a stream."""
        return EtcdError(Code.UNKNOWN, self.text)


EMPTY_KEY: Final = (Code.INVALID_ARGUMENT, "etcdserver: key is not provided")
KEY_NOT_FOUND: Final = (Code.INVALID_ARGUMENT, "etcdserver: key not found")
VALUE_PROVIDED: Final = (Code.INVALID_ARGUMENT, "etcdserver: value is provided")
LEASE_PROVIDED: Final = (Code.INVALID_ARGUMENT, "etcdserver: lease is provided")
TOO_MANY_OPERATIONS: Final = (
    Code.INVALID_ARGUMENT,
    "etcdserver: too many operations in txn request",
)
DUPLICATE_KEY: Final = (
    Code.INVALID_ARGUMENT,
    "etcdserver: duplicate key given in txn request",
)
COMPACTED: Final = (
    Code.OUT_OF_RANGE,
    "etcdserver: mvcc: required revision has been compacted",
)
FUTURE_REVISION: Final = (
    Code.OUT_OF_RANGE,
    "etcdserver: mvcc: required revision is a future revision",
)
NO_SPACE: Final = (Code.RESOURCE_EXHAUSTED, "etcdserver: mvcc: database space exceeded")
LEASE_NOT_FOUND: Final = (Code.NOT_FOUND, "etcdserver: requested lease not found")
LEASE_EXISTS: Final = (Code.FAILED_PRECONDITION, "etcdserver: lease already exists")
TTL_TOO_LARGE: Final = (Code.OUT_OF_RANGE, "etcdserver: too large lease TTL")
REQUEST_TOO_LARGE: Final = (Code.INVALID_ARGUMENT, "etcdserver: request is too large")
TOO_MANY_REQUESTS: Final = (Code.RESOURCE_EXHAUSTED, "etcdserver: too many requests")
AUTH_NOT_ENABLED: Final = (
    Code.FAILED_PRECONDITION,
    "etcdserver: authentication is not enabled",
)
AUTH_FAILED: Final = (
    Code.INVALID_ARGUMENT,
    "etcdserver: authentication failed, invalid user ID or password",
)
USER_EMPTY: Final = (Code.INVALID_ARGUMENT, "etcdserver: user name is empty")
INTERNAL: Final = (Code.INTERNAL, "etcdserver: internal error; the log of the gateway has more")
PERMISSION_DENIED: Final = (Code.PERMISSION_DENIED, "etcdserver: permission denied")
INVALID_TOKEN: Final = (Code.UNAUTHENTICATED, "etcdserver: invalid auth token")
NO_LEADER: Final = (Code.UNAVAILABLE, "etcdserver: no leader")
TIMED_OUT: Final = (Code.UNAVAILABLE, "etcdserver: request timed out")
STOPPED: Final = (Code.UNAVAILABLE, "etcdserver: server stopped")

#: The most specific class comes first.
_KNOWN: Final[tuple[tuple[type[QcoreError], tuple[Code, str]], ...]] = (
    (LeaseNotFound, LEASE_NOT_FOUND),
    (LeaseExists, LEASE_EXISTS),
    (DuplicateKey, DUPLICATE_KEY),
    (RevisionCompacted, COMPACTED),
    (RevisionInFuture, FUTURE_REVISION),
    (TooLarge, REQUEST_TOO_LARGE),
    (ValueTooLarge, REQUEST_TOO_LARGE),
    (PermissionDenied, PERMISSION_DENIED),
    (QuotaExceeded, NO_SPACE),
    (Overloaded, TOO_MANY_REQUESTS),
    (OutcomeUnknown, TIMED_OUT),
    (NotLeader, NO_LEADER),
)


def etcd_error(error: QcoreError, *, has_token: bool) -> EtcdError:
    """The error that a client of the gateway gets for one of qcore.

    A write whose outcome is unknown gets the text that etcd has for its own writes that time out, and the code for
    which a client must find out itself whether the write took effect.

    Args:
        error: of the client, or of the machine.
        has_token: whether the request had a token.
    """
    if isinstance(error, Unauthenticated):
        return EtcdError(*(INVALID_TOKEN if has_token else USER_EMPTY))
    for kind, known in _KNOWN:
        if isinstance(error, kind):
            return EtcdError(*known)
    if isinstance(error, StoreError | ConfigError):
        return EtcdError(Code.INVALID_ARGUMENT, f"etcdserver: {error}")
    if isinstance(error, AccessRefused):
        return EtcdError(Code.PERMISSION_DENIED, f"etcdserver: {error}")
    if error.retryable:
        return EtcdError(*TIMED_OUT)
    return EtcdError(Code.UNAVAILABLE, f"etcdserver: {error}")
