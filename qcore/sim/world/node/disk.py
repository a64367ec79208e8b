"""The simulated disk of one node: writes take time, share syncs, and are lost until they are synced.

It behaves like the writer of a real node. One sync runs at a time. Writes that arrive meanwhile wait in the process and
share the next sync. So a write is in one of three places:

| where | process crash (kill -9) | power loss |
|---|---|---|
| waiting in the process | lost | lost |
| passed to the operating system, sync in progress | kept | lost, except for the first `survivors` |
| synced | kept | kept |

A write or sync may fail (`disk_failures`), and what was stored may change (`disk_content`). The disk reacts as the
writer of a real node does. While there is no space, the writes wait and are tried again. After any other error nothing
is written, tried again or reported as durable until the process has died.
"""

from __future__ import annotations

from collections.abc import Callable

from qcore.core.effects import Write
from qcore.core.entry import DurableState
from qcore.core.log.disk_errors import DISK_FULL_RETRY_MS, waits_for_space
from qcore.errors import DiskFull, StorageError
from qcore.sim.faults.ledger import Fault, Firing
from qcore.sim.scenario.distributions import Sampler
from qcore.sim.world.clock.engine import Engine, SimEvent
from qcore.sim.world.node.disk_content import DiskContent
from qcore.sim.world.node.disk_failures import DiskFailures
from qcore.sim.world.node.peer_connections import StoredIdentity


