"""The fast method of the checker: it decides the history of a register whose written values are all different.

Gibbons and Korach, "Testing Shared Memories" (1997), section 4.2: if the write that each read saw is known, group each
write with its reads (a cluster). The zone of a cluster reaches from its earliest return to its latest invocation. If
the return comes first (a forward zone), the register must hold the value during the whole zone. Otherwise (a backward
zone) one instant between is enough. The history is linearizable exactly if no read returns before its write is
invoked, no two forward zones overlap, and no backward zone lies within a forward zone. This takes time n log n, for
any number of unknown operations.
"""

from __future__ import annotations

import itertools
from bisect import bisect_left
from dataclasses import dataclass
from operator import attrgetter

from qcore.compiled_build import register_copies
from qcore.sim.linearizability.history import KeyHistory
from qcore.sim.linearizability.operation import Value

_BEFORE_ALL = float("-inf")
_NEVER = float("inf")
_Span = tuple[float, float]


@dataclass
class _Zone:
    value: Value
    first_return: float
    last_invoke: float

    @property
    def is_forward(self) -> bool:
        return self.first_return < self.last_invoke


def applies_to(history: KeyHistory) -> bool:
    """Whether the history has only reads and writes, and no value (the initial one included) is written twice."""
    written: set[Value] = {history.initial}
    for operation in (*history.known, *history.unknown):
        if operation.kind == "read":
            continue
        if operation.kind != "write" or isinstance(operation.input, tuple):
            return False
        if operation.input in written:
            return False
        written.add(operation.input)
    return _spans(history) is not None


def find_conflict(history: KeyHistory) -> str | None:
    """Why the history is not linearizable; None if it is. Call it only if `applies_to(history)`."""
    spans = _spans(history)
    assert spans is not None, "call applies_to first"
    zones = _zones(history, spans)
    if isinstance(zones, str):
        return zones
    forward = sorted((z for z in zones if z.is_forward), key=attrgetter("first_return"))
    for earlier, later in itertools.pairwise(forward):
        if later.first_return < earlier.last_invoke:
            return (
                f"{earlier.value!r} is seen before and after {later.value!r}: both would have to "
                f"be there {_span(later.first_return, min(earlier.last_invoke, later.last_invoke))}"
            )
    starts = [zone.first_return for zone in forward]
    for zone in zones:
        if zone.is_forward:
            continue
        around = bisect_left(starts, zone.last_invoke) - 1
        if around >= 0 and zone.first_return < forward[around].last_invoke:
            return (
                f"{zone.value!r} must be there at some time {_span(zone.last_invoke, zone.first_return)}, "
                f"but {forward[around].value!r} is seen before and after it"
            )
    return None


def _zones(history: KeyHistory, spans: list[_Span]) -> list[_Zone] | str:
    """The zone of each written value and of the initial one; or, as text, a read that no order explains."""
    operations = (*history.known, *history.unknown)
    initial = history.initial
    zones: dict[Value, _Zone] = {initial: _Zone(initial, _BEFORE_ALL, _BEFORE_ALL)}
    invoked: dict[Value, float] = {initial: _BEFORE_ALL}
    for operation, (invoke, answer) in zip(operations, spans, strict=True):
        if operation.kind == "write":
            assert not isinstance(operation.input, tuple)
            zones[operation.input] = _Zone(operation.input, answer, invoke)
            invoked[operation.input] = invoke
    for operation, (invoke, answer) in zip(operations, spans, strict=True):
        if operation.kind != "read":
            continue
        zone = zones.get(operation.output)
        if zone is None:
            return f"nobody ever wrote what this saw: {operation.describe()}"
        if answer < invoked[operation.output]:
            return f"this ended before {operation.output!r} was written: {operation.describe()}"
        zone.first_return = min(zone.first_return, answer)
        zone.last_invoke = max(zone.last_invoke, invoke)
    return list(zones.values())


def _spans(history: KeyHistory) -> list[_Span] | None:
    """The start and end of each operation (known, then unknown), in half microseconds.

    One operation ends before another begins exactly if its end is the smaller number. Within one microsecond, starts
    come before ends, except that a client's next operation begins after its previous one ends. The result is None if
    numbers cannot express that, because two clients did so in the same microsecond.
    """
    known, unknown = history.known, history.unknown
    before = (*history.predecessor, *history.unknown_predecessor)
    followed = [False] * len(known)
    client_at: dict[int, int] = {}
    for operation, previous in zip((*known, *unknown), before, strict=True):
        if previous >= 0:
            followed[previous] = True
            if client_at.setdefault(operation.invoke_us, operation.client) != operation.client:
                return None
    spans: list[_Span] = []
    for position, (operation, previous) in enumerate(zip((*known, *unknown), before, strict=True)):
        begin = 2 * operation.invoke_us + (previous >= 0)
        end: float = _NEVER
        if operation.return_us is not None:
            end = 2.0 * operation.return_us + int(not followed[position])
        if end < begin:
            return None
        spans.append((begin, end))
    return spans


def _span(begin: float, end: float) -> str:
    return f"between {int(begin) // 2} us and {int(end) // 2} us"


register_copies(globals())
