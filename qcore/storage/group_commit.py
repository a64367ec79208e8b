"""`GroupCommitWriter`: takes writes from an event loop and makes many of them durable with one sync.

While one transaction is being synced, new submissions gather for the next one. So the batch size follows the load,
and a lone write does not wait. The module uses a thread and knows no event loop: the caller passes a `notify` such
as `loop.call_soon_threadsafe`.

A caller that may wait for the disk saves two changes of thread: a small write to a disk that is idle and was fast
recently is done by the caller itself (`try_write`). A lock passes the storage from one thread to the
other. The caller never waits for the lock, and takes it only if the thread has nothing left of what was submitted
before. So writes stay in order.

A caller that computes in pure Python for milliseconds holds the interpreter's lock. It delays the writer's thread
by up to `sys.getswitchinterval()` (5 ms by default) after each sync. A driver should lower it, for example to 0.5 ms.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from functools import partial
from queue import Empty, SimpleQueue
from typing import Final, NoReturn, TypeVar

from qcore.compiled_build import register_copies
from qcore.core.effects import StoreSnapshot, Write
from qcore.core.entry import DurableState
from qcore.core.log.disk_errors import DISK_FULL_RETRY_MS, waits_for_space
from qcore.core.log.durable_state import size_bytes
from qcore.errors import DiskFull, StorageError
from qcore.storage.background_writes import BackgroundSnapshots
from qcore.storage.interface import LogStorage
from qcore.storage.log_size import Footprint, FootprintMeter
from qcore.storage.optional_work import (
    SupportsIdleWork,
    SupportsQuickWrites,
    SupportsSnapshotParts,
)
from qcore.storage.sync_pace import SyncPace

#: The most that one transaction gathers, in bytes. A single submission may be larger.
MAX_TRANSACTION_BYTES = 4 << 20
#: Pause between attempts while the disk is full.
DISK_FULL_RETRY_S = DISK_FULL_RETRY_MS / 1000
#: After this time without a write, the storage may do its idle work.
IDLE_AFTER_S = 0.05
#: The most that the caller writes itself, in bytes.
QUICK_WRITE_BYTES: Final = 16 << 10

_T = TypeVar("_T")
Notify = Callable[[Callable[[], None]], object]


@dataclass(frozen=True)
class PendingWrites:
    """The writes that are submitted and not yet durable. The caller limits its load by them."""

    writes: int
    bytes: int


class _Submission:
    """Writes that go to the disk in one transaction."""

    def __init__(
        self,
        writes: list[Write],
        commit: int | None,
        size: int,
        log_bytes: int,
        last_write_id: int,
    ) -> None:
        self.writes = writes
        self.commit = commit
        self.size = size
        self.log_bytes = log_bytes
        self.count = len(writes)
        self.last_write_id = last_write_id


class _Signal(Enum):
    """What the thread gets in its queue besides submissions.

    END: nothing follows. LOOK: the caller has written something itself, so idle work may come up.
    """

    END = 1
    LOOK = 2


class GroupCommitWriter:
    """Owns a storage's `write`. Nothing else may use the storage between `start` and the end of `close`.

    All callbacks run through `notify`, in order. None runs after `on_error` has.

    Args:
        storage: an open storage.
        notify: runs a callable in the caller's thread or loop; must be thread-safe.
        on_durable: called with the id of the newest durable write. All writes before it are durable, too.
        on_error: called once, with the error that stops the writer.
        on_disk_full: called with the error when a write begins to wait for space, and with None when it is done.
        on_snapshot_stored: called with the last index of the stored snapshot whenever that index has changed.
        loaded: the state in the storage, if the caller has already loaded it.
        retry_s: pause between attempts while the disk is full, seconds.
        pace: decides whether the disk is fast enough for writes of the caller itself; None for no such writes.
    """

    def __init__(
        self,
        storage: LogStorage,
        notify: Notify,
        *,
        on_durable: Callable[[int], None],
        on_error: Callable[[StorageError], None],
        on_disk_full: Callable[[DiskFull | None], None],
        on_snapshot_stored: Callable[[int], None] = lambda _index: None,
        loaded: DurableState | None = None,
        retry_s: float = DISK_FULL_RETRY_S,
        pace: SyncPace | None = None,
    ) -> None:
        self._storage = storage
        self._notify = notify
        self._on_durable = on_durable
        self._on_error = on_error
        self._on_disk_full = on_disk_full
        self._on_snapshot_stored = on_snapshot_stored
        self._retry_s = retry_s
        self._queue: SimpleQueue[_Submission | _Signal] = SimpleQueue()
        #: The thread that uses the storage holds this lock.
        self._owner = threading.Lock()
        self._closing = threading.Event()
        self._failure: StorageError | None = None
        self._counts = threading.Lock()
        self._pending_writes = 0
        self._pending_bytes = 0
        self._lazy_commit: int | None = None
        self._started = False
        #: Used only by the caller's thread: the newest write that the thread got, and the newest that it has done.
        self._handed_over = self._handed_back = 0
        self._pace = pace
        self._quick = storage if isinstance(storage, SupportsQuickWrites) else None
        self._idle_work = storage if isinstance(storage, SupportsIdleWork) else None
        #: Changed only by the owner: how often the caller has written, and whether the thread waits without a timeout.
        self._quick_writes = 0
        self._sleeps = False
        self._meter = FootprintMeter(storage.load() if loaded is None else loaded)
        self._footprint = self._meter.footprint
        # Asked once, because the question takes as long as a small write without its sync.
        self._parts = storage if isinstance(storage, SupportsSnapshotParts) else None
        self._background = (
            BackgroundSnapshots(storage, self._meter)
            if isinstance(storage, SupportsSnapshotParts)
            else None
        )
        self._worker = threading.Thread(target=self._run, name="qcore-storage", daemon=True)

    def start(self) -> None:
        """Begin to write. Earlier submissions wait for this. After `start` the writer must be closed."""
        self._started = True
        self._worker.start()

    @property
    def pending(self) -> PendingWrites:
        """The writes that are submitted and not yet durable."""
        with self._counts:
            return PendingWrites(self._pending_writes, self._pending_bytes)

    @property
    def footprint(self) -> Footprint:
        """What the disk holds of the log."""
        return self._footprint

    def submit(self, writes: Sequence[Write], commit: int | None = None) -> None:
        """Queue writes whose ids grow. Never blocks.

        A commit index without writes waits for the next write or for `close`, because it needs no sync.

        Raises:
            StorageError: the writer is closed or has failed.
        """
        if self._failure is not None or self._closing.is_set():
            self._refuse()
        if not writes:
            self._lazy_commit = commit if commit is not None else self._lazy_commit
            return
        # The commit index only grows: one that comes with writes supersedes one that waits.
        commit = self._lazy_commit if commit is None else commit
        self._lazy_commit = None
        size = log_bytes = 0
        for write in writes:
            write_size = size_bytes(write)
            size += write_size
            if not isinstance(write, StoreSnapshot):
                log_bytes += write_size
        with self._counts:
            self._pending_writes += len(writes)
            self._pending_bytes += size
        self._handed_over = writes[-1].write_id
        self._queue.put(_Submission(list(writes), commit, size, log_bytes, self._handed_over))

    def _refuse(self) -> NoReturn:
        if self._failure is not None:
            raise StorageError(f"storage has failed, nothing is written: {self._failure}")
        raise StorageError("the storage writer is closed")

    # -- writes of the caller -----------------------------------------------------------------------

    def try_write(self, writes: Sequence[Write], commit: int | None = None) -> bool:
        """Make writes durable in the caller's thread, if that takes no longer than a sync of a disk that was fast.

        No callback is called.

        Returns:
            whether they are durable. If not, nothing was written: `submit` them.

        Raises:
            StorageError: the writer is closed or has failed, or this write failed; then the node must stop.
        """
        if (
            self._pace is None
            or self._quick is None
            or self._handed_back != self._handed_over
            or not self._started
        ):
            return False
        if self._failure is not None or self._closing.is_set():
            self._refuse()
        size = 0
        for write in writes:
            if isinstance(write, StoreSnapshot):
                return False
            size += size_bytes(write)
        began = time.monotonic()
        if size > QUICK_WRITE_BYTES or not self._pace.is_fast(began):
            return False
        if not self._owner.acquire(blocking=False):
            return False
        try:
            if self._background is not None and self._background.has_work:
                return False
            if not self._quick.takes_quick_write(size):
                return False
            self._storage.write(writes, self._lazy_commit if commit is None else commit)
            self._meter.written(writes)
            self._footprint = self._meter.footprint
            self._quick_writes += 1
            if self._sleeps:
                self._sleeps = False
                self._queue.put(_Signal.LOOK)
        except DiskFull:
            return False  # the thread tries again, and reports that the disk is full
        except StorageError as error:
            self._failure = error
            raise
        except Exception as error:
            self._failure = StorageError(f"the storage writer failed: {error!r}")
            raise self._failure from error
        finally:
            self._owner.release()
        self._lazy_commit = None
        ended = time.monotonic()
        self._pace.took(ended - began, ended)
        return True

    def close(self, timeout_s: float | None = None) -> bool:
        """Write all queued submissions, then end the thread. The storage stays open. Idempotent.

        While the disk is full, one last attempt is made, and `on_error` reports what could not be written. Without
        `start` there is no thread, and nothing is written.

        Args:
            timeout_s: how long to wait for the thread, seconds; None for no limit.

        Returns:
            False if the thread has not ended in time. The storage must not be used then.
        """
        if not self._closing.is_set():
            self._closing.set()
            self._queue.put(_Signal.END)
        if self._worker.ident is not None:
            self._worker.join(timeout_s)
        return not self._worker.is_alive()

    def _run(self) -> None:
        try:
            self._serve()
        except StorageError as error:
            self._fail(error)
        except Exception as error:  # noqa: BLE001  # the thread's boundary: a bug must reach the node
            self._fail(StorageError(f"the storage writer failed: {error!r}"))

    def _serve(self) -> None:
        carried: _Submission | None = None
        while True:
            first = carried or self._next()
            if first is None:
                with self._owner:
                    if self._failure is None:
                        self._finish()
                return
            batch, carried, ended = self._gather(first)
            began = time.monotonic()
            with self._owner:
                self._write(batch)
            self._settle(batch, began)
            if ended:
                self._queue.put(_Signal.END)
            elif self._background is not None:
                self._keep_pace(self._background, batch.log_bytes)

    def _finish(self) -> None:
        """At the end, store the snapshots and the commit index that still wait.

        Safety does not need this: it only saves work at the next start.
        """
        while self._background is not None and self._background.is_storing:
            self._work_as_owner(self._background)
        with suppress(DiskFull):
            if self._lazy_commit is not None:
                self._storage.write([], self._lazy_commit)

    # -- in the background -----------------------------------------------------------------------

    def _keep_pace(self, background: BackgroundSnapshots, log_bytes: int) -> None:
        """After each batch do one transaction of background work, or as many as the size of the batch demands."""
        background.appended(log_bytes)
        if background.has_work:
            self._work(background)
        while background.is_behind:
            self._work(background)

    def _work(self, background: BackgroundSnapshots) -> None:
        with self._owner:
            self._work_as_owner(background)

    def _work_as_owner(self, background: BackgroundSnapshots) -> None:
        try:
            self._until_space(background.work)
        except DiskFull:  # the writer is being closed: the older snapshot stays
            background.stop()
        self._update_footprint()

    def _update_footprint(self) -> None:
        """Publish the current footprint on disk."""
        before, self._footprint = self._footprint, self._meter.footprint
        index = self._footprint.snapshot_index
        if index != before.snapshot_index:
            self._notify(partial(self._on_snapshot_stored, index))

    def _next(self) -> _Submission | None:
        """The next submission, or None at the end. Uses the time without submissions for background and idle work."""
        while self._background is not None and self._background.has_work:
            try:
                first = self._queue.get_nowait()
            except Empty:
                self._work(self._background)
                continue
            if first is not _Signal.LOOK:
                return None if first is _Signal.END else first
        while True:
            quick_writes = self._quick_writes
            timeout = None if self._idle_work is None or self._sleeps else IDLE_AFTER_S
            try:
                first = self._queue.get(timeout=timeout)
            except Empty:
                if self._quick_writes == quick_writes:
                    self._idle()
                continue
            self._sleeps = False
            if first is not _Signal.LOOK:
                return None if first is _Signal.END else first

    def _idle(self) -> None:
        """Do the idle work. Then the thread sleeps until the queue holds something."""
        with self._owner:
            if self._failure is None and self._idle_work is not None:
                self._idle_work.idle()
            self._sleeps = True

    def _gather(self, first: _Submission) -> tuple[_Submission, _Submission | None, bool]:
        """Merge the queued submissions. Returns the batch, one that no longer fits, and whether this is the end."""
        batch = first
        while True:
            try:
                more = self._queue.get_nowait()
            except Empty:
                return batch, None, False
            if more is _Signal.LOOK:
                continue
            if more is _Signal.END:
                return batch, None, True
            if batch.size + more.size > MAX_TRANSACTION_BYTES:
                return batch, more, False
            batch.writes += more.writes
            batch.commit = batch.commit if more.commit is None else more.commit
            batch.size += more.size
            batch.log_bytes += more.log_bytes
            batch.count += more.count
            batch.last_write_id = more.last_write_id

    def _write(self, batch: _Submission) -> None:
        """Make the batch durable."""
        storage, parts, writes = self._storage, self._parts, batch.writes
        if self._background is not None and parts is not None:
            writes = self._background.defer_snapshots(writes)
            for write in writes:
                if isinstance(write, StoreSnapshot) and write.reset_log:
                    # All later writes depend on this snapshot, so they wait for it. Its transactions stay bounded.
                    while self._until_space(partial(parts.write_snapshot_parts, write.snapshot)):
                        pass
        if writes or batch.commit is not None:
            self._until_space(partial(storage.write, writes, batch.commit))
            self._meter.written(writes)
            self._update_footprint()

    def _until_space(self, action: Callable[[], _T]) -> _T:
        """Run an action on the storage. While the disk is full, repeat it until it succeeds or `close` is called."""
        is_full = False
        while True:
            last_attempt = self._closing.is_set()
            try:
                result = action()
            except StorageError as error:
                if not waits_for_space(error):
                    raise
                if not is_full:
                    is_full = True
                    self._notify(partial(self._on_disk_full, error))
                if last_attempt:
                    raise
                self._closing.wait(self._retry_s)
                continue
            if is_full:
                self._notify(partial(self._on_disk_full, None))
            return result

    def _settle(self, batch: _Submission, began: float) -> None:
        with self._counts:
            self._pending_writes -= batch.count
            self._pending_bytes -= batch.size
        ended = time.monotonic()
        self._notify(partial(self._report, batch.last_write_id, ended - began, ended))

    def _report(self, last_write_id: int, took_s: float, ended: float) -> None:
        """Report what the thread has done, on the caller's thread."""
        self._handed_back = last_write_id
        if self._pace is not None:
            self._pace.took(took_s, ended)
        self._on_durable(last_write_id)

    def _fail(self, error: StorageError) -> None:
        self._failure = error
        # A closed loop raises RuntimeError: no caller is left to notify.
        with suppress(RuntimeError):
            self._notify(partial(self._on_error, error))


register_copies(globals())
