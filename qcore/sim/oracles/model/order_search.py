"""Searches for an order that explains every answer, where the order of the log does not.

Wing and Gong, "Testing and Verifying Concurrent Objects" (1993), with the memoisation of Lowe, "Testing for
Linearizability" (2017), for any sequential model: a depth-first search that visits each configuration once. A
configuration is the set of placed operations and the state.

Four sound rules save most of the work:

- A read that fits the state and leaves it is placed immediately, without an alternative: from any later place in some
  order, it could be moved here.
- An operation of unknown outcome that would not change the state is not placed. Those of equal text are used in the
  order in which they began.
- Without an order of times, operations of equal request and answer are placed in the order in which they began.
- Of the operations that may come next, that of the lowest place in the log is tried first.

A count of steps bounds the search, never a clock: the same history has the same verdict everywhere.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from qcore.sim.oracles.model.canonical_state import canonical
from qcore.sim.oracles.model.consistency_level import LevelRules
from qcore.sim.oracles.model.log_witness import comes_before
from qcore.sim.oracles.model.model_operation import ModelOperation
from qcore.sim.oracles.model.state_judge import KeyedStates, StateJudge
from qcore.sim.oracles.user_function import BrokenOracle

SearchResult = Literal["ok", "violation", "unknown"]


@dataclass(slots=True)
class OrderFound:
    """The outcome of a search.

    Attributes:
        result: `violation` if no order explains the answers, `unknown` if the budget was used up.
        steps: how many steps of the model it took.
        prefix: the longest order that it found.
        states: the states after the prefix.
        stuck: the answered operations of which one must come next.
        raised: the first error that the model raised in an order that the search tried. It counts as an answer that
            does not fit.
    """

    result: SearchResult
    steps: int
    prefix: list[ModelOperation] = field(default_factory=list)
    states: KeyedStates | None = None
    stuck: list[ModelOperation] = field(default_factory=list)
    raised: str = ""


class _Path(NamedTuple):
    """The placed operations, the last one first."""

    op: ModelOperation
    before: _Path | None


@dataclass(slots=True)
class _Configuration:
    """One configuration, and the operations that were not yet tried as the next one.

    `placed` has one bit for each answered operation; `used` counts the operations of each unknown group; `forms` has
    the canonical form of each key's state.
    """

    placed: int
    used: tuple[int, ...]
    states: KeyedStates
    forms: dict[Hashable, Hashable]
    path: _Path | None
    count: int
    untried: Iterator[tuple[int, int]] = field(default_factory=lambda: iter(()))


def search_order(
    operations: Sequence[ModelOperation], judge: StateJudge, rules: LevelRules, budget: int
) -> OrderFound:
    """Search for an order of all answered operations, and some of unknown outcome.

    Args:
        operations: the history.
        judge: judges each answer.
        rules: which operations must keep the order of their times.
        budget: the number of steps to try.
    """
    return _OrderSearch(operations, judge, rules).run(budget)


class _OrderSearch:
    def __init__(
        self, operations: Sequence[ModelOperation], judge: StateJudge, rules: LevelRules
    ) -> None:
        self._judge = judge
        self._raised = ""
        self._known = sorted(
            (op for op in operations if op.return_us is not None),
            key=lambda op: (op.invoke_us, op.client, op.op_id),
        )
        unknown = sorted(
            (op for op in operations if op.return_us is None and not op.is_read),
            key=lambda op: (op.invoke_us, op.client, op.op_id),
        )
        groups: dict[tuple[Hashable, ...], list[ModelOperation]] = {}
        scope = rules.scope
        for op in unknown:
            lane = {"all": 0, "client": op.client, "none": 0}[scope]
            groups.setdefault((lane, op.key, op.request.text), []).append(op)
        self._groups = list(groups.values())
        lanes: dict[int, list[int]] = {}
        for number, op in enumerate(self._known):
            lane = {"all": 0, "client": op.client, "none": number}[scope]
            lanes.setdefault(lane, []).append(number)
        self._lanes = list(lanes.values()) if scope != "none" else _equal_operations(self._known)
        self._ordered = scope != "none"
        self._predecessors = self._find_predecessors() if self._ordered else {}
        self._lane_of_group = [
            {"all": 0, "client": group[0].client, "none": -1}[scope] for group in self._groups
        ]
        self._lane_numbers = {lane: position for position, lane in enumerate(lanes)}
        self._initial = KeyedStates.before(judge, operations)

    def _find_predecessors(self) -> dict[int, int]:
        """By operation, the last one of the same client that was answered in the microsecond in which it began."""
        ends: dict[tuple[int, int | None], list[int]] = {}
        for number, op in enumerate(self._known):
            ends.setdefault((op.client, op.return_us), []).append(number)
        found: dict[int, int] = {}
        for number, op in enumerate(self._known):
            for other in ends.get((op.client, op.invoke_us), ()):
                if comes_before(self._known[other], op):
                    found[number] = other
        return found

    def run(self, budget: int) -> OrderFound:
        steps = 0
        forms = {key: canonical(state) for key, state in self._initial.values.items()}
        start = _Configuration(
            0,
            (0,) * len(self._groups),
            self._initial,
            forms,
            None,
            0,
        )
        start.untried = self._next_of(start)
        best, stack = start, [start]
        seen: set[Hashable] = set()
        while stack:
            here = stack[-1]
            if here.count == len(self._known):
                return OrderFound("ok", steps, _listed(here.path), here.states)
            choice = next(here.untried, None)
            if choice is None:
                stack.pop()
                continue
            if steps >= budget:
                return self._outcome("unknown", steps, best)
            steps += 1
            there = self._placed(here, *choice)
            if there is None:
                continue
            first = _first_free(there.placed)
            key = (first, there.placed >> first, there.used, tuple(there.forms.values()))
            if key in seen:
                continue
            seen.add(key)
            there.untried = self._next_of(there)
            stack.append(there)
            if there.count > best.count:
                best = there
        return self._outcome("violation", steps, best)

    def _outcome(self, result: SearchResult, steps: int, best: _Configuration) -> OrderFound:
        stuck = [self._known[number] for group, number in self._next_of(best) if group < 0]
        return OrderFound(result, steps, _listed(best.path), best.states, stuck, self._raised)

    def _placed(self, here: _Configuration, group: int, number: int) -> _Configuration | None:
        """The configuration after one more operation; None if it cannot come next, or would change nothing."""
        op = self._known[number] if group < 0 else self._groups[group][number]
        state = here.states.of(op.key)
        try:
            fits, after = self._judge.step(state, op)
        except (
            BrokenOracle
        ) as error:  # the search also tries orders for which the model was not written
            self._raised = self._raised or str(error)
            return None
        if not fits:
            return None
        form = here.forms[op.key] if after is state else canonical(after)
        unchanged = form == here.forms[op.key]
        if group >= 0:
            if unchanged:
                return None
            used = list(here.used)
            used[group] += 1
            placed, count, uses = here.placed, here.count, tuple(used)
        else:
            if op.is_read and unchanged:
                here.untried = iter(())  # no alternative is better
            placed, count, uses = here.placed | 1 << number, here.count + 1, here.used
        return _Configuration(
            placed,
            uses,
            here.states if unchanged else here.states.changed(op.key, after),
            here.forms if unchanged else {**here.forms, op.key: form},
            _Path(op, here.path),
            count,
        )

    def _next_of(self, here: _Configuration) -> Iterator[tuple[int, int]]:
        """The operations that may come next, as (-1, number) or as (group, number)."""
        limits: list[int | None] = []
        found: list[tuple[int, int]] = []
        first = _first_free(here.placed)
        for lane in self._lanes:
            limit: int | None = None
            free: list[int] = []
            for position in range(bisect_left(lane, first), len(lane)):
                number = lane[position]
                if here.placed >> number & 1:
                    continue
                op = self._known[number]
                if limit is not None and op.invoke_us > limit:
                    break
                free.append(number)
                if not self._ordered:
                    break
                assert op.return_us is not None
                limit = op.return_us if limit is None else min(limit, op.return_us)
            limits.append(limit)
            found += [(-1, number) for number in free if not self._must_wait(here, number)]
        for group, ops in enumerate(self._groups):
            used = here.used[group]
            if used == len(ops):
                continue
            lane_number = self._lane_numbers.get(self._lane_of_group[group], -1)
            limit = limits[lane_number] if lane_number >= 0 and self._ordered else None
            if limit is None or ops[used].invoke_us <= limit:
                found.append((group, used))
        found.sort(key=self._rank)
        return iter(found)

    def _must_wait(self, here: _Configuration, number: int) -> bool:
        """Whether an operation of the same client, answered in the microsecond in which this began, must come first."""
        before = self._predecessors.get(number)
        return before is not None and not here.placed >> before & 1

    def _rank(self, choice: tuple[int, int]) -> tuple[bool, int, bool, int]:
        group, number = choice
        op = self._known[number] if group < 0 else self._groups[group][number]
        return not op.place, op.place, op.is_read, op.invoke_us


def _first_free(placed: int) -> int:
    """The lowest position that is not placed."""
    return (~placed & (placed + 1)).bit_length() - 1


def _equal_operations(known: Sequence[ModelOperation]) -> list[list[int]]:
    """The positions of the operations that differ only in their client and times, in one list each."""
    lanes: dict[Hashable, list[int]] = {}
    for number, op in enumerate(known):
        register = None if op.register is None else (op.register.input, op.register.output)
        lanes.setdefault((op.key, op.request, op.answer, register), []).append(number)
    return list(lanes.values())


def _listed(path: _Path | None) -> list[ModelOperation]:
    found: list[ModelOperation] = []
    while path is not None:
        found.append(path.op)
        path = path.before
    return found[::-1]
