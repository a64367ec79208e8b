"""The checker of sets to which clients only add."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from qcore.sim.verdict.collections.element_history import (
    Addition,
    CollectionRead,
    missing_elements,
    shown,
    wrong_elements,
)


def check_set(additions: Sequence[Addition], reads: Sequence[CollectionRead]) -> list[str]:
    """What is wrong with the history of one set; empty exactly if the history is linearizable.

    Nothing appears that no client added. What was acknowledged, or seen by a read, is in every read that begins later.
    Of two reads, one has all elements of the other.

    Args:
        additions: the operations that added elements, or may have. No element is added twice.
        reads: the answered reads.
    """
    by_element = {addition.element: addition for addition in additions}
    problems = [problem for read in reads for problem in wrong_elements(read, by_element)]
    problems += missing_elements(additions, reads)
    return problems or _incomparable(reads)


def _incomparable(reads: Sequence[CollectionRead]) -> list[str]:
    """The neighbours in the order of size that contradict each other."""
    problems = []
    for small, large in pairwise(sorted(reads, key=lambda read: len(read.elements))):
        in_small, in_large = dict.fromkeys(small.elements), dict.fromkeys(large.elements)
        only_small = [element for element in in_small if element not in in_large]
        only_large = [element for element in in_large if element not in in_small]
        if only_small and only_large:
            problems.append(
                f"{small.label} has {shown(only_small[0])} without {shown(only_large[0])}, and {large.label} has "
                f"{shown(only_large[0])} without {shown(only_small[0])}: no order of the additions gives both"
            )
    return problems
