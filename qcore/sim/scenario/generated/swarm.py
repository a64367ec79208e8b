"""Draws the faults of a swarm for one seed, as items of a timeline."""

from __future__ import annotations

import math
from collections.abc import Iterator
from random import Random

from qcore.sim.scenario.generated.swarm_kinds import SWARM_KINDS, FiringDraw, SwarmKind
from qcore.sim.scenario.generated.swarm_spec import SwarmSpec
from qcore.sim.scenario.timeline import Item
from qcore.sim.world.random_streams import Streams

#: A kind comes during at least this share of the phase of faults.
_LEAST_SHARE = 0.25
#: Two firings of a kind are at least this far apart.
_LEAST_GAP_MS = 20.0


def swarm_items(
    spec: SwarmSpec, nodes: tuple[int, ...], until_ms: float, streams: Streams
) -> list[Item]:
    """The faults that a seed draws, in the order of their times. They begin before `until_ms`."""
    fitting = [name for name in spec.allowed if len(nodes) >= SWARM_KINDS[name].least_nodes]
    # One stream for each kind: a new kind in the catalogue leaves the others as they are.
    generators = {name: streams.get(f"draw/swarm/{name}") for name in fitting}
    dice = {name: rng.random() for name, rng in generators.items()}
    lowest = min(dice.values(), default=0.0)
    items = [
        item
        for name, rng in generators.items()
        if dice[name] < spec.probability or dice[name] == lowest
        for item in _items_of(SWARM_KINDS[name], spec, nodes, until_ms, rng)
    ]
    return sorted(items, key=_moment)


def _moment(item: Item) -> float:
    assert isinstance(item.at_ms, float), "each drawn item has a time"
    return item.at_ms


def _items_of(
    kind: SwarmKind, spec: SwarmSpec, nodes: tuple[int, ...], until_ms: float, rng: Random
) -> Iterator[Item]:
    """All items of one kind."""
    draw = FiringDraw(rng, nodes)
    begin, end = _window(rng, spec.from_ms, until_ms)
    mean_gap = draw.number(*kind.gap_ms) / spec.intensity
    longest = draw.number(*kind.lasts_ms) if kind.lasts_ms else 0.0
    at_ms = begin + _gap(rng, mean_gap)
    while at_ms < end:
        blocks = kind.make(draw)
        for block in blocks if isinstance(blocks, list) else [blocks]:
            times: dict[str, object] = {"until_ms": until_ms, "may_not_act": True}
            if kind.lasts_ms is not None:
                times["for_ms"] = round(rng.uniform(kind.lasts_ms[0], longest), 3)
            later = block.get("at_ms", 0.0)
            assert isinstance(later, float)
            yield Item.model_validate({**times, **block, "at_ms": round(at_ms + later, 3)})
        if kind.once:
            return
        at_ms += max(_LEAST_GAP_MS, _gap(rng, mean_gap))


def _window(rng: Random, begin: float, end: float) -> tuple[float, float]:
    """When a kind comes: during the whole phase, or a part of it."""
    if rng.random() < 0.5:
        return begin, end
    length = (end - begin) * rng.uniform(_LEAST_SHARE, 1.0)
    start = rng.uniform(begin, end - length)
    return start, start + length


def _gap(rng: Random, mean: float) -> float:
    return -math.log(1.0 - rng.random()) * mean
