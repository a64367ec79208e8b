"""What a node needs from its storage. `qcore.core.log.durable_state.apply_write` defines what each write means.

`qcore.testing.storage_conformance` tries an implementation against all of this.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from qcore.core.effects import Write
from qcore.core.entry import DurableState


@dataclass(slots=True, frozen=True)
class Identity:
    """Whose data this is. Written once each, never changed.

    Attributes:
        node_id: the server that the data belongs to.
        cluster_id: the cluster it joined, or None while pristine.
    """

    node_id: int
    cluster_id: str | None


@runtime_checkable
class HasIncarnation(Protocol):
    """A storage that knows its incarnation: a random name, drawn when its directory was made."""

    @property
    def incarnation(self) -> str: ...


@runtime_checkable
class LogStorage(Protocol):
    """A synchronous durable log. Not thread-safe: one caller at a time.

    One owner at a time, too: opening the same data again before `close` raises a `StorageError`.
    """

    def identity(self) -> Identity:
        """Whose data this is."""
        ...

    def join_cluster(self, cluster_id: str) -> None:
        """Remember durably which cluster this node belongs to.

        Raises:
            StorageError: it already belongs to another; both are named.
        """
        ...

    def load(self) -> DurableState:
        """All that was made durable, checked. The caller may change what it gets.

        The commit index is cut to the log's end.

        Raises:
            LogCorrupt: a checksum, a gap or a structure is wrong; names the file and the entry.
        """
        ...

    def write(self, writes: Sequence[Write], commit: int | None = None) -> None:
        """Carry out the writes, in order, atomically; durable when this returns.

        Args:
            writes: may be empty. The caller goes on with its lists and objects.
            commit: the newest commit index to store along, if any; a smaller one than stored changes nothing.

        Raises:
            ValueError: a write does not fit the log (`qcore.storage.log_outline.LogOutline` says which); nothing was
                written.
            DiskFull: nothing was written; the same writes may be tried again.
            StorageError: nothing is known of the writes; the node must stop (no retry after a failed sync).
        """
        ...

    def close(self) -> None:
        """Release the file and its lock. Idempotent."""
        ...
