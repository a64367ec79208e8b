"""Errors of the key-value machine. They are part of a command's result, so they are equal on all replicas."""

from __future__ import annotations

from qcore.errors.error_registry import count
from qcore.errors.store_errors import StoreError


class KeyTooLong(StoreError, code="KeyTooLong"):
    """A key exceeds the limit, or is empty."""


class DuplicateKey(StoreError, code="DuplicateKey"):
    """A transaction would write one key twice."""


class LeaseNotFound(StoreError, code="LeaseNotFound"):
    """No lease has this id: it was never granted, it has expired, or it was revoked."""


class LeaseExists(StoreError, code="LeaseExists"):
    """A lease with this id was granted before."""


class RevisionCompacted(StoreError, code="RevisionCompacted", fields={"compacted": count}):
    """The state at this revision is no longer kept.

    Attributes:
        compacted: the oldest revision that can be read.
    """

    def __init__(self, text: str, compacted: int = 0) -> None:
        super().__init__(text)
        self.compacted = compacted


class RevisionInFuture(StoreError, code="RevisionInFuture", fields={"revision": count}):
    """The state has not reached this revision.

    Attributes:
        revision: the newest revision.
    """

    def __init__(self, text: str, revision: int = 0) -> None:
        super().__init__(text)
        self.revision = revision
