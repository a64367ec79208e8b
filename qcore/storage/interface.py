"""`LogStorage`: what a node needs from its storage.

`qcore.core.log.durable_state.apply_write` defines what each write means. The suite
`qcore.testing.conformance.storage_conformance` tests an implementation against the whole contract.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from qcore.core.effects import Write
from qcore.core.entry import DurableState
from qcore.errors import StorageError


@dataclass(slots=True, frozen=True)
class Identity:
    """Whose data this is. Each field is written once and never changed.

    Attributes:
        node_id: the node that the data belongs to.
        cluster_id: the cluster that the node has joined; None while the node is pristine.
    """

    node_id: int
    cluster_id: str | None

    def require_can_join(self, cluster_id: str, where: str) -> None:
        """Refuse a cluster id that is empty or differs from the stored one.

        Args:
            cluster_id: the cluster to join.
            where: the place of the data, for messages.

        Raises:
            StorageError: names both clusters and the place.
        """
        if not cluster_id:
            raise StorageError(f"{where}: a cluster id must not be empty")
        if self.cluster_id not in (None, cluster_id):
            raise StorageError(
                f"{where} belongs to cluster {self.cluster_id!r} and cannot join {cluster_id!r}: "
                "use an empty data directory for the other cluster"
            )


@runtime_checkable
class HasIncarnation(Protocol):
    """A storage that knows its incarnation: a random name, chosen when its data directory was created."""

    @property
    def incarnation(self) -> str: ...


@runtime_checkable
class LogStorage(Protocol):
    """A synchronous durable log. Not thread-safe: one caller at a time.

    The data also has one owner at a time: opening it again before `close` raises a `StorageError`.
    """

    def identity(self) -> Identity:
        """Whose data this is."""
        ...

    def join_cluster(self, cluster_id: str) -> None:
        """Durably record which cluster this node belongs to.

        Raises:
            StorageError: it already belongs to another cluster; names both.
        """
        ...

    def load(self) -> DurableState:
        """Return everything that is durable, verified. The caller may change the result.

        A commit index beyond the log's end is lowered to it. The text of the snapshot may be a `str`; a large one takes
        less memory if `qcore.core.log.growing_text.TextBuilder` builds it.

        Raises:
            LogCorrupt: a checksum or the structure is wrong, or there is a gap; names the file and the entry.
        """
        ...

    def write(self, writes: Sequence[Write], commit: int | None = None) -> None:
        """Do the writes atomically and in order. They are durable when this returns.

        Args:
            writes: may be empty. The caller may reuse its lists and objects afterwards. The text of a large snapshot is
                a `CompressedText` (`qcore.core.log.compressed_text`): store it in slices, `data[start:end]`, or use
                `str(data)`, which needs memory for all of it.
            commit: the newest commit index, stored in the same step. An index below the stored one changes nothing.

        Raises:
            ValueError: a write does not fit the log, as `qcore.storage.log_outline.LogOutline` defines it; nothing
                was written.
            DiskFull: nothing was written; the same writes may be tried again.
            StorageError: whether the writes are on disk is unknown; the node must stop (no retry after a failed sync).
        """
        ...

    def close(self) -> None:
        """Release the file and its lock. Idempotent."""
        ...