class SimDisk:
    """The durable state of one node, and the writes on their way to it.

    Args:
        engine: the simulated clock.
        sync_latency: draws how long a sync takes.
        state: what the disk holds at first.
        where: its name, for messages.

    Attributes:
        content: what it holds.
        failures: the ways in which it fails at the moment.
        identity: what the data directory holds in addition to the log. A change of it is durable immediately.
        on_durable: called with a write id when all writes up to it are synced.
        on_error: called with the error after which the disk is not used until the process has died.
        on_full: called with the error when a write begins to wait for space, and with None when there is space again.
        syncs, writes_lost, writes_survived: counts. A write survives if it was not synced and a power loss spared it.
        wipes: how often a blank disk replaced one that was not blank.
    """

    def __init__(
        self,
        engine: Engine,
        sync_latency: Sampler,
        state: DurableState,
        where: str = "the disk",
    ) -> None:
        self._engine = engine
        self._sync_latency = sync_latency
        self._slow: dict[Firing, Sampler] = {}
        self._stalls: list[Firing] = []
        self._counted_stalls: set[Fault] = set()  # stalls already counted for the current sync
        self.content = DiskContent(state, where)
        self.failures = DiskFailures(where)
        self._waiting: list[Write] = []
        self._syncing: list[Write] = []
        self._commit = 0
        self._syncing_commit = 0
        self._epoch = 0
        self._busy = False
        self._sync_is_due = False
        self._failed = False
        self._is_full = False
        self.identity = StoredIdentity()
        self.on_durable: Callable[[int], None] = lambda _write_id: None
        self.on_error: Callable[[StorageError], None] = lambda _error: None
        self.on_full: Callable[[DiskFull | None], None] = lambda _why: None
        self.syncs = 0
        self.writes_lost = 0
        self.writes_survived = 0
        self.wipes = 0

    @property
    def durable(self) -> DurableState:
        """What would survive a power loss now. Read it, do not change it."""
        return self.content.state

    @property
    def unsynced_writes(self) -> int:
        """How many writes the operating system has and has not synced yet."""
        return len(self._syncing)

    @property
    def is_idle(self) -> bool:
        """True when every write is synced."""
        return not (self._waiting or self._busy)

    @property
    def is_blank(self) -> bool:
        """True when the disk is like a new one, and no write is on its way to it."""
        nothing = self.durable == DurableState() and not self._syncing and not self._waiting
        return nothing and self.identity.cluster_id is None and not self.identity.known

    def load(self) -> DurableState:
        """What a process finds when it starts: a copy, which the caller may change. A torn write is cut away.

        Raises:
            LogCorrupt: a checksum is wrong: there is rot.
            StorageError: the disk cannot be read.
        """
        if self.failures.active and (failure := self.failures.io_error("read")) is not None:
            raise failure[0]
        return self.content.read()

    def submit(self, write: Write) -> None:
        """Queue a write for the next `start_sync`."""
        self._waiting.append(write)

    def save_commit(self, commit: int) -> None:
        """Remember the commit index. The next sync stores it."""
        self._commit = commit

    def start_sync(self, *, commit_alone: bool = False) -> None:
        """Begin a sync of all queued writes, unless one is in progress.

        Args:
            commit_alone: sync even if only the commit index is to be stored.
        """
        if self._busy or self._failed or not (self._waiting or commit_alone):
            return
        if (self.failures.active or self._is_full) and not self._can_write():
            return
        self._busy = True
        self._syncing, self._waiting = self._waiting, []
        self._syncing_commit = self._commit
        latency = self._sync_latency()
        if self._slow:
            firing, extra_latency = next(reversed(self._slow.items()))
            extra = extra_latency()
            latency += extra
            if extra:
                firing.fault.acted += 1
        self._engine.schedule(_SyncEnd(self, self._epoch), latency)

    def stall(self, firing: Firing) -> None:
        """Let no sync end until `recover`."""
        self._stalls.append(firing)

    def slow_down(self, extra_latency: Sampler, firing: Firing) -> None:
        """Let every sync that begins from now on take longer, until `recover`. The latest slow-down counts."""
        self._slow[firing] = extra_latency

    def recover(self, firing: Firing | None = None) -> None:
        """End the stall, slow-down or failures of one firing, or all. A sync that is due ends when no stall is left.

        Rot stays. Writes that wait for space are tried again at their time.
        """
        self.failures.end(firing)
        self._stalls = [other for other in self._stalls if firing not in (None, other)]
        self._slow = {
            other: extra for other, extra in self._slow.items() if firing not in (None, other)
        }
        if self._sync_is_due:
            self.sync_ends(self._epoch)

    def crash(self, *, power_loss: bool, survivors: int = 0, torn: bool = False) -> int:
        """Lose what a crash of the process, or a power loss, loses.

        A process that starts again finds what the operating system kept, and syncs it before use. So everything that
        `load` returns is durable.

        Args:
            power_loss: the whole computer stops, not only the process.
            survivors: how many of the unsynced writes, in their order, had reached the disk.
            torn: a part of the next write had reached the disk, too; the next start cuts it away.

        Returns:
            How many writes were lost.
        """
        if power_loss:
            kept = self._syncing[:survivors]
            lost = len(self._syncing) + len(self._waiting) - len(kept)
            # The commit index is stored with the last write of a sync.
            whole = len(kept) == len(self._syncing)
            self._make_durable(kept, self._syncing_commit if kept and whole else 0)
            self.writes_survived += len(kept)
            if torn and not whole:
                self.content.tear(self._syncing[survivors])
        else:
            lost = len(self._waiting)
            self._make_durable(self._syncing, self._syncing_commit)
        self._waiting, self._syncing = [], []
        self._commit = self._syncing_commit = 0
        self._busy = self._sync_is_due = self._failed = self._is_full = False
        self._counted_stalls.clear()
        self._epoch += 1
        self.writes_lost += lost
        return lost

    def wipe(self) -> DurableState:
        """Make the disk blank, like a new one: no term, vote, log, snapshot or identity.

        The node's process must not run. Writes on their way to the disk are lost too, and so is rot. A stall, slow-down
        or failure stays, because it belongs to the device.

        Returns:
            What the disk held.
        """
        self.wipes += not self.is_blank
        self.crash(power_loss=True)
        lost = self.content.state
        self.content.wipe()
        self.identity.wipe()
        return lost

    def sync_ends(self, epoch: int) -> None:
        """The sync of this epoch is due: nothing happens if the process died meanwhile."""
        if epoch != self._epoch:
            return
        if self._stalls:
            for firing in self._stalls:
                if firing.fault not in self._counted_stalls:
                    firing.fault.acted += 1
                    self._counted_stalls.add(firing.fault)
            self._sync_is_due = True
            return
        self._busy = self._sync_is_due = False
        self._counted_stalls.clear()
        if self.failures.active and (failure := self.failures.io_error("sync")) is not None:
            error, cause = failure
            if not cause.keeps_batch():
                self._waiting, self._syncing = [*self._syncing, *self._waiting], []
                self._syncing_commit = (
                    0  # it is in the same transaction, so it is lost with the batch
                )
            self._fail(error)
            return
        writes, self._syncing = self._syncing, []
        self._make_durable(writes, self._syncing_commit)
        self.syncs += 1
        if writes:
            self.on_durable(writes[-1].write_id)
        self.start_sync()

    def _can_write(self) -> bool:
        """Whether the operating system takes the waiting writes now. If not, react to the error."""
        error: StorageError | None = self.failures.no_space(self._waiting, self.durable)
        if error is None and (failure := self.failures.io_error("write")) is not None:
            error, _ = failure
        if error is None:
            if self._is_full:
                self._is_full = False
                self.on_full(None)
            return True
        if waits_for_space(error):
            self._busy = True
            epoch = self._epoch
            self._engine.after(DISK_FULL_RETRY_MS * 1000, lambda: self._try_again(epoch))
            if not self._is_full:
                self._is_full = True
                self.on_full(error)
        else:
            self._fail(error)
        return False

    def _try_again(self, epoch: int) -> None:
        if epoch == self._epoch:
            self._busy = False
            self.start_sync()

    def _fail(self, error: StorageError) -> None:
        """Stop using the disk, and report this after the current event."""
        self._failed = True
        epoch = self._epoch

        def report() -> None:
            if epoch == self._epoch:
                self.on_error(error)

        self._engine.after(0, report)

    def _make_durable(self, writes: list[Write], commit: int) -> None:
        for write in writes:
            self.content.store(write)
        hard_state = self.durable.hard_state
        if commit > hard_state.commit:
            hard_state.commit = commit


class _SyncEnd(SimEvent):
    """The end of a sync of a disk."""

    def __init__(self, disk: SimDisk, epoch: int) -> None:
        self.due_us = 0
        self.order = 0
        self._disk = disk
        self._epoch = epoch

    def fire(self) -> None:
        self._disk.sync_ends(self._epoch)
