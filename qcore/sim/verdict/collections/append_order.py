"""The checker of lists to which clients only append. The idea is that of Elle's list-append (Kingsbury and Alvaro)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from qcore.sim.verdict.collections.element_history import (
    Addition,
    CollectionRead,
    Element,
    missing_elements,
    shown,
    wrong_elements,
)


def check_list(additions: Sequence[Addition], reads: Sequence[CollectionRead]) -> list[str]:
    """What is wrong with the history of one list; empty exactly if the history is linearizable.

    All reads are prefixes of one order, which contains no element twice and nothing that no client appended. What was
    acknowledged, or seen by a read, is in every read that begins later. An append that ended before another began comes
    before it.

    Args:
        additions: the operations that appended elements, or may have. No element is appended twice.
        reads: the answered reads.
    """
    by_element = {addition.element: addition for addition in additions}
    problems = [problem for read in reads for problem in wrong_elements(read, by_element)]
    if not reads:
        return problems
    longest = max(reads, key=lambda read: len(read.elements))
    problems += [problem for read in reads for problem in _not_a_prefix(read, longest)]
    problems += _against_time(longest, by_element)
    problems += missing_elements(additions, reads)
    return problems


def _not_a_prefix(read: CollectionRead, longest: CollectionRead) -> Iterator[str]:
    if read.elements == longest.elements[: len(read.elements)]:
        return
    pairs = enumerate(zip(read.elements, longest.elements, strict=False), 1)
    place, (here, there) = next((at, pair) for at, pair in pairs if pair[0] != pair[1])
    yield (
        f"{read.label} has {shown(here)} at place {place}, and {longest.label} has {shown(there)} there: the reads "
        "contradict each other"
    )


def _against_time(read: CollectionRead, additions: dict[Element, Addition]) -> Iterator[str]:
    """The elements that come after one whose append began only when theirs had been acknowledged."""
    latest: Addition | None = None
    for element in read.elements:
        addition = additions.get(element)
        if addition is None:
            continue
        ended = addition.return_us
        if latest is not None and ended is not None and ended < latest.invoke_us:
            yield (
                f"{read.label} has {shown(element)} after {shown(latest.element)}, but {addition.label} was "
                f"acknowledged before {latest.label} began"
            )
        if latest is None or addition.invoke_us > latest.invoke_us:
            latest = addition
