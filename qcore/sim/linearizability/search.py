"""Searches for an order that explains the history of one register: the general method, for every history.

Wing and Gong, "Testing and Verifying Concurrent Objects" (1993), with the memoisation of Lowe, "Testing for
Linearizability" (2017): a depth-first search that visits each configuration once. A configuration is the set of
placed operations and the value of the register. It is stored compactly: a window of bits from the first operation
that is not yet placed and, for each group of unknown operations with the same effect, the number used.

Four sound rules save most of the work:

- A read (or failed cas) that fits the current value is placed immediately, without an alternative: from any later
  place in some order, it could be moved here.
- An unknown operation that would not change the value is not placed.
- An unknown write is placed only immediately before an operation that is not a write: otherwise it could be left out.
- Unknown operations with the same effect are used in the order of their invocation. A configuration that differs from
  a visited one only by using more of them is not visited.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import NamedTuple

from qcore.compiled_build import register_copies
from qcore.sim.linearizability.history import KeyHistory
from qcore.sim.linearizability.operation import Operation, Result, Value
from qcore.sim.linearizability.sequential_register import INITIAL, leaves_value_unchanged, step


@dataclass
class SearchOutcome:
    """The outcome of the search.

    Attributes:
        result: `unknown` if the budget was used up.
        prefix: an order of all known operations (if ok), or the longest order that was found.
        value: the value of the register after `prefix`.
        stuck: known operations in progress after `prefix`.
        steps: how many placements were tried.
    """

    result: Result
    steps: int
    prefix: list[Operation] = field(default_factory=list)
    value: Value = INITIAL
    stuck: list[Operation] = field(default_factory=list)


@dataclass
class _Group:
    """Unknown operations with the same effect, in the order of invocation.

    `shift` and `mask` locate the number of used operations in the bits of a configuration.
    """

    operations: list[Operation]
    predecessor: int
    shift: int
    mask: int
    is_write: bool


class _Frame(NamedTuple):
    """One placed operation, and the configuration before it."""

    cursor: int
    frontier: int
    window: int
    used: int
    value: Value
    awaits_reader: bool
    limit: int
    forced: bool


class _Events:
    """Invocations and returns of the known operations in the order of time, as a linked list.

    Operation i has the list nodes 2i (invocation) and 2i+1 (return). Within one microsecond, invocations come first.
    To take an operation out and to put it back costs constant time.
    """

    def __init__(self, known: list[Operation]) -> None:
        count = len(known)
        self.head, self.tail = 2 * count, 2 * count + 1
        self.time = [0] * (2 * count)
        for i, operation in enumerate(known):
            assert operation.return_us is not None
            self.time[2 * i] = operation.invoke_us
            self.time[2 * i + 1] = operation.return_us
        time = self.time
        nodes = sorted(range(2 * count), key=lambda node: (time[node], node & 1, node))
        order = [self.head, *nodes, self.tail]
        self.next = [0] * (2 * count + 2)
        self.previous = [0] * (2 * count + 2)
        for before, after in itertools.pairwise(order):
            self.next[before] = after
            self.previous[after] = before

    def take(self, call: int) -> None:
        following, preceding = self.next, self.previous
        for node in (call, call + 1):
            before, after = preceding[node], following[node]
            following[before] = after
            preceding[after] = before

    def put_back(self, call: int) -> None:
        following, preceding = self.next, self.previous
        for node in (call + 1, call):
            following[preceding[node]] = node
            preceding[following[node]] = node

    def under_way(self) -> list[int]:
        """The positions of the operations that could come next: those invoked before the first return."""
        found = []
        node = self.next[self.head]
        while node != self.tail and not node & 1:
            found.append(node >> 1)
            node = self.next[node]
        return found


def search(history: KeyHistory, budget: int) -> SearchOutcome:
    """Search for an order of all known and some unknown operations that explains every output.

    Args:
        history: the history of one register.
        budget: the number of placements to try.
    """
    return _Search(history).run(budget)


class _Search:
    def __init__(self, history: KeyHistory) -> None:
        self.known = history.known
        self.predecessor = history.predecessor
        self.events = _Events(history.known)
        self.groups = _groups(history)
        self.is_write = [o.kind == "write" for o in history.known]
        self.is_read = [leaves_value_unchanged(o) for o in history.known]
        self.stack: list[_Frame] = []
        self.best: list[_Frame] = []
        self.initial = history.initial
        self.best_value: Value = history.initial
        self.best_stuck: list[int] = []

    def run(self, budget: int) -> SearchOutcome:
        events, groups, stack = self.events, self.groups, self.stack
        following, head, tail = events.next, events.head, events.tail
        first_group, exhausted = tail + 1, tail + 1 + len(groups)
        guards = sum((group.mask + 1) << group.shift for group in groups)
        # The configuration: every operation before `frontier` is placed, and those in `window`.
        frontier, window, used, value, awaits_reader = 0, 0, 0, self.initial, False
        seen: dict[tuple[int, int, Value, bool], list[int]] = {}
        cursor, limit, steps = following[head], 0, 0
        while following[head] != tail:
            if steps >= budget:
                self._keep_best(value)
                return self._outcome("unknown", steps)
            if cursor == exhausted:
                self._keep_best(value)
                if not stack:
                    return self._outcome("violation", steps)
                cursor, frontier, window, used, value, awaits_reader, limit, forced = stack.pop()
                if cursor < head:
                    events.put_back(cursor)
                cursor = exhausted if forced else self._after(cursor)
                continue
            steps += 1
            if cursor < head and cursor & 1:
                # A return: operations invoked later must wait. Continue with the unknown operations.
                limit, cursor = events.time[cursor], first_group
                continue
            if cursor < head:
                i = cursor >> 1
                legal, new_value = self._try_known(i, frontier, window, value, awaits_reader)
                forced, wants_reader = self.is_read[i], False
                new_used = used
            else:
                group = groups[cursor - first_group]
                count = used >> group.shift & group.mask
                legal = _usable(group, count, limit, frontier, window)
                legal = legal and not (awaits_reader and group.is_write)
                if legal:
                    legal, new_value = step(value, group.operations[count])
                    legal = legal and new_value != value
                forced, wants_reader = False, group.is_write
                new_used = used + (1 << group.shift)
            if not legal:
                cursor = self._after(cursor)
                continue
            new_frontier, new_window = frontier, window
            if cursor < head:
                new_window |= 1 << (i - frontier)
                placed = (~new_window & (new_window + 1)).bit_length() - 1
                new_window >>= placed
                new_frontier += placed
            key = (new_frontier, new_window, new_value, wants_reader)
            tried = seen.setdefault(key, [])
            if tried and _no_better(new_used | guards, tried, guards):
                steps += len(tried)
                cursor = exhausted if forced else self._after(cursor)
                continue
            tried.append(new_used)
            stack.append(
                _Frame(cursor, frontier, window, used, value, awaits_reader, limit, forced)
            )
            if cursor < head:
                events.take(cursor)
            frontier, window, value, awaits_reader = key
            used = new_used
            cursor = following[head]
        self._keep_best(value)
        return self._outcome("ok", steps)

    def _after(self, cursor: int) -> int:
        """The next alternative to the placement at `cursor`."""
        return self.events.next[cursor] if cursor < self.events.head else cursor + 1

    def _try_known(
        self, i: int, frontier: int, window: int, value: Value, awaits_reader: bool
    ) -> tuple[bool, Value]:
        """Whether known operation `i` can come next, and the value of the register after it."""
        before = self.predecessor[i]
        if before >= frontier and not window >> (before - frontier) & 1:
            return False, value
        if awaits_reader and self.is_write[i]:
            return False, value
        return step(value, self.known[i])

    def _keep_best(self, value: Value) -> None:
        """Keep the current placement if it is the longest until now."""
        if len(self.stack) > len(self.best) or not self.best_stuck:
            self.best = self.stack.copy()
            self.best_value = value
            self.best_stuck = self.events.under_way()

    def _outcome(self, result: Result, steps: int) -> SearchOutcome:
        head = self.events.head
        prefix = []
        for frame in self.best:
            if frame.cursor < head:
                prefix.append(self.known[frame.cursor >> 1])
            else:
                group = self.groups[frame.cursor - head - 2]
                prefix.append(group.operations[frame.used >> group.shift & group.mask])
        stuck = [self.known[i] for i in self.best_stuck]
        return SearchOutcome(result, steps, prefix, self.best_value, stuck)


def _no_better(used: int, tried: list[int], guards: int) -> bool:
    """Whether the same configuration was tried with fewer or equally many unknown operations used.

    Unknown operations are optional, so every order that is possible with fewer left is possible with more. `used` has
    all guard bits set. The subtraction clears a guard bit where the count is below the other one.
    """
    return any(used - less & guards == guards for less in tried)


def _usable(group: _Group, count: int, limit: int, frontier: int, window: int) -> bool:
    """Whether the group's next operation exists, was invoked by `limit`, and has its predecessor placed before it."""
    if count >= len(group.operations) or group.operations[count].invoke_us > limit:
        return False
    before = group.predecessor
    return before < frontier or bool(window >> (before - frontier) & 1)


def _groups(history: KeyHistory) -> list[_Group]:
    """Group unknown operations by their effect and by their predecessor, if they have one."""
    by_effect: dict[tuple[str, object, int], list[Operation]] = {}
    for operation, before in zip(history.unknown, history.unknown_predecessor, strict=True):
        by_effect.setdefault((operation.kind, operation.input, before), []).append(operation)
    groups = []
    shift = 0
    for (kind, _, before), operations in by_effect.items():
        bits = len(operations).bit_length()
        groups.append(_Group(operations, before, shift, (1 << bits) - 1, kind == "write"))
        shift += bits + 1  # the guard bit catches the borrow when two counts are compared
    return groups


register_copies(globals())
