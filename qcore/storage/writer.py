"""`GroupCommitWriter`: takes writes off an event loop and makes many of them durable with one sync.

While one transaction is being synced, all that is submitted gathers for the next: the batch size
follows the load by itself, and a lone write waits for nothing. The module knows threads and no event
loop: the caller gives a `notify` such as `loop.call_soon_threadsafe`.

A caller that computes in pure Python for milliseconds holds the interpreter's lock and delays the
writer's thread by up to `sys.getswitchinterval()` (5 ms by default) after each sync. A host should lower
it, say to 0.5 ms.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from queue import Empty, SimpleQueue
from typing import Protocol, TypeVar, runtime_checkable

from qcore.core.effects import AppendLog, StoreSnapshot, Write
from qcore.core.entry import Snapshot
from qcore.errors import DiskFull, StorageError
from qcore.storage.interface import LogStorage

#: What one transaction gathers at most, in bytes (one submission may be larger).
MAX_BATCH_BYTES = 4 << 20
#: Pause between two attempts while the disk is full.
DISK_FULL_RETRY_S = 0.25
#: After this time without a write, the storage may tidy up.
IDLE_AFTER_S = 0.05
#: A snapshot with fewer characters is stored with the rest of its batch.
WRITE_AHEAD_FROM = 1 << 20
#: Bytes counted for a write on top of the entries or the snapshot that it holds.
WRITE_OVERHEAD_BYTES = 64

_T = TypeVar("_T")
Notify = Callable[[Callable[[], None]], object]


@runtime_checkable
class Tidies(Protocol):
    """A storage that has work for quiet moments, such as a checkpoint."""

    def idle(self) -> None:
        """Do it now. Raises `StorageError` if the disk fails."""
        ...


@runtime_checkable
class WritesAhead(Protocol):
    """A storage that takes a large snapshot in parts, so that what clients wait for need not wait for it."""

    def write_ahead(self, snapshot: Snapshot) -> bool:
        """Write the next parts of a snapshot whose `StoreSnapshot` comes later; False if none is left."""
        ...

    def sweep(self) -> bool:
        """Remove some of what earlier snapshots left; False if nothing is left."""
        ...


@dataclass(slots=True, frozen=True)
class Pending:
    """What was submitted and is not durable yet: the caller's measure for refusing more work."""

    writes: int
    bytes: int


@dataclass(slots=True)
class _Submission:
    writes: list[Write]
    commit: int | None
    size: int
    count: int
    last_write_id: int


