"""What a storage may offer beyond `LogStorage`. The writer asks once which of it a storage has."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from qcore.core.effects import Write
from qcore.core.entry import Snapshot


@runtime_checkable
class SupportsIdleWork(Protocol):
    """A storage that has work for idle moments, such as a checkpoint."""

    def idle(self) -> None:
        """Do that work. Raises `StorageError` if the disk fails."""
        ...


@runtime_checkable
class SupportsQuickWrites(Protocol):
    """A storage whose `write` may be called by an event loop, because it usually takes no more than one sync."""

    def takes_quick_write(self, size: int) -> bool:
        """Whether a write of this many bytes now does nothing beyond one transaction, such as a checkpoint."""
        ...


@runtime_checkable
class SupportsSnapshotParts(Protocol):
    """A storage that accepts a large snapshot in parts, so that clients do not wait for the whole of it."""

    def write_snapshot_parts(self, snapshot: Snapshot) -> bool:
        """Write the next parts of a snapshot whose `StoreSnapshot` comes later. False if none is left."""
        ...

    def remove_stale_parts(self) -> bool:
        """Remove some parts of earlier snapshots. False if none is left."""
        ...


@runtime_checkable
class SnapshotPartsStorage(SupportsSnapshotParts, Protocol):
    """What `BackgroundSnapshots` needs from such a storage."""

    def write(self, writes: list[Write]) -> None:
        """See `qcore.storage.interface.LogStorage.write`."""
        ...
