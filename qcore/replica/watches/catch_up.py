"""Watches that resume: they read old changes from the history, several watches in one pass.

After a node's failure, a thousand clients may resume at the same moment. They share passes over the history, and each
step of the replica does a bounded part of a pass.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from qcore.machines.interface import Change, WatchFilter
from qcore.replica.watches.change_history import ChangeHistory, Position

#: The most that one step does: each change that it looks at and each notice cost 1. The last entry may exceed it.
MAX_STEP_COST: Final = 2000


@dataclass(slots=True, eq=False)
class Watch:
    """A watch that has begun.

    Attributes:
        watch_id: its number.
        filter: what it receives.
        after: it receives changes behind this position.
    """

    watch_id: int
    filter: WatchFilter
    after: Position


#: By topic, the watches by number.
ByTopic = dict[str, dict[int, Watch]]

#: Passes a change to a watch: the watch, log index, sequence, change.
Notify = Callable[[Watch, int, int, Change], None]


@dataclass(slots=True, eq=False)
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
            left -= self._advance(current)

    def _advance(self, current: _Pass) -> int:
        """Pass the next entry to the watches. Returns the cost."""
        if current.position < self._history.dropped:
            self._end(current, self._lost)
            return 1
        entry = self._history.entry_after(current.position)
        if entry is None:
            self._end(current, self._caught_up)
            return 1
        cost = len(entry.changes)
        for sequence, change in enumerate(entry.changes):
            place = (entry.index, sequence)
            if place <= current.position:
                continue
            current.position = place
            for topic in change.topics:
                for watch in [*current.watches.get(topic, {}).values()]:
                    if place > watch.after:
                        self._notify(watch, entry.index, sequence, change)
                        cost += 1
        # The next entry is looked for behind all changes of this one.
        current.position = max(current.position, (entry.index + 1, -1))
        return cost

    def _end(self, ended: _Pass, then: Callable[[Watch], None]) -> None:
        self._passes.remove(ended)
        for watches in ended.watches.values():
            for watch in watches.values():
                del self._pass_of[watch.watch_id]
                then(watch)


def add_watch(by_topic: ByTopic, watch: Watch) -> None:
    """Add a watch under its topic."""
    by_topic.setdefault(watch.filter.topic, {})[watch.watch_id] = watch


def remove_watch(by_topic: ByTopic, watch: Watch) -> None:
    """Remove a watch, if it is there."""
    watches = by_topic.get(watch.filter.topic)
    if watches is not None:
        watches.pop(watch.watch_id, None)
        if not watches:
            del by_topic[watch.filter.topic]
