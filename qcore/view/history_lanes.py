"""The history of the clients' operations, judged: an order that explains it, or why operations cannot come next."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from qcore.analysis.course.course_records import events_of
from qcore.analysis.course.course_types import Course, OperationCourse
from qcore.analysis.tables import Scalar
from qcore.sim.linearizability import (
    DEFAULT_BUDGET,
    LinearizabilityVerdict,
    Operation,
    OperationKind,
    Value,
    check_history,
)

#: The level at which histories are judged here.
LEVEL: Final = "linearizable"
#: The note of a comparison that failed.
_NO_MATCH: Final = "did not match"
#: How the note of a stale read begins. It promises less than this level.
_STALE: Final = "stale,"
_EXPECTS: Final = "expects "
_KINDS: Final[Mapping[str, OperationKind]] = {
    "write": "write",
    "read": "read",
    "cas": "cas",
    "add": "add",
}
#: How the text of a request to a custom machine begins. The value of a register is a number or a plain text.
_REQUEST: Final = ("{", "[")
_DECLARED_LEVEL: Final = re.compile(r"^\s+consistency:\s*(\w+)", re.MULTILINE)
_MOST_JUDGED: Final = 200_000
#: The placements that the checker tries for all keys of a page, some 20 s of work.
BUDGET: Final = DEFAULT_BUDGET


@dataclass(slots=True, frozen=True)
class History:
    """The judged history.

    Attributes:
        keys: one row for each key, for the page.
        absent: why there is none; empty if there is one.
        level: the level that the scenario asks for.
        judged: the numbers of the operations that were judged.
    """

    keys: list[dict[str, object]]
    absent: str
    level: str
    judged: frozenset[int]

    @property
    def content(self) -> object:
        """What the page holds."""
        return {"absent": self.absent} if self.absent else self.keys


def judged_history(course: Course) -> History:
    """Judge the operations on each register of a course."""
    declared = None if course.origin is None else _DECLARED_LEVEL.search(course.origin.scenario)
    level = LEVEL if declared is None else declared[1]
    by_key = _registers(course)
    absent = _why_absent(course, by_key)
    if absent:
        return History([], absent, level, frozenset())
    rows = _judged(course, by_key, level)
    numbers = frozenset(number for found in by_key.values() for number in found)
    return History(rows, "", level, numbers)


def _judged(
    course: Course, by_key: Mapping[str, Mapping[int, Operation]], level: str
) -> list[dict[str, object]]:
    """One row for each key. All keys share one budget, so that no page takes long; short histories come first."""
    rows: dict[str, dict[str, object]] = {}
    left = BUDGET
    for place, key in enumerate(sorted(by_key, key=lambda key: (len(by_key[key]), key))):
        operations = by_key[key]
        verdict = _verdict(key, operations, max(left // (len(by_key) - place), 1), level)
        left = max(left - verdict.steps, 0)
        rows[key] = _row(course, key, operations, verdict)
    return [rows[key] for key in sorted(rows)]


def _why_absent(course: Course, by_key: Mapping[str, Mapping[int, Operation]]) -> str:
    if not course.operations:
        return "the trace has no operations of clients"
    if not course.is_simulated:
        return "the trace of a real node has no keys and values"
    if not by_key:
        return "no operation of the trace is on a register: another machine has its own checks"
    if sum(map(len, by_key.values())) > _MOST_JUDGED:
        return f"the trace has more than {_MOST_JUDGED} operations; qcore sim run judges them all"
    return ""


def _registers(course: Course) -> dict[str, dict[int, Operation]]:
    """Key -> the operations of its history, by their numbers in the course."""
    notes = {
        (record.values[1], record.values[2]): str(record.values[6])
        for _, record in events_of(course.records, {"op"})
        if record.values[0] == "invoke"
    }
    stale = {
        (record.values[1], record.values[2])
        for _, record in events_of(course.records, {"request"})
        if record.values[0] == "stale"
    }
    stale |= {name for name, note in notes.items() if note.startswith(_STALE)}
    operations = course.operations
    other = {row.key for row in operations if not _is_on_register(row)}
    values: dict[str, dict[str, Scalar]] = {}
    for row in operations:
        values.setdefault(row.key, {"None": None})[str(row.value)] = row.value
    found: dict[str, dict[int, Operation]] = {}
    for number, row in enumerate(operations):
        name = (row.client, row.op_id)
        if row.key in other or row.outcome == "refused" or name in stale:
            continue
        text = notes.get(name, "").removeprefix(_EXPECTS)
        expected = values[row.key].get(text, text)
        found.setdefault(row.key, {})[number] = _operation(row, expected)
    return found


def _is_on_register(row: OperationCourse) -> bool:
    return (
        bool(row.key)
        and row.op in _KINDS
        and not any(
            isinstance(value, str) and value.startswith(_REQUEST)
            for value in (row.value, row.output)
        )
    )


def _operation(row: OperationCourse, expected: Scalar) -> Operation:
    kind = _KINDS[row.op]
    is_ok = row.outcome == "ok"
    output: Value = None
    if kind == "read":
        output = row.output
    elif kind == "cas" and is_ok:
        output = row.note != _NO_MATCH
    return Operation(
        client=row.client,
        op_id=row.op_id,
        key=row.key,
        kind=kind,
        input=(expected, row.value) if kind == "cas" else None if kind == "read" else row.value,
        output=output,
        invoke_us=row.invoke_us,
        return_us=row.end_us if is_ok else None,
    )


def _verdict(
    key: str, operations: Mapping[int, Operation], budget: int, level: str
) -> LinearizabilityVerdict:
    verdict = check_history(operations.values(), budget=budget)
    if verdict.result == "violation" and level != LEVEL:
        text = (
            f"no order of the operations is linearizable; the scenario asks only for the level {level}, "
            "which qcore sim run judges"
        )
    elif verdict.result == "unknown":
        text = (
            f"the checker tried {verdict.steps:,} placements of the {len(operations):,} operations on this key, its "
            "limit on a page"
        )
    else:
        return verdict
    return LinearizabilityVerdict("unknown", key, text, steps=verdict.steps)


def _row(
    course: Course, key: str, operations: Mapping[int, Operation], verdict: LinearizabilityVerdict
) -> dict[str, object]:
    numbers = {
        (operation.client, operation.op_id): number for number, operation in operations.items()
    }
    order = [numbers[each.client, each.op_id] for each in verdict.prefix]
    if verdict.result == "ok":
        entries = {number: course.operations[number].index for number in operations}
        order = sorted(filter(entries.get, operations), key=entries.__getitem__)
    return {
        "key": key,
        "result": verdict.result,
        "explanation": verdict.explanation,
        "count": len(operations),
        "order": order,
        "stuck": [numbers[each.client, each.op_id] for each in verdict.stuck],
        "why": reasons(verdict.prefix, verdict.stuck, operations.values()),
    }


# -- why an operation cannot come next ------------------------------------------------------------


def reasons(
    prefix: Sequence[Operation], stuck: Sequence[Operation], operations: Iterable[Operation]
) -> list[str]:
    """Why none of the stuck operations can come after the order that was found: a text for each.

    Args:
        prefix: the order.
        stuck: the operations in progress after it.
        operations: all operations of the key.
    """
    placed = _Placed(prefix, operations)
    return [placed.why(operation, stuck) for operation in stuck]


class _Placed:
    """The operations of a key in the order that was found.

    Args:
        prefix: the order.
        operations: all operations of the key.
    """

    def __init__(self, prefix: Sequence[Operation], operations: Iterable[Operation]) -> None:
        self._prefix = prefix
        self._operations = list(operations)
        self._changes: list[tuple[int, Value]] = []  # the places that change the value
        self._value: Value = None
        for place, operation in enumerate(prefix, 1):
            value = _after(operation, self._value)
            if value != self._value:
                self._changes.append((place, value))
            self._value = value

    def why(self, operation: Operation, stuck: Sequence[Operation]) -> str:
        """Why an operation cannot come next."""
        needed = _needs(operation)
        holds = (
            f"after the {len(self._prefix)} placed operations, the key holds {_shown(self._value)}"
        )
        if not self._prefix:
            holds = f"the key holds {_shown(self._value)} at the beginning"
        if needed is not None:
            (value,) = needed
            if operation.output is False:
                if value == self._value:
                    return f"It found another value than {_shown(value)}, but {holds}."
            elif value != self._value:
                verb = "read" if operation.kind == "read" else "replaced"
                return (
                    f"It {verb} {_shown(value)}, but {holds}. {self._history_of(value, operation)}"
                )
        return _blocked(_after(operation, self._value), operation, stuck)

    def _history_of(self, value: Value, reader: Operation) -> str:
        """What became of a value that an operation saw and the key does not hold."""
        places = [place for place, held in self._changes if held == value]
        if places or value is None:
            after = places[-1] if places else 0
            replaced = next(place for place, _ in self._changes if place > after)
            successor = self._prefix[replaced - 1]
            text = f"{_name(successor)} replaced {_shown(value)} at place {replaced}"
            if successor.return_us is not None and successor.return_us < reader.invoke_us:
                return f"{text}, and had ended {_ms(reader.invoke_us - successor.return_us)} before this one began."
            return f"{text}."
        writers = [each for each in self._operations if _writes(each, value)]
        if not writers:
            return f"No operation wrote {_shown(value)}."
        writer = writers[0]
        if reader.return_us is not None and writer.invoke_us > reader.return_us:
            late = _ms(writer.invoke_us - reader.return_us)
            return f"{_name(writer)} wrote it, but began {late} after this one had ended."
        return f"{_name(writer)} wrote it, and cannot be placed before this one."


def _needs(operation: Operation) -> tuple[Value] | None:
    """The value before an operation that explains its result, or, for a failed comparison, that does not. None: any."""
    if operation.kind == "read":
        return (operation.output,)
    if isinstance(operation.input, tuple) and operation.output is not None:
        return (operation.input[0],)
    return None


def _after(operation: Operation, value: Value) -> Value:
    """The value after an operation."""
    given = operation.input
    if isinstance(given, tuple):
        expected, new = given
        succeeds = operation.output is True or (operation.output is None and value == expected)
        return new if succeeds else value
    if operation.kind == "write":
        return given
    if operation.kind == "add" and isinstance(given, int):
        return (value if isinstance(value, int) else 0) + given
    return value


def _writes(operation: Operation, value: Value) -> bool:
    given = operation.input
    if isinstance(given, tuple):
        return given[1] == value and operation.output is not False
    return operation.kind == "write" and given == value


def _blocked(value: Value, operation: Operation, stuck: Sequence[Operation]) -> str:
    """Why an operation cannot come next although its own result fits: another one cannot follow."""
    for other in stuck:
        needed = _needs(other)
        if other is operation or needed in (None, (value,)) or other.output is False:
            continue
        assert needed is not None, "operations that follow any value were left out"
        verb = "read" if other.kind == "read" else "replaced"
        return (
            f"If it came next, the key would hold {_shown(value)}; {_name(other)}, which {verb} "
            f"{_shown(needed[0])}, could not follow."
        )
    return "It could come next, but then no order of the other operations explains their results."


def _name(operation: Operation) -> str:
    return f"{operation.kind} {operation.op_id} of client {operation.client}"


def _shown(value: Value) -> str:
    return "no value" if value is None else repr(value)


def _ms(duration_us: int) -> str:
    return f"{duration_us / 1000:.3f} ms"
