"""The history of one collection, and the rules that hold for sets and lists alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter

Element = int | str
#: The longest part of an element that an explanation shows, in characters.
_SHOWN_CHARS = 40


@dataclass(slots=True, frozen=True)
class Addition:
    """An operation that added an element, or may have. Times in simulated microseconds.

    One that certainly had no effect does not belong in a history.

    Attributes:
        element: what it added; no other operation adds it.
        invoke_us: when the client sent it.
        return_us: when it was acknowledged; None if it was not, so that it may take effect at any later time, or never.
        label: names the operation for humans.
    """

    element: Element
    invoke_us: int
    return_us: int | None
    label: str


@dataclass(slots=True, frozen=True)
class CollectionRead:
    """A read of the whole collection that was answered. Times in simulated microseconds.

    Attributes:
        elements: what it returned, in this order.
        label: names the read for humans.
        is_stale: whether it may return an old state. It must still be some state.
    """

    elements: tuple[Element, ...]
    invoke_us: int
    return_us: int
    label: str
    is_stale: bool = False


def shown(element: Element) -> str:
    """An element for an explanation."""
    text = repr(element)
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}..."


def wrong_elements(read: CollectionRead, additions: dict[Element, Addition]) -> Iterator[str]:
    """What a read holds although it cannot: elements that no client had begun to add, and elements twice."""
    had: dict[Element, None] = {}
    for element in read.elements:
        addition = additions.get(element)
        if addition is None:
            yield f"{read.label} holds {shown(element)}, which no client added"
        elif addition.invoke_us > read.return_us:
            yield f"{read.label} holds {shown(element)} before {addition.label} began to add it"
        if element in had:
            yield f"{read.label} holds {shown(element)} twice"
        had[element] = None


def missing_elements(
    additions: Sequence[Addition], reads: Sequence[CollectionRead]
) -> Iterator[str]:
    """What reads lack although they must have it.

    A read must have what was acknowledged before it began, and what a read that had ended by then returned. If it has
    an element, it must also have what was acknowledged before the addition of that element began. Only the last rule
    holds for stale reads.
    """
    by_element = {addition.element: addition for addition in additions}
    acknowledged = [
        (addition.return_us, addition) for addition in additions if addition.return_us is not None
    ]
    acknowledged.sort(key=lambda pair: pair[0])
    ended = sorted((read for read in reads if not read.is_stale), key=attrgetter("return_us"))
    seen: dict[Element, CollectionRead] = {}
    done = 0
    for read in sorted(reads, key=attrgetter("invoke_us")):
        has = dict.fromkeys(read.elements)
        while done < len(ended) and ended[done].return_us < read.invoke_us:
            for element in ended[done].elements:
                seen.setdefault(element, ended[done])
            done += 1
        begun = [by_element[element] for element in has if element in by_element]
        newest = max(begun, key=attrgetter("invoke_us"), default=None)
        reported: dict[Element, None] = {}
        for return_us, addition in acknowledged:
            since_us = -1 if read.is_stale else read.invoke_us
            after_newest = newest is None or return_us >= newest.invoke_us
            if return_us >= since_us and after_newest:
                break
            if addition.element in has:
                continue
            reported[addition.element] = None
            lacks = f"{read.label} lacks {shown(addition.element)}, which {addition.label} added"
            if return_us < since_us:
                yield f"{lacks} and which was acknowledged before the read began"
            elif newest is not None:
                yield (
                    f"{lacks} and which was acknowledged before {newest.label} began to add "
                    f"{shown(newest.element)}, which the read has"
                )
        if read.is_stale:
            continue
        for element, earlier in seen.items():
            if element not in has and element not in reported:
                yield f"{read.label} lacks {shown(element)}, which {earlier.label} had before it began"
