"""`JoiningStorage`: wraps a storage, and stores which cluster the node belongs to when the log names it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress

from qcore.core.effects import AppendLog, StoreSnapshot, Write
from qcore.core.entry import DurableState, Membership, Snapshot
from qcore.errors import DiskFull
from qcore.storage.interface import Identity, LogStorage
from qcore.storage.optional_work import (
    SupportsIdleWork,
    SupportsQuickWrites,
    SupportsSnapshotParts,
)


class JoiningStorage:
    """Wraps a storage; joins the cluster that the first configuration written to it names.

    The configuration is written first. A crash in between leaves a log that names the cluster, and `load` then joins
    it. In the other order a crash could leave a node that belongs to a cluster that never began.

    If the disk has no room for joining, the write itself still succeeds, and joining is postponed until there is room.
    The write is not reported as `DiskFull`, because the caller would then repeat it.

    Args:
        inner: an open storage.
    """

    def __init__(self, inner: LogStorage) -> None:
        self._inner = inner
        self._quick = inner if isinstance(inner, SupportsQuickWrites) else None
        self._parts = inner if isinstance(inner, SupportsSnapshotParts) else None
        self._idle_work = inner if isinstance(inner, SupportsIdleWork) else None
        self._joined = inner.identity().cluster_id is not None
        self._named: str | None = None  # the cluster that the log names, until it is joined

    def identity(self) -> Identity:
        """See `LogStorage`. Names the cluster as soon as the log does."""
        identity = self._inner.identity()
        return identity if self._named is None else Identity(identity.node_id, self._named)

    def join_cluster(self, cluster_id: str) -> None:
        """See `LogStorage`."""
        self._inner.join_cluster(cluster_id)
        self._joined, self._named = True, None

    def load(self) -> DurableState:
        """See `LogStorage`. Joins the cluster that the log names, if a crash or a full disk prevented that before."""
        state = self._inner.load()
        if state.snapshot is not None:
            self._note_cluster([state.snapshot.meta.membership])
        self._note_cluster(_memberships([AppendLog(0, state.entries)]))
        self._join()
        return state

    def write(self, writes: Sequence[Write], commit: int | None = None) -> None:
        """See `LogStorage`."""
        self._inner.write(writes, commit)
        if not self._joined:
            self._note_cluster(_memberships(writes))
            self._join()

    def takes_quick_write(self, size: int) -> bool:
        """See `SupportsQuickWrites`. A write that may have to join a cluster is none."""
        return self._joined and self._quick is not None and self._quick.takes_quick_write(size)

    def write_snapshot_parts(self, snapshot: Snapshot) -> bool:
        """See `SupportsSnapshotParts`."""
        return self._parts is not None and self._parts.write_snapshot_parts(snapshot)

    def remove_stale_parts(self) -> bool:
        """See `SupportsSnapshotParts`."""
        return self._parts is not None and self._parts.remove_stale_parts()

    def idle(self) -> None:
        """See `SupportsIdleWork`."""
        self._join()
        if self._idle_work is not None:
            self._idle_work.idle()

    def close(self) -> None:
        """See `LogStorage`."""
        self._inner.close()

    def _note_cluster(self, memberships: Sequence[Membership] | Iterator[Membership]) -> None:
        """Remember the cluster that these configurations name, so that `_join` joins it."""
        if self._joined or self._named is not None:
            return
        for membership in memberships:
            if membership.cluster_id:
                self._named = membership.cluster_id
                return

    def _join(self) -> None:
        if self._named is None:
            return
        # A full disk prevents joining. That is safe: the durable log names the cluster, and `load` joins it.
        with suppress(DiskFull):
            self.join_cluster(self._named)


def _memberships(writes: Sequence[Write]) -> Iterator[Membership]:
    for write in writes:
        if isinstance(write, AppendLog):
            for entry in write.entries:
                if entry.kind == "membership":
                    yield Membership.from_json(entry.data)
        elif isinstance(write, StoreSnapshot):
            yield write.snapshot.meta.membership
