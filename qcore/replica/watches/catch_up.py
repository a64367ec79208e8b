"""Watches that resume: they read old changes from the history, several watches in one pass.

After a node's failure, a thousand clients may resume at the same moment. They share passes over the history, and each
step of the replica does a bounded part of a pass.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from qcore.compiled_build import register_copies
from qcore.machines.interface import Change, MakesNotices, SupportsWorkCost
from qcore.replica.watches.change_history import ChangeHistory, Position

#: The most that one step does: each change that it looks at and each small notice cost 1. The last one may exceed it.
MAX_STEP_COST: Final = 2000
#: Topics of a change that cost as much as one notice.
_TOPICS_PER_COST: Final = 8


@dataclass(eq=False)
class Watch:
    """A watch that has begun.

    Attributes:
        watch_id: its number.
        filter: what it receives.
        topic: the filter's topic when the watch began.
        after: it receives changes behind this position. While it reads the history, the last one that it received.
        costed: the filter, if it states what its notices cost.
        user: the name of the client's user; empty for none.
    """

    watch_id: int
    filter: MakesNotices
    topic: str
    after: Position
    costed: SupportsWorkCost | None = None
    user: str = ""


#: By topic, the watches by number.
ByTopic = dict[str, dict[int, Watch]]

#: Passes a change to a watch: the watch, log index, sequence, change. Returns the cost, 1 for a small notice.
Notify = Callable[[Watch, int, int, Change], int]


@dataclass(eq=False)
class _Pass:
    """Watches that read the history together, from a position on."""

    position: Position
    watches: ByTopic = field(default_factory=dict)
    begun: bool = False


class CatchUp:
    """The watches that have not received all old changes yet.

    Args:
        history: the old changes.
        notify: passes a change to a watch.
        caught_up: a watch has received everything in the history.
        lost: a watch needs changes that the history no longer has.
    """

    def __init__(
        self,
        history: ChangeHistory,
        notify: Notify,
        caught_up: Callable[[Watch], None],
        lost: Callable[[Watch], None],
    ) -> None:
        self._history = history
        self._notify = notify
        self._caught_up = caught_up
        self._lost = lost
        self._passes: list[_Pass] = []
        self._pass_of: dict[int, _Pass] = {}

    @property
    def busy(self) -> bool:
        """Whether a watch still reads old changes."""
        return bool(self._passes)

    def add(self, watch: Watch) -> None:
        """A watch begins to read, behind `watch.after`."""
        chosen = next((each for each in self._passes if each.position <= watch.after), None)
        if chosen is None:
            chosen = next((each for each in self._passes if not each.begun), None)
            if chosen is None:
                chosen = _Pass(watch.after)
                self._passes.append(chosen)
            chosen.position = min(chosen.position, watch.after)
        add_watch(chosen.watches, watch)
        self._pass_of[watch.watch_id] = chosen

    def remove(self, watch: Watch) -> bool:
        """Forget a watch. Returns whether it was reading."""
        found = self._pass_of.pop(watch.watch_id, None)
        if found is not None:
            remove_watch(found.watches, watch)
        return found is not None

    def clear(self) -> None:
        """Forget all watches."""
        self._passes.clear()
        self._pass_of.clear()

    def advance(self) -> None:
        """Do this step's part of the reading."""
        left = MAX_STEP_COST
        while self._passes and left > 0:
            current = self._passes[0]
            current.begun = True
            left -= self._advance(current, left)

    def _advance(self, current: _Pass, budget: int) -> int:
        """Pass changes of the next entry to the watches, as the budget allows. Returns the cost."""
        if not current.watches:
            self._passes.remove(current)
            return 1
        if current.position < self._history.dropped:
            return self._lose(current)
        entry = self._history.entry_after(current.position)
        if entry is None:
            self._end(current, self._caught_up)
            return 1
        index, seen = current.position
        cost, notified = 1, False
        for sequence in range(max(0, seen + 1) if index == entry.index else 0, len(entry.changes)):
            if cost >= budget:
                return cost  # the next step continues within the entry
            change = entry.changes[sequence]
            place = (entry.index, sequence)
            topics = change.topics
            cost += 1 + len(topics) // _TOPICS_PER_COST
            for topic in topics:
                for watch in [*current.watches.get(topic, {}).values()]:
                    if place > watch.after:
                        if cost >= budget and notified:
                            # The next step continues with the other watches of the change.
                            return cost
                        notified = True
                        watch.after = place
                        cost += max(1, self._notify(watch, entry.index, sequence, change))
            current.position = place
        # The next entry is looked for behind all changes of this one.
        current.position = (entry.index + 1, -1)
        return cost

    def _lose(self, current: _Pass) -> int:
        """The history dropped changes that the pass has not read. Watches that do not need them go on."""
        dropped = self._history.dropped
        watches = [watch for held in current.watches.values() for watch in held.values()]
        for watch in watches:
            if watch.after < dropped:
                self.remove(watch)
                self._lost(watch)
        current.position = dropped
        return 1 + len(watches)

    def _end(self, ended: _Pass, then: Callable[[Watch], None]) -> None:
        self._passes.remove(ended)
        for watches in ended.watches.values():
            for watch in watches.values():
                del self._pass_of[watch.watch_id]
                then(watch)


def add_watch(by_topic: ByTopic, watch: Watch) -> None:
    """Add a watch under its topic."""
    by_topic.setdefault(watch.topic, {})[watch.watch_id] = watch


def remove_watch(by_topic: ByTopic, watch: Watch) -> None:
    """Remove a watch, if it is there."""
    watches = by_topic.get(watch.topic)
    if watches is not None:
        watches.pop(watch.watch_id, None)
        if not watches:
            del by_topic[watch.topic]


register_copies(globals())
