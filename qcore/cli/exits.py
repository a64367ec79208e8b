"""Exit codes of the command line, and which error ends in which."""

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
    Unsupported,
)


class ExitCode(IntEnum):
    """What a `qcore` process says when it ends."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    CANNOT_CONNECT = 3
    REJECTED = 4
    UNHEALTHY = 5
    UNKNOWN = 6
    INTERRUPTED = 130


def exit_code_of(error: QcoreError) -> ExitCode:
    """The exit code for an error that ends a command."""
    match error:
        case ConfigError():
            return ExitCode.USAGE
        case TransportError():
            return ExitCode.CANNOT_CONNECT
        case OutcomeUnknown():
            return ExitCode.UNKNOWN
        case ProposalError() | StoreError() | ProtocolError() | Refused() | Unsupported():
            return ExitCode.REJECTED
        case SnapshotGone():
            return ExitCode.REJECTED
        case StorageError() | StateMachineFailed() | IncompatibleVersion():
            return ExitCode.UNHEALTHY
        case _:
            return ExitCode.FAILED