class GroupCommitWriter:
    """A thread that owns a storage's `write`. From `start` on nobody else may use the storage.

    All callbacks run through `notify`, in order. None runs after `on_error` has.

    Args:
        storage: an open storage.
        notify: hands a callable to the caller's thread or loop; must be thread-safe.
        on_durable: called with the id of the newest write that is durable, and all before it.
        on_error: called once, with the error after which nothing is written any more.
        on_disk_full: called with True when a write is waiting for space, with False when it was done.
        retry_s: pause between attempts while the disk is full, seconds.
    """

    def __init__(
        self,
        storage: LogStorage,
        notify: Notify,
        *,
        on_durable: Callable[[int], None],
        on_error: Callable[[StorageError], None],
        on_disk_full: Callable[[bool], None],
        retry_s: float = DISK_FULL_RETRY_S,
    ) -> None:
        self._storage = storage
        self._notify = notify
        self._on_durable = on_durable
        self._on_error = on_error
        self._on_disk_full = on_disk_full
        self._retry_s = retry_s
        self._queue: SimpleQueue[_Submission | None] = SimpleQueue()
        self._closing = threading.Event()
        self._failure: StorageError | None = None
        self._counts = threading.Lock()
        self._pending_writes = 0
        self._pending_bytes = 0
        self._lazy_commit: int | None = None
        self._later: StoreSnapshot | None = None
        self._sweeping = isinstance(storage, WritesAhead)
        self._thread = threading.Thread(target=self._run, name="qcore-storage", daemon=True)
        self._thread.start()

    @property
    def pending(self) -> Pending:
        """What is submitted and not durable yet."""
        with self._counts:
            return Pending(self._pending_writes, self._pending_bytes)

    def submit(self, writes: Sequence[Write], commit: int | None = None) -> None:
        """Queue writes, with ids that grow. Never blocks.

        A commit index without writes is kept for the next write, or for `close`: it needs no sync.

        Raises:
            StorageError: the writer is closed, or has failed.
        """
        if self._failure is not None:
            raise StorageError(f"storage has failed, nothing is written: {self._failure}")
        if self._closing.is_set():
            raise StorageError("the storage writer is closed")
        if not writes:
            self._lazy_commit = commit if commit is not None else self._lazy_commit
            return
        # The commit index only grows: one that comes with the writes supersedes one that waited.
        commit = self._lazy_commit if commit is None else commit
        self._lazy_commit = None
        size = sum(map(size_bytes, writes))
        with self._counts:
            self._pending_writes += len(writes)
            self._pending_bytes += size
        self._queue.put(_Submission(list(writes), commit, size, len(writes), writes[-1].write_id))

    def close(self, timeout_s: float | None = None) -> bool:
        """Write what is queued, then end the thread; the storage stays open. Idempotent.

        While the disk is full one last attempt is made; what cannot be written is reported to `on_error`.

        Args:
            timeout_s: how long to wait for the thread; None for as long as it takes.

        Returns:
            False if the thread has not ended in time: the storage must not be used then.
        """
        if not self._closing.is_set():
            self._closing.set()
            self._queue.put(None)
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self._serve()
        except StorageError as error:
            self._fail(error)
        except Exception as error:  # noqa: BLE001  # the thread's boundary: the node must hear of a bug
            self._fail(StorageError(f"the storage writer failed: {error!r}"))

    def _serve(self) -> None:
        carried: _Submission | None = None
        while True:
            first = carried or self._next()
            if first is None:
                self._finish()
                return
            batch, carried, ended = self._gather(first)
            self._put_off_snapshot(batch)
            self._write(batch)
            self._settle(batch)
            if ended:
                self._queue.put(None)
            elif self._has_background_work:
                self._work_in_background()

    def _finish(self) -> None:
        """At the end, store what waited: a snapshot and the commit index. A help, not a duty."""
        with suppress(DiskFull):
            while self._later is not None:
                self._work_in_background()
            if self._lazy_commit is not None:
                self._storage.write([], self._lazy_commit)

    # -- snapshots, in the background ------------------------------------------------------------

    def _put_off_snapshot(self, batch: _Submission) -> None:
        """Take a large snapshot of the own state out of the batch, to be stored little by little.

        It may be late: it and the entries that it replaces say the same, whatever else is written meanwhile
        comes after those entries, and nobody waits for it. A crash leaves the older snapshot, and them.
        A snapshot from a leader is no such thing: what follows rests on it.
        """
        if not isinstance(self._storage, WritesAhead):
            return
        snapshots = [write for write in batch.writes if isinstance(write, StoreSnapshot)]
        if not snapshots:
            return
        self._sweeping = True
        newest = snapshots[-1]
        if newest.reset_log or len(newest.snapshot.data) < WRITE_AHEAD_FROM:
            self._later = None  # superseded
            return
        self._later = newest
        batch.writes = [write for write in batch.writes if write is not newest]

    @property
    def _has_background_work(self) -> bool:
        return self._later is not None or self._sweeping

    def _work_in_background(self) -> None:
        """Do one transaction's worth of what nobody waits for."""
        storage, later = self._storage, self._later
        assert isinstance(storage, WritesAhead), "put off only where it can be done"
        try:
            if later is None:
                self._sweeping = self._until_space(storage.sweep)
            elif not self._until_space(partial(storage.write_ahead, later.snapshot)):
                self._until_space(partial(storage.write, [later]))
                self._later = None
        except DiskFull:  # and the writer is being closed: the older snapshot stays
            self._later, self._sweeping = None, False

    def _next(self) -> _Submission | None:
        """The next submission, or None at the end; tidies the storage when none comes for a while."""
        while self._has_background_work:
            try:
                return self._queue.get_nowait()
            except Empty:
                self._work_in_background()
        if not isinstance(self._storage, Tidies):
            return self._queue.get()
        try:
            return self._queue.get(timeout=IDLE_AFTER_S)
        except Empty:
            self._storage.idle()
        return self._queue.get()

    def _gather(self, first: _Submission) -> tuple[_Submission, _Submission | None, bool]:
        """Merge what is queued: the batch, what did not fit any more, whether the end was seen."""
        batch = first
        while True:
            try:
                more = self._queue.get_nowait()
            except Empty:
                return batch, None, False
            if more is None:
                return batch, None, True
            if batch.size + more.size > MAX_BATCH_BYTES:
                return batch, more, False
            batch.writes += more.writes
            batch.commit = batch.commit if more.commit is None else more.commit
            batch.size += more.size
            batch.count += more.count
            batch.last_write_id = more.last_write_id

    def _write(self, batch: _Submission) -> None:
        """Make the batch durable."""
        if batch.writes or batch.commit is not None:
            self._until_space(partial(self._storage.write, batch.writes, batch.commit))

    def _until_space(self, action: Callable[[], _T]) -> _T:
        """Do something to the storage; waits for space as long as it takes, or until `close`."""
        is_full = False
        while True:
            last_attempt = self._closing.is_set()
            try:
                result = action()
            except DiskFull:
                if not is_full:
                    is_full = True
                    self._notify(partial(self._on_disk_full, True))
                if last_attempt:
                    raise
                self._closing.wait(self._retry_s)
                continue
            if is_full:
                self._notify(partial(self._on_disk_full, False))
            return result

    def _settle(self, batch: _Submission) -> None:
        with self._counts:
            self._pending_writes -= batch.count
            self._pending_bytes -= batch.size
        self._notify(partial(self._on_durable, batch.last_write_id))

    def _fail(self, error: StorageError) -> None:
        self._failure = error
        # A loop that is closed already raises RuntimeError: then there is nobody left to tell.
        with suppress(RuntimeError):
            self._notify(partial(self._on_error, error))


def size_bytes(write: Write) -> int:
    """About how many bytes a write adds to memory and disk."""
    if isinstance(write, AppendLog):
        return WRITE_OVERHEAD_BYTES + sum(entry.size_bytes() for entry in write.entries)
    if isinstance(write, StoreSnapshot):
        return WRITE_OVERHEAD_BYTES + len(write.snapshot.data)
    return WRITE_OVERHEAD_BYTES
