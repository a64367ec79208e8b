"""Checks a long history in segments, so that memory depends on the longest segment and not on the history.

A quiescent point of a register is a moment at which no operation on it is in progress. Every operation before it
returned before every operation after it was invoked. So each order that explains the history is an order of the
segment before the point, followed by an order of the segment after it, and the two share only the value of the register
in between. The check carries the possible values from segment to segment: the history is linearizable exactly if some
value is possible at the end.

An operation of unknown outcome may take effect at any later time. No quiescent point follows it on its register, so
everything after it belongs to one segment.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from qcore.compiled_build import register_copies
from qcore.sim.linearizability.history import KeyHistory
from qcore.sim.linearizability.key_verdict import check_key, violation
from qcore.sim.linearizability.operation import LinearizabilityVerdict, Operation, Value
from qcore.sim.linearizability.search import search
from qcore.sim.linearizability.sequential_register import INITIAL, leaves_value_unchanged, step

_SHOWN_VALUES = 5


class NotInOrder(Exception):
    """The operations are not in the order of their invocation."""


@dataclass
class _Register:
    """One register between two quiescent points.

    Attributes:
        values: the values that it can hold before `segment`; with their types, because 1 and true are equal.
        segment: the operations since the last quiescent point.
        busy_until: the latest return in `segment`; None after an operation of unknown outcome.
    """

    values: dict[tuple[type, Value], Value] = field(
        default_factory=lambda: {(type(INITIAL), INITIAL): INITIAL}
    )
    segment: list[Operation] = field(default_factory=list)
    busy_until: int | None = -1


def check_in_segments(operations: Iterable[Operation], budget: int) -> LinearizabilityVerdict:
    """Check a history. The result is `unknown` if the budget is too small for some segment.

    Args:
        operations: in the order of their invocation.
        budget: the number of placements to try, over all registers together.

    Raises:
        NotInOrder: they are not in that order.
        ValueError: see `Operation.validate`.
    """
    check = _SegmentCheck(budget)
    before, total = -1, 0
    for operation in operations:
        operation.validate()
        if operation.invoke_us < before:
            raise NotInOrder
        before = operation.invoke_us
        total += 1
        check.add(operation)
    check.finish()
    verdict = check.verdict
    return LinearizabilityVerdict(
        verdict.result,
        verdict.key,
        verdict.explanation,
        verdict.prefix,
        verdict.stuck,
        check.steps,
        total,
    )


class _SegmentCheck:
    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._registers: dict[str, _Register] = {}
        #: Registers of which a segment took too many steps.
        self._undecided: dict[str, None] = {}
        self.steps = 0
        self.verdict = LinearizabilityVerdict("ok")

    def add(self, operation: Operation) -> None:
        """Take the next operation."""
        key = operation.key
        if self.verdict.result == "violation" or key in self._undecided:
            return
        if operation.return_us is None and operation.kind == "read":
            return  # it shows nothing
        register = self._registers.get(key)
        if register is None:
            register = self._registers[key] = _Register()
        busy_until = register.busy_until
        is_quiescent = busy_until is not None and busy_until < operation.invoke_us
        if is_quiescent and register.segment and not self._close(key, register):
            return
        register.segment.append(operation)
        if operation.return_us is None:
            register.busy_until = None
        elif register.busy_until is not None:
            register.busy_until = max(register.busy_until, operation.return_us)

    def finish(self) -> None:
        """Judge the last segment of each register."""
        for key in sorted(self._registers):
            if self.verdict.result == "violation":
                return
            if key not in self._undecided:
                self._judge_last(key, self._registers[key])
        if self._undecided and self.verdict.result == "ok":
            self.verdict = LinearizabilityVerdict("unknown", next(iter(self._undecided)))

    def _close(self, key: str, register: _Register) -> bool:
        """Go beyond a quiescent point; False if no value is possible there, or the budget is used up."""
        alone = len(register.segment) == 1
        after = self._values_after_one(register) if alone else self._values_after(register)
        if after is None:
            self._leave_undecided(key)
        elif after:
            register.values, register.segment = after, []
        else:
            self._explain(key, register)
        return bool(after)

    def _values_after_one(self, register: _Register) -> dict[tuple[type, Value], Value]:
        """`_values_after` for a segment of one operation, as most are under a light load."""
        found: dict[tuple[type, Value], Value] = {}
        for value in register.values.values():
            self.steps += 1
            legal, new = step(value, register.segment[0])
            if legal:
                found[type(new), new] = new
        return found

    def _values_after(self, register: _Register) -> dict[tuple[type, Value], Value] | None:
        """The values that the register can hold after the segment; None if that takes too many steps.

        The same search as in `search`, but for all orders. All outcomes are known. A read that fits is placed
        immediately here, too, because its place changes no value.
        """
        history = KeyHistory.of("", register.segment)
        known, predecessor = history.known, history.predecessor
        is_read = [leaves_value_unchanged(operation) for operation in known]
        complete = (1 << len(known)) - 1
        found: dict[tuple[type, Value], Value] = {}
        stack: list[tuple[int, Value]] = [(0, value) for value in register.values.values()]
        seen: dict[tuple[int, type, Value], None] = {}
        while stack:
            placed, value = stack.pop()
            if (placed, type(value), value) in seen:
                continue
            seen[placed, type(value), value] = None
            if placed == complete:
                found[type(value), value] = value
                continue
            following: list[tuple[int, Value]] = []
            first_return: int | None = None
            frontier = (~placed & (placed + 1)).bit_length() - 1
            for i in range(frontier, len(known)):
                if placed >> i & 1:
                    continue
                operation = known[i]
                if first_return is not None and operation.invoke_us > first_return:
                    break
                assert operation.return_us is not None, "a closed segment has no unknown outcome"
                if first_return is None or operation.return_us < first_return:
                    first_return = operation.return_us
                self.steps += 1
                before = predecessor[i]
                if before >= 0 and not placed >> before & 1:
                    continue
                legal, new = step(value, operation)
                if legal and is_read[i]:
                    following = [(placed | 1 << i, new)]
                    break
                if legal:
                    following.append((placed | 1 << i, new))
            if self.steps > self._budget:
                return None
            stack += reversed(following)
        return found

    def _judge_last(self, key: str, register: _Register) -> None:
        """Judge a segment that nothing follows: one value from which some order explains it is enough."""
        for value in register.values.values():
            history = KeyHistory.of(key, register.segment, value)
            verdict = check_key(history, max(0, self._budget - self.steps))
            self.steps += verdict.steps
            if verdict.result == "ok":
                return
            if verdict.result == "unknown":
                self._leave_undecided(key)
                return
        self._explain(key, register)

    def _leave_undecided(self, key: str) -> None:
        self._undecided[key] = None
        del self._registers[key]

    def _explain(self, key: str, register: _Register) -> None:
        """Set the verdict on a segment that no order explains from any value. The longest order shows most."""
        segment, values = register.segment, list(register.values.values())
        histories = [KeyHistory.of(key, segment, value) for value in values[:_SHOWN_VALUES]]
        outcomes = [search(history, self._budget) for history in histories]
        best = max(range(len(outcomes)), key=lambda i: len(outcomes[i].prefix))
        shown = " or ".join(repr(value) for value in values[:_SHOWN_VALUES])
        context = (
            f"all operations that began before {segment[0].invoke_us} us are explained: the value is then {shown}. "
            f"Of the {len(segment)} operations after that:"
        )
        self.verdict = violation(histories[best], outcomes[best], None, context)
        self._registers.clear()


register_copies(globals())
