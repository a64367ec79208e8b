"""The node that a client asks first with each operation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from qcore.sim.scenario.distributions import Sampler
from qcore.sim.scenario.specs.workload_spec import WorkloadSpec

#: The node to ask first at a time in microseconds; None if the client may ask the one that served it last.
PreferredNode = Callable[[int], int | None]

_SHORTEST_STAY_US = 1000


class MovingPreference:
    """A preferred node that changes at drawn times.

    Args:
        nodes: the nodes to choose from, at least two.
        first: the node at the beginning.
        stay: draws how long the client prefers a node; at least 1 ms counts.
        rng: draws the next node, another one than before.
    """

    def __init__(self, nodes: Sequence[int], first: int, stay: Sampler, rng: Random) -> None:
        self._nodes = nodes
        self._node = first
        self._stay = stay
        self._rng = rng
        self._until_us = max(_SHORTEST_STAY_US, stay())

    def __call__(self, now: int) -> int:
        """The node that the client prefers at this time. Times never go back from call to call."""
        while now >= self._until_us:
            self._node = self._rng.choice([node for node in self._nodes if node != self._node])
            self._until_us += max(_SHORTEST_STAY_US, self._stay())
        return self._node


def preferred_node(
    spec: WorkloadSpec,
    number: int,
    nodes: Sequence[int],
    leader: Callable[[], int | None],
    rng: Random,
) -> PreferredNode | None:
    """What decides the first node of each operation of a client; None if nothing does.

    Args:
        spec: `pinned` and `move_every_ms`.
        number: the client's number, from 1.
        nodes: the first members of the cluster.
        leader: the node that leads now.
        rng: draws the moves.
    """
    pinned, moves = spec.pinned, spec.move_every_ms
    if pinned == "leader":
        return lambda _now: leader()
    if pinned is None and moves is None:
        return None
    among = pinned if isinstance(pinned, tuple) else tuple(nodes)
    first = among[(number - 1) % len(among)]
    if moves is None:
        return lambda _now: first
    return MovingPreference(among, first, moves.sampler(rng), rng)
