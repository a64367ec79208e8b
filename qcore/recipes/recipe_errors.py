"""The errors of recipes. They arise in this process, so they have no code on the wire."""

from __future__ import annotations

from qcore.errors import (
    DeadlineExceeded,
    OutcomeUnknown,
    QcoreError,
    RevisionCompacted,
    TransportError,
    WatchCompacted,
)


class LeaseLost(QcoreError):
    """A lease has ended, or may have ended. What it protected may belong to another holder now."""


class NotAcquired(QcoreError, TimeoutError):
    """It was not this one's turn before the time was over. Nothing is held, and nothing waits any more.

    If the cluster could not be reached, its place in the line ends with its lease.
    """


class NotAvailable(QcoreError, LookupError):
    """There is none now: no content that fits the model of a configuration, or no instance of a service."""


def is_temporary(error: QcoreError) -> bool:
    """Whether the same may succeed later: the cluster cannot be reached now, has no leader, or has moved on.

    A write that ended in such an error may have taken effect. So only code that finds this out may go on.
    """
    return error.retryable or isinstance(
        error,
        DeadlineExceeded | OutcomeUnknown | RevisionCompacted | TransportError | WatchCompacted,
    )
