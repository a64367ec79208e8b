"""`BackupTask`: takes the scheduled backups of a node. A failure is logged and counted, and does no harm."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Set
from functools import partial
from typing import Final

from qcore.core.entry import Snapshot
from qcore.errors import QcoreError
from qcore.node.backups.backup_choice import healthy_peers, takes_backups
from qcore.node.backups.backup_config import BackupConfig
from qcore.node.backups.backup_files import (
    BackupFile,
    WrittenBackup,
    backups_in,
    require_writable,
    write_backup,
)
from qcore.node.observability.backup_figures import BackupFigures
from qcore.node.observability.logs import NodeLog
from qcore.node.runtime.periodic import PeriodicTask
from qcore.node.runtime.submit_event import SubmitEvent
from qcore.replica.events import Reply, RequestSnapshot
from qcore.replica.replica import Replica
from qcore.runtime.interface import Runtime

#: How often the task looks whether a backup is due.
CHECK_INTERVAL_S: Final = 1.0
#: How long a quorum may take to confirm that the state is current, and how long the capture may take.
_CONFIRM_MS: Final = 10_000
_TIMEOUT_MS: Final = 600_000
#: After a failure the node tries again after a tenth of the interval, but not earlier than this, seconds.
_RETRY_S: Final = 10.0


class BackupTask:
    """Takes backups from `start` to `stop`, while this node is the one that does.

    Args:
        config: the settings, with a directory.
        replica: whose state is backed up.
        submit_event: gives the replica an event.
        connected: returns the peers to which the node has a connection.
        figures: what the pages show.
        log: gets the lines.
        runtime: clocks and threads.
    """

    def __init__(
        self,
        config: BackupConfig,
        replica: Replica,
        submit_event: SubmitEvent,
        connected: Callable[[], Set[int]],
        figures: BackupFigures,
        log: NodeLog,
        runtime: Runtime,
    ) -> None:
        assert config.backup_dir is not None, "there are no backups without a directory"
        self._directory = config.backup_dir
        self._interval_s = config.backup_interval_s
        self._keep = config.backup_keep
        self._replica = replica
        self._submit_event = submit_event
        self._connected = connected
        self._figures = figures
        self._log = log
        self._runtime = runtime
        #: When the next backup is due, by `runtime.seconds`; None until the directory was looked at.
        self._due_at: float | None = None
        self._busy = False
        self._task: asyncio.Task[None] | None = None
        self._timer = PeriodicTask(CHECK_INTERVAL_S, self.check)
        self._stopping = False

    def start(self) -> None:
        """Begin to take backups, on the running event loop."""
        self._timer.start()

    def stop(self) -> None:
        """Take no more backups. One that is being written is abandoned, and leaves no file."""
        self._stopping = True
        self._timer.stop()

    def check(self) -> None:
        """Begin a backup if one is due and this node takes them."""
        if (
            self._busy
            or self._stopping
            or (self._due_at is not None and self._runtime.seconds() < self._due_at)
        ):
            return
        core = self._replica.core
        if core.membership.is_empty or not core.commit_index:
            return
        if self._due_at is None:
            self._busy = True
            self._run(self._look(core.membership.cluster_id))
            return
        known = self._replica.containment
        healthy = healthy_peers(
            self._connected(),
            {*known.diverged_peers},
            known.reported_indexes,
            self._replica.applied_index,
        )
        if takes_backups(core.status(), healthy, diverged=known.diverged_at is not None):
            self._busy = True
            event = partial(
                RequestSnapshot, timeout_ms=_TIMEOUT_MS, confirm_ms=_CONFIRM_MS, stale=False
            )
            self._submit_event(event, self._captured)

    def _run(self, work: Coroutine[object, object, None]) -> None:
        # Kept, because the event loop holds only a weak reference to a task.
        self._task = asyncio.get_running_loop().create_task(work)

    async def _look(self, cluster_id: str) -> None:
        """Find the newest backup, from which the time to the next one counts."""
        try:
            found = await self._runtime.run_long(partial(self._find, cluster_id))
        except QcoreError as error:
            self._failed(error)
            self._due_at = None
            return
        finally:
            self._busy = False
        age_s = self._interval_s * 1.0
        if found:
            newest = found[-1]
            age_s = max(0.0, self._runtime.wall_us() / 1e6 - newest.taken_at)
            self._figures.last_index, self._figures.last_at = newest.index, newest.taken_at
        self._due_at = self._runtime.seconds() + max(0.0, self._interval_s - age_s)

    def _find(self, cluster_id: str) -> list[BackupFile]:
        found = backups_in(self._directory, cluster_id)
        require_writable(self._directory)
        return found

    def _captured(self, reply: Reply) -> None:
        """The replica has a snapshot, or cannot have one."""
        snapshot = self._replica.core.snapshot
        if reply.error is not None:
            self._failed(reply.error)
        else:
            assert snapshot is not None, "a successful request leaves a snapshot"
            self._run(self._write(snapshot))

    async def _write(self, snapshot: Snapshot) -> None:
        began = self._runtime.seconds()
        now_s = self._runtime.wall_us() / 1e6
        work = partial(
            write_backup,
            self._directory,
            snapshot,
            now_s,
            self._keep,
            stopping=lambda: self._stopping,
        )
        try:
            written = await self._runtime.run_long(work)
        except QcoreError as error:
            self._failed(error)
        else:
            self._written(written, self._runtime.seconds() - began)

    def _written(self, written: WrittenBackup, seconds: float) -> None:
        self._busy = False
        self._due_at = self._runtime.seconds() + self._interval_s
        figures = self._figures
        figures.taken += 1
        figures.last_index, figures.last_at = written.file.index, written.file.taken_at
        figures.last_bytes, figures.last_seconds = written.size, seconds
        figures.problem = None
        self._log.info(
            "backup written",
            path=str(written.file.path),
            index=written.file.index,
            bytes=written.size,
            removed=written.removed,
        )

    def _failed(self, error: QcoreError) -> None:
        self._busy = False
        self._due_at = self._runtime.seconds() + max(_RETRY_S, self._interval_s / 10)
        if self._stopping:
            return
        self._figures.failures += 1
        self._figures.problem = str(error)
        self._log.error("the backup failed; the node tries again", why=str(error))
