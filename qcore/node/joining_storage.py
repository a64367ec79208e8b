"""`JoiningStorage`: stores which cluster the node belongs to, together with its first configuration."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress

from qcore.core.effects import AppendLog, StoreSnapshot, Write
from qcore.core.entry import DurableState, Membership, Snapshot
from qcore.errors import DiskFull
from qcore.storage.background_writes import SupportsSnapshotParts
from qcore.storage.group_commit import SupportsIdleWork
from qcore.storage.interface import Identity, LogStorage


class JoiningStorage:
    """A storage that joins the cluster named by the first configuration written to it.

    The configuration is written first. A crash in between leaves a log that names the cluster, and `load` then joins
    it. The other order could leave a node that belongs to a cluster which never began.

    If the disk has no room for joining, the write itself is done all the same. Joining is then put off until there is
    room, as after a crash. The write is not reported as `DiskFull`, because it would then be done twice.

    Args:
        inner: an open storage.
    """

    def __init__(self, inner: LogStorage) -> None:
        self._inner = inner
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
            self._find([state.snapshot.meta.membership])
        self._find(_memberships([AppendLog(0, state.entries)]))
        self._join()
        return state

    def write(self, writes: Sequence[Write], commit: int | None = None) -> None:
        """See `LogStorage`."""
        self._inner.write(writes, commit)
        self._find(_memberships(writes))
        self._join()

    def write_snapshot_parts(self, snapshot: Snapshot) -> bool:
        """See `SupportsSnapshotParts`."""
        return isinstance(self._inner, SupportsSnapshotParts) and self._inner.write_snapshot_parts(
            snapshot
        )

    def remove_stale_parts(self) -> bool:
        """See `SupportsSnapshotParts`."""
        return isinstance(self._inner, SupportsSnapshotParts) and self._inner.remove_stale_parts()

    def idle(self) -> None:
        """See `SupportsIdleWork`."""
        self._join()
        if isinstance(self._inner, SupportsIdleWork):
            self._inner.idle()

    def close(self) -> None:
        """See `LogStorage`."""
        self._inner.close()

    def _find(self, memberships: Sequence[Membership] | Iterator[Membership]) -> None:
        """Remember the cluster to join."""
        if self._joined or self._named is not None:
            return
        for membership in memberships:
            if membership.cluster_id:
                self._named = membership.cluster_id
                return

    def _join(self) -> None:
        if self._named is None:
            return
        # On a full disk: the log that names the cluster is durable, and a restart needs no more.
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
