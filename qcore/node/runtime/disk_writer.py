"""`DiskWriter`: what a node needs of the writer of its log, and how it gets one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from qcore.core.effects import Write
from qcore.core.entry import DurableState
from qcore.errors import DiskFull, StorageError
from qcore.storage.group_commit import GroupCommitWriter, PendingWrites
from qcore.storage.interface import LogStorage
from qcore.storage.log_size import Footprint
from qcore.storage.sync_pace import SyncPace


class DiskWriter(Protocol):
    """Makes writes durable in order; see `qcore.storage.group_commit.GroupCommitWriter`."""

    def start(self) -> None:
        """Begin to write. Earlier submissions wait for this. After `start` the writer must be closed."""
        ...

    def submit(self, writes: Sequence[Write], commit: int | None = None) -> None:
        """Queue writes whose ids grow. Never blocks.

        Raises:
            StorageError: the writer is closed or has failed.
        """
        ...

    def try_write(self, writes: Sequence[Write], commit: int | None = None) -> bool:
        """Make writes durable in the event loop, if the disk is fast. Otherwise this does nothing and returns False.

        Raises:
            StorageError: the writer is closed or has failed, or this write failed.
        """
        ...

    @property
    def pending(self) -> PendingWrites:
        """The writes that are submitted and not yet durable."""
        ...

    @property
    def footprint(self) -> Footprint:
        """What the disk holds of the log."""
        ...

    def close(self, timeout_s: float | None = None) -> bool:
        """Write what is queued, then end. Returns False if that takes longer than `timeout_s`. Idempotent."""
        ...


class MakeWriter(Protocol):
    """Makes the writer of a node. It calls back on the event loop."""

    def __call__(
        self,
        storage: LogStorage,
        *,
        on_durable: Callable[[int], None],
        on_error: Callable[[StorageError], None],
        on_disk_full: Callable[[DiskFull | None], None],
        on_snapshot_stored: Callable[[int], None],
        loaded: DurableState,
    ) -> DiskWriter:
        """See `GroupCommitWriter`."""
        ...


def _writer_with(make_pace: Callable[[], SyncPace | None]) -> MakeWriter:
    """What makes writers of one kind.

    Args:
        make_pace: decides for a new writer when the event loop may write; None if it never may.
    """

    def make(
        storage: LogStorage,
        *,
        on_durable: Callable[[int], None],
        on_error: Callable[[StorageError], None],
        on_disk_full: Callable[[DiskFull | None], None],
        on_snapshot_stored: Callable[[int], None],
        loaded: DurableState,
    ) -> DiskWriter:
        return GroupCommitWriter(
            storage,
            asyncio.get_running_loop().call_soon_threadsafe,
            on_durable=on_durable,
            on_error=on_error,
            on_disk_full=on_disk_full,
            on_snapshot_stored=on_snapshot_stored,
            loaded=loaded,
            pace=make_pace(),
        )

    return make


#: A thread that writes, and the event loop if it may wait and the disk is fast.
thread_or_loop: Final = _writer_with(SyncPace)
#: A thread that writes. For a loop that others use: a leader among them must not wait.
disk_thread: Final = _writer_with(lambda: None)
