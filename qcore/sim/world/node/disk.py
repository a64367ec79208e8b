"""The simulated disk of one node: writes take time, share syncs, and are lost until they are synced.

It behaves like the writer of a real node. One sync runs at a time. Writes that arrive meanwhile wait in the process and
share the next sync. So a write is in one of three places:

| where | process crash (kill -9) | power loss |
|---|---|---|
| waiting in the process | lost | lost |
| passed to the operating system, sync in progress | kept | lost, except for the first `survivors` |
| synced | kept | kept |
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from simpy.events import NORMAL

from qcore.core.effects import Write
from qcore.core.entry import DurableState
from qcore.core.log.durable_state import apply_write, last_index
from qcore.sim.faults.ledger import Fault, Firing
from qcore.sim.scenario.distributions import Sampler
from qcore.sim.world.engine import Call, Engine
from qcore.sim.world.node.peer_connections import StoredIdentity


class SimDisk:
    """The durable state of one node, and the writes on their way to it.

    Args:
        engine: the simulated clock.
        sync_latency: draws how long a sync takes.
        state: what the disk holds at first.

    Attributes:
        identity: what the data directory holds in addition to the log. A change of it is durable immediately.
        on_durable: called with a write id when all writes up to it are synced.
        syncs, writes_lost, writes_survived: counts. A write survives if it was not synced and a power loss spared it.
        wipes: how often a blank disk replaced one that was not blank.
    """

    def __init__(self, engine: Engine, sync_latency: Sampler, state: DurableState) -> None:
        self._env = engine.env
        self._sync_latency = sync_latency
        self._slow: dict[Firing, Sampler] = {}
        self._stalls: list[Firing] = []
        self._counted_stalls: set[Fault] = set()  # stalls already counted for the current sync
        self._state = state
        self._waiting: list[Write] = []
        self._syncing: list[Write] = []
        self._commit = 0
        self._syncing_commit = 0
        self._epoch = 0
        self._busy = False
        self._sync_is_due = False
        self.identity = StoredIdentity()
        self.on_durable: Callable[[int], None] = lambda _write_id: None
        self.syncs = 0
        self.writes_lost = 0
        self.writes_survived = 0
        self.wipes = 0

    @property
    def durable(self) -> DurableState:
        """What would survive a power loss now. Read it, do not change it."""
        return self._state

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
        nothing = self._state == DurableState() and not self._syncing and not self._waiting
        return nothing and self.identity.cluster_id is None and not self.identity.known

    def load(self) -> DurableState:
        """What a process finds when it starts: a copy, which the caller may change."""
        state = self._state
        commit = min(state.hard_state.commit, last_index(state))
        return DurableState(
            replace(state.hard_state, commit=commit), state.snapshot, list(state.entries)
        )

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
        if self._busy or not (self._waiting or commit_alone):
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
        epoch = self._epoch
        self._env.schedule(Call(lambda _event: self._sync_ends(epoch)), NORMAL, latency)

    def stall(self, firing: Firing) -> None:
        """Let no sync end until `recover`."""
        self._stalls.append(firing)

    def slow_down(self, extra_latency: Sampler, firing: Firing) -> None:
        """Let every sync that begins from now on take longer, until `recover`. The latest slow-down counts."""
        self._slow[firing] = extra_latency

    def recover(self, firing: Firing | None = None) -> None:
        """End the stall or slow-down of one firing, or all. A sync that is due ends when no stall is left."""
        self._stalls = [other for other in self._stalls if firing not in (None, other)]
        self._slow = {
            other: extra for other, extra in self._slow.items() if firing not in (None, other)
        }
        if self._sync_is_due:
            self._sync_ends(self._epoch)

    def crash(self, *, power_loss: bool, survivors: int = 0) -> int:
        """Lose what a crash of the process, or a power loss, loses.

        A process that starts again finds what the operating system kept, and syncs it before use. So everything that
        `load` returns is durable.

        Args:
            power_loss: the whole computer stops, not only the process.
            survivors: how many of the unsynced writes, in their order, had reached the disk.

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
        else:
            lost = len(self._waiting)
            self._make_durable(self._syncing, self._syncing_commit)
        self._waiting, self._syncing = [], []
        self._commit = self._syncing_commit = 0
        self._busy = self._sync_is_due = False
        self._counted_stalls.clear()
        self._epoch += 1
        self.writes_lost += lost
        return lost

    def wipe(self) -> DurableState:
        """Make the disk blank, like a new one: no term, vote, log, snapshot or identity.

        The node's process must not run. Writes on their way to the disk are lost too. A stall or slow-down stays,
        because it belongs to the device.

        Returns:
            What the disk held.
        """
        self.wipes += not self.is_blank
        self.crash(power_loss=True)
        lost, self._state = self._state, DurableState()
        self.identity.wipe()
        return lost

    def _sync_ends(self, epoch: int) -> None:
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
        writes, self._syncing = self._syncing, []
        self._make_durable(writes, self._syncing_commit)
        self.syncs += 1
        if writes:
            self.on_durable(writes[-1].write_id)
        self.start_sync()

    def _make_durable(self, writes: list[Write], commit: int) -> None:
        for write in writes:
            apply_write(self._state, write)
        if commit > self._state.hard_state.commit:
            self._state.hard_state.commit = commit
