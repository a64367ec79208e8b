"""The simulated disk of one node: writes take time, share syncs, and are lost until they are synced.

It works as the real writer does: one sync is under way at a time; all writes that come meanwhile wait
in the process and go into the next sync together. So there are three places where a write can be:

| where | process crash (kill -9) | power loss |
|---|---|---|
| waiting in the process | lost | lost |
| handed to the operating system, sync under way | kept | lost, but for as many of the first as are said to survive |
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
from qcore.sim.world.engine import Call, Engine
from qcore.sim.world.latency import Sampler
from qcore.sim.world.peer_sessions import StoredIdentity


class SimDisk:
    """The durable state of one node, and the way there.

    Args:
        engine: the simulated clock.
        sync_latency: draws how long a sync takes.
        state: what the disk holds at first.

    Attributes:
        identity: what the data directory says beside the log; written at once.
        on_durable: called with a write id when all writes up to it are synced.
        syncs, writes_lost, writes_survived: counts; those survived that a power loss could have taken.
        wipes: how often a blank disk took the place of one that was not.
    """

    def __init__(self, engine: Engine, sync_latency: Sampler, state: DurableState) -> None:
        self._env = engine.env
        self._sync_latency = sync_latency
        self._slow: dict[Firing, Sampler] = {}
        self._stalls: list[Firing] = []
        self._late_by: set[Fault] = set()  # what is booked for the sync that waits
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
        """What would survive a power loss now. Look, do not touch."""
        return self._state

    @property
    def unsynced_writes(self) -> int:
        """How many writes the operating system has and did not sync yet."""
        return len(self._syncing)

    @property
    def is_idle(self) -> bool:
        """True when every write is synced."""
        return not (self._waiting or self._busy)

    @property
    def is_blank(self) -> bool:
        """True when there is nothing on it that a blank disk would not have, and nothing on its way there."""
        nothing = self._state == DurableState() and not self._syncing and not self._waiting
        return nothing and self.identity.cluster_id is None and not self.identity.known

    def load(self) -> DurableState:
        """What a process finds when it starts: a copy, its own to change."""
        state = self._state
        commit = min(state.hard_state.commit, last_index(state))
        return DurableState(
            replace(state.hard_state, commit=commit), state.snapshot, list(state.entries)
        )

    def submit(self, write: Write) -> None:
        """Take a write; it is on its way once `start_sync` is called."""
        self._waiting.append(write)

    def save_commit(self, commit: int) -> None:
        """Remember the commit index; it is stored with the next write."""
        self._commit = commit

    def start_sync(self, *, commit_alone: bool = False) -> None:
        """Begin a sync of everything that waits, unless one is under way.

        Args:
            commit_alone: sync also if nothing but the commit index is to be stored.
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
        """No sync ends until `recover`."""
        self._stalls.append(firing)

    def slow_down(self, extra_latency: Sampler, firing: Firing) -> None:
        """Every sync that begins from now on takes so much longer, until `recover`; the latest one counts."""
        self._slow[firing] = extra_latency

    def recover(self, firing: Firing | None = None) -> None:
        """End one stall or slowness, or all; a sync that waited ends when no stall is left."""
        self._stalls = [other for other in self._stalls if firing not in (None, other)]
        self._slow = {
            other: extra for other, extra in self._slow.items() if firing not in (None, other)
        }
        if self._sync_is_due:
            self._sync_ends(self._epoch)

    def crash(self, *, power_loss: bool, survivors: int = 0) -> int:
        """The process, or the machine, dies; returns how many writes that lost.

        A process that starts again finds what the operating system kept, and syncs it before use: what
        `load` gives is durable.

        Args:
            power_loss: the machine dies.
            survivors: how many of the writes under way to the disk had reached it, in their order.
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
        self._late_by.clear()
        self._epoch += 1
        self.writes_lost += lost
        return lost

    def wipe(self) -> DurableState:
        """Make the disk blank, as a new one would be: no term, vote, log, snapshot or identity.

        For a node whose process does not run. What is still on its way to the disk is lost too, and a stall or
        slowness stays: it is the device's.

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
                if firing.fault not in self._late_by:
                    firing.fault.acted += 1
                    self._late_by.add(firing.fault)
            self._sync_is_due = True
            return
        self._busy = self._sync_is_due = False
        self._late_by.clear()
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


def run_until_synced(engine: Engine, disk: SimDisk) -> None:
    """Let simulated time pass until every write is synced (for synchronous users of a disk)."""
    while not disk.is_idle:
        engine.env.step()
