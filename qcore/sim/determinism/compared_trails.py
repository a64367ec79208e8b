"""Finds the first difference of what two copies gave, and narrows it to one position by bisection."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from qcore.sim.determinism.copies import Moment, Plan, Trail, content_of

#: What can differ at one position, in the order in which a report names it.
Kind = Literal["result", "changes for watches", "answer", "state hash", "snapshot"]

#: Between so few positions, the states are compared one by one.
_WINDOW: Final = 16


@dataclass(slots=True, frozen=True)
class Found:
    """Two trails differ at a position; the last position before it at which the states were compared and equal."""

    position: int
    kind: Kind
    last_equal: int


@dataclass(slots=True, frozen=True)
class Side:
    """A copy that can be run again.

    Attributes:
        name: what is special about it, for the report.
        run: executes a plan for it.
        plan: its plan.
    """

    name: str
    run: Callable[[Plan], Trail]
    plan: Plan

    def again(
        self,
        through: int,
        *,
        marks: Sequence[int] = (),
        window: tuple[int, int] | None = None,
        names_shared: bool = False,
    ) -> Trail:
        """Run the copy again, up to a position."""
        marks = [mark for mark in marks if mark >= self.plan.start]
        return self.run(
            replace(
                self.plan,
                through=through,
                marks=marks,
                snapshot_marks=marks,
                window=window,
                names_shared=names_shared,
                kept=[],
                late=[],
                watched=[],
            )
        )


@dataclass(slots=True, frozen=True)
class Located:
    """The first difference, with everything that both copies gave there.

    Attributes:
        position: the position; exact if `kinds` is not empty.
        kinds: what differs there. Empty if the difference did not appear again when the copies ran again.
        one, other: what they gave there; None if it did not appear again.
        before: what the first copy gave one position earlier; None if that is unknown.
    """

    position: int
    kinds: tuple[Kind, ...]
    one: Moment | None = None
    other: Moment | None = None
    before: Moment | None = None


def first_difference(one: Trail, other: Trail, *, exact: bool = True) -> Found | None:
    """The first position at which two trails differ; None if they are equal where both have something.

    Args:
        exact: whether the order within snapshots counts.
    """
    last_equal = -2  # not even the state before the first command is known to be equal
    for position in sorted({**one.results, **one.hashes, **one.answers}):
        kind = _difference_at(one, other, position, exact=exact)
        if kind is not None:
            return Found(position, kind, last_equal)
        if position in one.hashes and position in other.hashes:
            last_equal = position
    return None


def _difference_at(one: Trail, other: Trail, position: int, *, exact: bool) -> Kind | None:
    if _differ(one.results, other.results, position):
        return "result"
    if _differ(one.changes, other.changes, position):
        return "changes for watches"
    if position in one.answers and position in other.answers:
        pairs = zip(one.answers[position], other.answers[position], strict=False)
        if any(a != b for a, b in pairs):
            return "answer"
    if _differ(one.hashes, other.hashes, position):
        return "state hash"
    if position in one.snapshots and position in other.snapshots:
        which = 0 if exact else 1
        if one.snapshots[position][which] != other.snapshots[position][which]:
            return "snapshot"
    return None


def _differ(one: dict[int, str], other: dict[int, str], position: int) -> bool:
    return position in one and position in other and one[position] != other[position]


def locate(found: Found, one: Side, other: Side, *, exact: bool = True) -> Located:
    """Narrow a difference to the first position, by bisection over the states."""
    start = max(one.plan.start, other.plan.start)
    low, high = max(found.last_equal, start - 1), found.position
    while high - low > _WINDOW:
        middle = (low + high) // 2
        trails = [side.again(middle, marks=[middle]) for side in (one, other)]
        if first_difference(trails[0], trails[1], exact=exact) is None:
            low = middle
        else:
            high = middle
    window = max(low, start), high
    ones, others = (side.again(high, window=window).window for side in (one, other))
    for position in sorted(ones.keys() & others.keys()):
        kinds = differing(ones[position], others[position], exact=exact)
        if kinds:
            before = ones.get(position - 1)
            return Located(position, kinds, ones[position], others[position], before)
    return Located(found.position, ())


def differing(one: Moment, other: Moment, *, exact: bool = True) -> tuple[Kind, ...]:
    """What is different at a moment."""
    kinds: list[Kind] = []
    if None not in (one.result, other.result) and one.result != other.result:
        kinds.append("result")
    if None not in (one.result, other.result) and one.changes != other.changes:
        kinds.append("changes for watches")
    if any(a != b for a, b in zip(one.answers, other.answers, strict=False)):
        kinds.append("answer")
    if one.state_hash != other.state_hash:
        kinds.append("state hash")
    if one.snapshot != other.snapshot and (
        exact or content_of(one.snapshot) != content_of(other.snapshot)
    ):
        kinds.append("snapshot")
    return tuple(kinds)
