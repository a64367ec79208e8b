"""The shapes of partitions, as lists of the links to cut. Most have the names that Jepsen gave them.

Each function takes the nodes in the order in which they stand in the shape, and cuts links in both directions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

Pair = tuple[int, int]


def halves(order: Sequence[int]) -> list[Pair]:
    """Two halves, the smaller one first, with no link between them."""
    first = order[: len(order) // 2]
    return _cut(order, lambda a, b: (a in first) == (b in first))


def ring(order: Sequence[int]) -> list[Pair]:
    """Each node reaches only its two neighbours."""
    return _ring(order, 1)


def majorities_ring(order: Sequence[int]) -> list[Pair]:
    """Each node reaches a majority, and no two nodes reach the same one.

    Each reaches as few neighbours on either side as make a majority with it. With three nodes or fewer, nothing is cut.
    """
    return _ring(order, (len(order) // 2 + 1) // 2)


def pendants(alone: Sequence[int], hubs: Sequence[int], nodes: Sequence[int]) -> list[Pair]:
    """Each pendant reaches only the hubs. All other nodes reach each other."""
    return _cut(
        nodes,
        lambda a, b: (a not in alone and b not in alone) or a in hubs or b in hubs,
    )


def _ring(order: Sequence[int], reach: int) -> list[Pair]:
    place = {node: number for number, node in enumerate(order)}
    size = len(order)

    def linked(a: int, b: int) -> bool:
        distance = (place[a] - place[b]) % size
        return min(distance, size - distance) <= reach

    return _cut(order, linked)


def _cut(nodes: Sequence[int], linked: Callable[[int, int], bool]) -> list[Pair]:
    """The links, in both directions, between nodes that are not to be linked."""
    ids = sorted(nodes)
    return [(a, b) for a in ids for b in ids if a != b and not linked(a, b)]
