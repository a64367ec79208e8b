"""What is committed and not applied yet, so that no step of the replica takes long.

Usually that is nothing: what a step commits is applied in the same step. But a follower that was away gets
thousands of entries committed by one message, or a snapshot of the whole state. Then a bounded number
is dealt with in each step, and the rest in the next ones, which `next_deadline` asks for at once. The
bounds are counts and bytes, not times: the same on every host. Reads wait until what they must see is there.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterator, Sequence

from qcore.core.entry import Entry
from qcore.core.text_size import utf8_length
from qcore.machines.interface import StateMachine, SupportsWorkCost

#: What one step applies at most: entries, and one more for each KiB that they hold or that their results have, and what
#: the machine says that they cost (`SupportsWorkCost`). The last one of a step may exceed it.
MAX_STEP_COST = 512
#: What one part of a snapshot's restore counts for.
RESTORE_COST = MAX_STEP_COST // 2


def cost_of(text: str) -> int:
    """What a text counts for in a step: one for each KiB."""
    return utf8_length(text) >> 10


def work_counter(machine: StateMachine) -> Callable[[], int]:
    """A function that says what the machine's last command or query counts for in a step, besides its texts."""
    if isinstance(machine, SupportsWorkCost):

        def last_cost() -> int:
            cost: object = machine.last_cost
            return max(0, cost) if isinstance(cost, int) else 0

        return last_cost
    return lambda: 0


class ApplyBacklog:
    """Entries and a snapshot on their way into the state machine, and the reads that wait for them.

    Args:
        apply: applies one entry.
        serve: serves a read by its ticket.
    """

    def __init__(self, apply: Callable[[Entry], None], serve: Callable[[int], None]) -> None:
        self._apply = apply
        self._serve = serve
        self._entries: deque[Entry] = deque()
        self._restoring: Iterator[None] | None = None
        self._restored: Callable[[], None] | None = None
        self._reads: list[tuple[int, int]] = []  # (index to wait for, ticket)
        self._left = MAX_STEP_COST

    @property
    def busy(self) -> bool:
        """True if the next step has something to do here."""
        return bool(self._entries) or self._restoring is not None

    @property
    def restoring(self) -> bool:
        """True while a snapshot is being taken over: the state is that of no index."""
        return self._restoring is not None

    def begin_step(self) -> None:
        """A new step may do its full share again."""
        self._left = MAX_STEP_COST

    def appended(self, entries: Sequence[Entry]) -> None:
        """The log has grown in this step: as much more may be applied in it, if so much waits.

        Else a node that appends faster than it applies would fall behind without a bound.
        """
        if self.busy:
            self._left += sum(1 + cost_of(entry.data) for entry in entries)

    def add(self, entries: Sequence[Entry]) -> None:
        """These are committed: apply what this step may still apply, and keep the rest."""
        if self.busy:
            self._entries.extend(entries)
            return
        for position, entry in enumerate(entries):
            if self._left <= 0:
                self._entries.extend(entries[position:])
                return
            self._apply_one(entry)

    def spend(self, cost: int) -> None:
        """The entry that is being applied cost so much besides its own size."""
        self._left -= cost

    def _apply_one(self, entry: Entry) -> None:
        self._left -= 1 + cost_of(entry.data)
        self._apply(entry)

    def replace(self, restoring: Iterator[None], restored: Callable[[], None]) -> None:
        """A snapshot takes the place of the state and of all that was to be applied to it.

        Args:
            restoring: does a bounded part of the work each time it is asked for its next item.
            restored: called when it is at its end.
        """
        self._entries.clear()
        self._restoring, self._restored = restoring, restored
        self.advance()

    def advance(self) -> None:
        """Do what this step may still do."""
        while self._restoring is not None and self._left > 0:
            if next(self._restoring, self) is not self:
                self._left -= RESTORE_COST
            else:
                self._restoring = None
                if self._restored is not None:
                    self._restored()
        while self._entries and self._left > 0 and self._restoring is None:
            self._apply_one(self._entries.popleft())

    def wait_for(self, index: int, ticket: int) -> None:
        """Serve this read once `index` is applied."""
        heapq.heappush(self._reads, (index, ticket))

    def reached(self, index: int) -> None:
        """The state is now that of `index`: serve the reads that waited for it."""
        while self._reads and self._reads[0][0] <= index:
            self._serve(heapq.heappop(self._reads)[1])
