"""One node's disk: writes wait until a sync, and a crash loses those that wait."""

from __future__ import annotations

from collections import deque
from dataclasses import replace

from qcore.core.effects import StoreSnapshot, Write
from qcore.core.entry import DurableState
from qcore.core.log.durable_state import apply_write


class Disk:
    """The durable state of one node, and the writes on their way to it.

    Args:
        durable: what it holds at the start.

    Attributes:
        durable: what a crash leaves. A test may change or replace it while the node is down.
        pending: the writes that wait, in their order.
        snapshots: all snapshots that became durable, in their order.
    """

    def __init__(self, durable: DurableState) -> None:
        self.durable = durable
        self.pending: deque[Write] = deque()
        self.snapshots: list[StoreSnapshot] = []
        self._commit: int | None = None
        self._commit_before: dict[int, int] = {}  # by write id

    def load(self) -> DurableState:
        """What a server finds when it starts: a copy, which the server may change."""
        state = self.durable
        return DurableState(replace(state.hard_state), state.snapshot, list(state.entries))

    def submit(self, write: Write) -> None:
        """Let a write wait for the next sync."""
        self.pending.append(write)
        if self._commit is not None:
            self._commit_before[write.write_id] = self._commit
            self._commit = None

    def save_commit(self, commit: int) -> None:
        """Store the commit index with the next write. It needs no separate sync."""
        self._commit = commit

    def sync(self, count: int | None = None) -> int | None:
        """Make the oldest `count` waiting writes durable, or all.

        Returns:
            the id of the last one: every write up to it is durable. None if no write waited.
        """
        last: int | None = None
        for _ in range(len(self.pending) if count is None else min(count, len(self.pending))):
            write = self.pending.popleft()
            commit = self._commit_before.pop(write.write_id, None)
            if commit is not None:
                self.durable.hard_state.commit = commit
            apply_write(self.durable, write)
            if isinstance(write, StoreSnapshot):
                self.snapshots.append(write)
            last = write.write_id
        return last

    def crash(self, survive: int = 0) -> None:
        """Lose all waiting writes except the oldest `survive`, which reached the disk in time."""
        self.sync(survive)
        self.pending.clear()
        self._commit_before.clear()
        self._commit = None
