"""The apply backlog: what is committed and not applied yet. It keeps every step of the replica short.

Usually the backlog is empty: a step applies what it commits. But one message can commit thousands of entries for a
follower that was away, or install a snapshot of the whole state. Then each step applies a bounded part, and
`next_deadline` requests the next step immediately. The bounds are counts and bytes, not times, so they are the same for
every driver. Reads wait until the state that they must see is applied.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from qcore.core.entry import Entry
from qcore.core.text_size import utf8_length
from qcore.machines.interface import StateMachine, SupportsWorkCost

#: The most that one step applies. An entry costs 1, and 1 more for each KiB of its data and of its result, and what the
#: machine reports (`SupportsWorkCost`). The last entry of a step may exceed the limit.
MAX_STEP_COST: Final = 512
#: The cost of restoring one part of a snapshot.
RESTORE_COST: Final = MAX_STEP_COST // 2


def cost_of(text: str) -> int:
    """The cost of a text in a step: 1 for each KiB."""
    return (len(text) if text.isascii() else utf8_length(text)) >> 10


def work_counter(machine: StateMachine) -> Callable[[], int]:
    """A function that returns the cost of the machine's last command or query, without the cost of its texts."""
    if isinstance(machine, SupportsWorkCost):

        def last_cost() -> int:
            cost: object = machine.last_cost
            return max(0, cost) if isinstance(cost, int) else 0

        return last_cost
    return lambda: 0


class ApplyBacklog:
    """The entries and the snapshot that the state machine does not have yet, and the reads that wait for them.

    Args:
        apply: applies one entry.
        serve: serves the read with this ticket.

    Attributes:
        busy: whether the next step has work here.
    """

    def __init__(self, apply: Callable[[Entry], None], serve: Callable[[int], None]) -> None:
        self._apply = apply
        self._serve = serve
        self._entries: deque[Entry] = deque()
        self._restoring: Iterator[None] | None = None
        self._restored: Callable[[], None] | None = None
        self._reads: list[tuple[int, int]] = []  # (index to wait for, ticket)
        self._left = MAX_STEP_COST
        self.busy = False

    @property
    def restoring(self) -> bool:
        """True while a snapshot is being restored: the state is that of no index."""
        return self._restoring is not None

    def begin_step(self) -> None:
        """A new step begins, with the full budget."""
        self._left = MAX_STEP_COST

    def appended(self, entries: Sequence[Entry]) -> None:
        """The log has grown in this step: raise the step's budget by the same amount while a backlog exists.

        Without this, a node that appends faster than it applies would fall behind without bound.
        """
        if self.busy:
            self._left += sum(1 + cost_of(entry.data) for entry in entries)

    def add(self, entries: Sequence[Entry]) -> None:
        """These entries are committed: apply as many as the budget allows, and keep the rest."""
        if self.busy:
            self._entries.extend(entries)
            return
        for position, entry in enumerate(entries):
            if self._left <= 0:
                self._entries.extend(entries[position:])
                self.busy = True
                return
            self._apply_one(entry)

    def spend(self, cost: int) -> None:
        """Charge the step for an entry, in addition to the size of its data."""
        self._left -= cost

    def _apply_one(self, entry: Entry) -> None:
        self._left -= 1 + cost_of(entry.data)
        self._apply(entry)

    def replace(self, restoring: Iterator[None], restored: Callable[[], None]) -> None:
        """A snapshot replaces the state and the entries that wait.

        Args:
            restoring: each item does a bounded part of the work.
            restored: called after the last item.
        """
        self._entries.clear()
        self._restoring, self._restored = restoring, restored
        self.busy = True
        self.advance()

    def advance(self) -> None:
        """Restore and apply as much as the budget allows."""
        while self._restoring is not None and self._left > 0:
            if next(self._restoring, self) is not self:
                self._left -= RESTORE_COST
            else:
                self._restoring = None
                self.busy = bool(self._entries)
                assert self._restored is not None, "it comes with `_restoring`"
                self._restored()
        while self._entries and self._left > 0 and self._restoring is None:
            entry = self._entries.popleft()
            self.busy = bool(self._entries)
            self._apply_one(entry)

    def wait_for(self, index: int, ticket: int) -> None:
        """Serve this read once `index` is applied."""
        heapq.heappush(self._reads, (index, ticket))

    def reached(self, index: int) -> None:
        """The state is that of `index` now: serve the reads that waited for it."""
        while self._reads and self._reads[0][0] <= index:
            self._serve(heapq.heappop(self._reads)[1])
