"""Remembers which cluster the node joined, along with the first configuration that it stores."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from qcore.core.effects import AppendLog, StoreSnapshot, Write
from qcore.core.entry import DurableState, Membership, Snapshot
from qcore.storage.background import WritesAhead
from qcore.storage.interface import Identity, LogStorage
from qcore.storage.writer import Tidies


class JoiningStorage:
    """A storage that joins the cluster named by the first configuration written to it.

    The configuration is written first. A crash in between leaves a log that names the cluster,
    which `load` makes good; the other order could leave a node that belongs to a cluster which
    never came to be. Both are done before the write counts as durable.

    Args:
        inner: an open storage.
    """

    def __init__(self, inner: LogStorage) -> None:
        self._inner = inner
        self._joined = inner.identity().cluster_id is not None

    def identity(self) -> Identity:
        """See `LogStorage`."""
        return self._inner.identity()

    def join_cluster(self, cluster_id: str) -> None:
        """See `LogStorage`."""
        self._inner.join_cluster(cluster_id)
        self._joined = True

    def load(self) -> DurableState:
        """See `LogStorage`; joins the cluster that the log names, if a crash prevented that."""
        state = self._inner.load()
        if state.snapshot is not None:
            self._join([state.snapshot.meta.membership])
        self._join(_memberships([AppendLog(0, state.entries)]))
        return state

    def write(self, writes: Sequence[Write], commit: int | None = None) -> None:
        """See `LogStorage`."""
        self._inner.write(writes, commit)
        if not self._joined:
            self._join(_memberships(writes))

    def write_ahead(self, snapshot: Snapshot) -> bool:
        """See `WritesAhead`."""
        return isinstance(self._inner, WritesAhead) and self._inner.write_ahead(snapshot)

    def sweep(self) -> bool:
        """See `WritesAhead`."""
        return isinstance(self._inner, WritesAhead) and self._inner.sweep()

    def idle(self) -> None:
        """Pass a quiet moment on."""
        if isinstance(self._inner, Tidies):
            self._inner.idle()

    def close(self) -> None:
        """See `LogStorage`."""
        self._inner.close()

    def _join(self, memberships: Sequence[Membership] | Iterator[Membership]) -> None:
        if self._joined:
            return
        for membership in memberships:
            if membership.cluster_id:
                self.join_cluster(membership.cluster_id)
                return


def _memberships(writes: Sequence[Write]) -> Iterator[Membership]:
    for write in writes:
        if isinstance(write, AppendLog):
            for entry in write.entries:
                if entry.kind == "membership":
                    yield Membership.from_json(entry.data)
        elif isinstance(write, StoreSnapshot):
            yield write.snapshot.meta.membership
