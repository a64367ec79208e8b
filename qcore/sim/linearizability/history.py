"""Prepares the history of one register for `zones` and `search`: sorts it, breaks ties, drops irrelevant operations."""

from __future__ import annotations

from dataclasses import dataclass, replace
from operator import attrgetter

from qcore.compiled_build import register_copies
from qcore.sim.linearizability.operation import Operation, Value

_BY_INVOKE = attrgetter("invoke_us", "return_us", "client", "op_id")
_BY_CLIENT = attrgetter("client", "op_id")


@dataclass
class KeyHistory:
    """The operations on one register.

    Attributes:
        key: the register.
        known: operations with a known outcome, sorted by invocation.
        unknown: operations of unknown outcome that could matter, sorted by invocation.
        predecessor: for each of `known`, the position of the operation of the same client that returned in the
            microsecond of its invocation, or -1.
        unknown_predecessor: the same for `unknown`; positions are in `known`.
        initial: the value of the register before all operations.
    """

    key: str
    known: list[Operation]
    unknown: list[Operation]
    predecessor: list[int]
    unknown_predecessor: list[int]
    initial: Value = None

    @classmethod
    def of(cls, key: str, operations: list[Operation], initial: Value = None) -> KeyHistory:
        known = sorted((o for o in operations if o.return_us is not None), key=_BY_INVOKE)
        unknown = [
            replace(o, output=None)
            for o in operations
            if o.return_us is None and o.kind != "read"  # a read without output shows nothing
        ]
        unknown = sorted(
            _observable(unknown, known), key=attrgetter("invoke_us", "client", "op_id")
        )
        touching = _touching(known)
        return cls(
            key,
            known,
            unknown,
            [_previous(o, touching) for o in known],
            [_previous(o, touching) for o in unknown],
            initial,
        )


def _touching(known: list[Operation]) -> dict[tuple[int, int], list[tuple[int, int]]]:
    """(client, return time) -> (op_id, position in `known`) of the operations that returned then."""
    ends: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for position, operation in enumerate(known):
        assert operation.return_us is not None
        ends.setdefault((operation.client, operation.return_us), []).append(
            (operation.op_id, position)
        )
    return ends


def _previous(operation: Operation, ends: dict[tuple[int, int], list[tuple[int, int]]]) -> int:
    earlier = [
        end
        for end in ends.get((operation.client, operation.invoke_us), ())
        if end[0] < operation.op_id
    ]
    return max(earlier)[1] if earlier else -1


def _observable(unknown: list[Operation], known: list[Operation]) -> list[Operation]:
    """Drop unknown writes whose value no output depends on.

    Such a write can be left out of any order: between it and the next write, only operations whose output shows
    nothing could follow. A failed cas depends on every value, which must differ from the expected one; an addition
    depends on every number.
    """
    everything = known + unknown
    if any(o.kind == "cas" and o.output is False for o in known):
        return unknown
    seen: set[Value] = {o.output for o in known if o.kind == "read"}
    seen.update(o.input[0] for o in everything if isinstance(o.input, tuple))
    adds = any(o.kind == "add" for o in everything)
    return [
        o
        for o in unknown
        if o.kind != "write"
        or isinstance(o.input, tuple)
        or o.input in seen
        or (adds and (o.input is None or isinstance(o.input, int)))
    ]


register_copies(globals())
