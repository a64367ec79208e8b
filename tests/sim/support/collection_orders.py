"""Histories of collections for tests, and a slow search for an order of the operations that explains them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count

from hypothesis import strategies as st

from qcore.sim.verdict.collections.element_history import Addition, CollectionRead, Element

_FOREIGN = 99
_LAST_US = 12
History = tuple[list[Addition], list[CollectionRead]]


def has_an_order(
    additions: Sequence[Addition], reads: Sequence[CollectionRead], *, is_set: bool
) -> bool:
    """Whether some order of the operations that respects their times explains every read."""

    def matches(read: CollectionRead, state: tuple[Element, ...]) -> bool:
        if not is_set:
            return read.elements == state
        return sorted(read.elements, key=str) == sorted(state, key=str)

    def search(todo: tuple[Addition | CollectionRead, ...], state: tuple[Element, ...]) -> bool:
        if all(op.return_us is None for op in todo):
            return True
        for op in todo:
            if any(
                other.return_us is not None and other.return_us < op.invoke_us for other in todo
            ):
                continue
            rest = tuple(other for other in todo if other is not op)
            if isinstance(op, Addition):
                if search(rest, (*state, op.element)):
                    return True
            elif matches(op, state) and search(rest, state):
                return True
        return False

    return search((*additions, *reads), ())


@st.composite
def histories(draw: st.DrawFn, *, is_set: bool, altered: bool) -> History:
    """A small history of a correct collection; with `altered`, some reads are then changed."""
    events: list[tuple[int, int, int, int, bool]] = []  # (point, number, from, to, is an addition)
    numbers = count(1)
    for is_addition, most in ((True, 4), (False, 4)):
        for _ in range(draw(st.integers(1, most))):
            start, point, end = sorted(draw(st.tuples(*[st.integers(0, _LAST_US)] * 3)))
            events.append((point, next(numbers), start, end, is_addition))
    additions: list[Addition] = []
    reads: list[CollectionRead] = []
    state: list[Element] = []
    for _point, number, start, end, is_addition in sorted(events):
        if is_addition:
            unknown = draw(st.booleans())
            additions.append(Addition(number, start, None if unknown else end, f"op {number}"))
            if not unknown or draw(st.booleans()):
                state.append(number)
        else:
            shown = draw(st.permutations(state)) if is_set else state
            reads.append(CollectionRead(tuple(shown), start, end, f"read {number}"))
    if altered:
        for place in draw(st.lists(st.integers(0, len(reads) - 1), min_size=1, max_size=2)):
            read = reads[place]
            elements = draw(_changed(list(read.elements), [one.element for one in additions]))
            reads[place] = CollectionRead(
                tuple(elements), read.invoke_us, read.return_us, read.label
            )
    return additions, reads


@st.composite
def _changed(draw: st.DrawFn, elements: list[Element], known: list[Element]) -> list[Element]:
    match draw(st.sampled_from(["drop", "insert", "shuffle", "other"])):
        case "drop" if elements:
            del elements[draw(st.integers(0, len(elements) - 1))]
        case "insert":
            element = draw(st.sampled_from([*known, _FOREIGN]))
            elements.insert(draw(st.integers(0, len(elements))), element)
        case "shuffle":
            elements = draw(st.permutations(elements))
        case _:
            elements = draw(st.lists(st.sampled_from(known), max_size=4, unique=True))
    return elements
