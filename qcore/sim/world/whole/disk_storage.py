"""The simulated disk of a whole node: as the storage that `ReplicaNode` reads, and as the writer that the driver uses.

A real node writes in a thread; see `qcore.storage.group_commit`. Here the disk takes simulated time, and reports on the
event loop of the node, as the thread does. So a frozen or busy process learns of it late.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

from qcore.core.effects import Write
from qcore.core.entry import DurableState
from qcore.core.log.durable_state import size_bytes
from qcore.errors import DiskFull, StorageError
from qcore.replica.peers.known_members import KnownMembers
from qcore.security.keys.node_key import NodeKey
from qcore.sim.world.node.disk import SimDisk
from qcore.storage.group_commit import Notify, PendingWrites
from qcore.storage.interface import Identity, LogStorage
from qcore.storage.log_size import Footprint, FootprintMeter

#: Does something outside the process, once the current callback is over.
Defer = Callable[[Callable[[], object]], object]


def simulated_key(node_id: int, incarnation: int) -> NodeKey:
    """The key of a simulated node: each data directory that it has had got another one."""
    return NodeKey(hashlib.sha256(f"node {node_id}, disk {incarnation}".encode()).digest())


class DiskStorage:
    """A `LogStorage` whose data is on a simulated disk, for one life of a node.

    Args:
        node_id: the node that the data belongs to.
        disk: the disk.
        loaded: what the node has found on it.
    """

    def __init__(self, node_id: int, disk: SimDisk, loaded: DurableState) -> None:
        self._node_id = node_id
        self._disk = disk
        self._loaded = loaded

    def identity(self) -> Identity:
        """See `LogStorage`."""
        return Identity(self._node_id, self._disk.identity.cluster_id)

    @property
    def incarnation(self) -> str:
        """See `qcore.storage.interface.HasIncarnation`."""
        return f"{self._node_id}/{self._disk.identity.incarnation}"

    def join_cluster(self, cluster_id: str) -> None:
        """See `LogStorage`. Durable immediately."""
        self.identity().require_can_join(cluster_id, f"the disk of node {self._node_id}")
        self._disk.identity.cluster_id = cluster_id

    def load(self) -> DurableState:
        """What the node has found."""
        return self._loaded

    def write(self, writes: Sequence[Write], commit: int | None = None) -> None:
        """Take note of writes that the disk has made durable; `DiskWriter` has passed them to it."""

    def close(self) -> None:
        """Do nothing: the disk stays."""

    def node_key(self) -> NodeKey:
        """The key of the node."""
        return simulated_key(self._node_id, self._disk.identity.incarnation)

    def known_members(self) -> KnownMembers:
        """The members that the node has met. A change is durable immediately."""
        identity = self._disk.identity
        return KnownMembers(identity.known, lambda known: setattr(identity, "known", dict(known)))


class SimulatedMark:
    """A `DivergenceMark` on a simulated disk. A change is durable immediately."""

    def __init__(self, disk: SimDisk) -> None:
        self._disk = disk

    def load(self) -> int | None:
        """See `DivergenceMark`."""
        return self._disk.identity.diverged_at

    def save(self, index: int | None) -> None:
        """See `DivergenceMark`."""
        self._disk.identity.diverged_at = index


class DiskWriter:
    """What a node has in place of `qcore.storage.group_commit.GroupCommitWriter`, for one life.

    Args:
        disk: the disk.
        defer: does something outside the process.
        storage: learns of the writes once they are durable.
        notify: runs a callable on the node's event loop.
        on_durable, on_error, on_disk_full, on_snapshot_stored, loaded: see `GroupCommitWriter`.

    Attributes:
        full: the error of the write that waits for space; None if there is space.
    """

    def __init__(
        self,
        disk: SimDisk,
        defer: Defer,
        storage: LogStorage,
        notify: Notify,
        *,
        on_durable: Callable[[int], None],
        on_error: Callable[[StorageError], None],
        on_disk_full: Callable[[DiskFull | None], None],
        on_snapshot_stored: Callable[[int], None],
        loaded: DurableState,
    ) -> None:
        self._disk = disk
        self._defer = defer
        self._storage = storage
        self._notify = notify
        self._on_durable = on_durable
        self._on_error = on_error
        self._on_disk_full = on_disk_full
        self._on_snapshot_stored = on_snapshot_stored
        self._meter = FootprintMeter(loaded)
        self._pending: deque[Write] = deque()
        self._pending_bytes = 0
        self._lazy_commit: int | None = None
        #: What the current callback has submitted.
        self._handed: list[tuple[list[Write], int | None]] = []
        self._failure: StorageError | None = None
        self._closed = False
        self.full: DiskFull | None = None

    def start(self) -> None:
        """Hear from the disk from now on, in place of the process that used it before."""
        self._disk.on_durable = self._synced
        self._disk.on_error = self._failed
        self._disk.on_full = self._fullness_changed

    @property
    def pending(self) -> PendingWrites:
        """The writes that are submitted and not yet durable."""
        return PendingWrites(len(self._pending), self._pending_bytes)

    @property
    def footprint(self) -> Footprint:
        """What the disk holds of the log."""
        return self._meter.footprint

    def try_write(self, writes: Sequence[Write], commit: int | None = None) -> bool:
        """See `GroupCommitWriter.try_write`. A simulated disk is never fast enough."""
        return False

    def submit(self, writes: Sequence[Write], commit: int | None = None) -> None:
        """See `GroupCommitWriter.submit`. The disk gets the writes when the current callback is over.

        Raises:
            StorageError: the writer is closed or has failed.
        """
        if self._failure is not None:
            raise StorageError(f"storage has failed, nothing is written: {self._failure}")
        if self._closed:
            raise StorageError("the storage writer is closed")
        if not writes:
            self._lazy_commit = commit if commit is not None else self._lazy_commit
            return
        commit = self._lazy_commit if commit is None else commit
        self._lazy_commit = None
        self._pending.extend(writes)
        self._pending_bytes += sum(map(size_bytes, writes))
        if not self._handed:
            self._defer(self._hand_over)
        self._handed.append((list(writes), commit))

    def close(self, timeout_s: float | None = None) -> bool:
        """Accept no more writes. Returns whether all are durable."""
        self._closed = True
        return not self._pending

    def _hand_over(self) -> None:
        handed, self._handed = self._handed, []
        for writes, commit in handed:
            for write in writes:
                self._disk.submit(write)
            if commit is not None:
                self._disk.save_commit(commit)
        self._disk.start_sync()

    # -- what the disk reports -----------------------------------------------------------------------

    def _synced(self, write_id: int) -> None:
        durable: list[Write] = []
        pending = self._pending
        while pending and pending[0].write_id <= write_id:
            durable.append(pending.popleft())
        self._pending_bytes -= sum(map(size_bytes, durable))
        try:
            self._storage.write(durable)
        except StorageError as error:
            self._failed(error)
            return
        before = self._meter.footprint.snapshot_index
        self._meter.written(durable)
        index = self._meter.footprint.snapshot_index
        if index != before:
            self._notify(partial(self._on_snapshot_stored, index))
        self._notify(partial(self._on_durable, write_id))

    def _failed(self, error: StorageError) -> None:
        self._failure = error
        self._notify(partial(self._on_error, error))

    def _fullness_changed(self, why: DiskFull | None) -> None:
        self.full = why
        self._notify(partial(self._on_disk_full, why))
