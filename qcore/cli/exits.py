"""The exit codes of the `qcore` command, and the mapping from errors to them."""

from __future__ import annotations

from enum import IntEnum

from qcore.errors import (
    ConfigError,
    IncompatibleVersion,
    OutcomeUnknown,
    ProposalError,
    ProtocolError,
    QcoreError,
    Refused,
    SnapshotGone,
    StateMachineFailed,
    StorageError,
    StoreError,
    TransportError,
    UnknownError,
    WatchError,
)


class ExitCode(IntEnum):
    """The exit code of a `qcore` process."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    CANNOT_CONNECT = 3
    REJECTED = 4
    UNHEALTHY = 5
    UNKNOWN = 6
    INTERRUPTED = 130
    BROKEN_PIPE = 141


class ResultNotShown(QcoreError, code="ResultNotShown"):
    """The requested change is done, but reading the result afterwards failed."""


def exit_code_of(error: QcoreError) -> ExitCode:
    """The exit code of a command that ends with this error."""
    match error:
        case ConfigError():
            return ExitCode.USAGE
        case TransportError():
            return ExitCode.CANNOT_CONNECT
        case OutcomeUnknown():
            return ExitCode.UNKNOWN
        case ProposalError() | StoreError() | ProtocolError() | Refused() | UnknownError():
            return ExitCode.REJECTED
        case SnapshotGone() | WatchError():
            return ExitCode.REJECTED
        case StorageError() | StateMachineFailed() | IncompatibleVersion():
            return ExitCode.UNHEALTHY
        case _:
            return ExitCode.FAILED
