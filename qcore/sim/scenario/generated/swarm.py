"""Draws the faults of a swarm for one seed, as items of a timeline."""

from __future__ import annotations

import math
from collections.abc import Iterator
from random import Random

from qcore.sim.scenario.generated.swarm_kinds import SWARM_KINDS, Block, FiringDraw, SwarmKind
from qcore.sim.scenario.generated.swarm_spec import SwarmSpec
from qcore.sim.scenario.timeline import Item
from qcore.sim.world.random_streams import Streams

#: A kind comes during at least this share of the phase of faults.
_LEAST_SHARE = 0.25
#: The ranges of the length of a wave of faults, and of the calm after it, in milliseconds.
_WAVE_MS = (1000.0, 2500.0)
_CALM_MS = (400.0, 1000.0)
#: Two firings of a kind are at least this far apart.
_LEAST_GAP_MS = 20.0


def swarm_items(
    spec: SwarmSpec, nodes: tuple[int, ...], until_ms: float, streams: Streams
) -> list[Item]:
    """The faults that a seed draws, in the order of their times. They begin before `until_ms`.

    Faults come in waves. In the calm between two waves every fault with a duration is over, so that the cluster
    recovers and the next wave finds a leader at work.
    """
    fitting = [name for name in spec.allowed if len(nodes) >= SWARM_KINDS[name].least_nodes]
    # One stream for each kind: a new kind in the catalogue leaves the others as they are.
    generators = {name: streams.get(f"draw/swarm/{name}") for name in fitting}
    dice = {name: rng.random() for name, rng in generators.items()}
    lowest = min(dice.values(), default=0.0)
    waves = _waves(streams.get("draw/swarm"), spec.from_ms, until_ms)
    items = [
        item
        for name, rng in generators.items()
        if dice[name] < spec.probability or dice[name] == lowest
        for item in _items_of(SWARM_KINDS[name], spec, nodes, waves, rng)
    ]
    return sorted(items, key=_moment)


def _moment(item: Item) -> float:
    assert isinstance(item.at_ms, float), "each drawn item has a time"
    return item.at_ms


def _items_of(
    kind: SwarmKind,
    spec: SwarmSpec,
    nodes: tuple[int, ...],
    waves: list[tuple[float, float]],
    rng: Random,
) -> Iterator[Item]:
    """All items of one kind: at least one firing."""
    draw = FiringDraw(rng, nodes)
    begin, end = _window(rng, waves[0][0], waves[-1][1])
    mean_gap = draw.number(*kind.gap_ms) / spec.intensity
    longest = rng.uniform(*kind.lasts_ms) if kind.lasts_ms else 0.0
    moments: list[tuple[float, float]] = []  # with the end of the wave
    at_ms = begin + _gap(rng, mean_gap)
    while at_ms < end:
        moments += [(at_ms, last) for first, last in waves if first <= at_ms < last]
        at_ms += max(_LEAST_GAP_MS, _gap(rng, mean_gap))
    if not moments:
        first, last = waves[0]
        moments.append((rng.uniform(first, last), last))
    for moment, wave_end in moments[:1] if kind.once else moments:
        blocks = kind.make(draw)
        lasts = rng.uniform(kind.lasts_ms[0], longest) if kind.lasts_ms else None
        for block in blocks if isinstance(blocks, list) else [blocks]:
            yield _item(block, moment, lasts, wave_end)


def _item(block: Block, at_ms: float, lasts_ms: float | None, wave_end: float) -> Item:
    later = block.get("at_ms", 0.0)
    assert isinstance(later, float)
    fields: dict[str, object] = {"until_ms": round(wave_end, 3), "may_not_act": True}
    if lasts_ms is not None:
        fields["for_ms"] = round(min(lasts_ms, wave_end - at_ms), 3)
    fields |= {**block, "at_ms": round(at_ms + later, 3)}
    if at_ms + later > wave_end and "until_ms" not in block:
        fields["until_ms"] = fields["at_ms"]
    return Item.model_validate({key: value for key, value in fields.items() if value is not None})


def _waves(rng: Random, begin: float, end: float) -> list[tuple[float, float]]:
    """The times in which faults come, in order."""
    waves: list[tuple[float, float]] = []
    while begin < end:
        last = min(end, begin + rng.uniform(*_WAVE_MS))
        waves.append((begin, last))
        begin = last + rng.uniform(*_CALM_MS)
    return waves


def _window(rng: Random, begin: float, end: float) -> tuple[float, float]:
    """When a kind comes: during the whole phase, or a part of it."""
    if rng.random() < 0.5:
        return begin, end
    length = (end - begin) * rng.uniform(_LEAST_SHARE, 1.0)
    start = rng.uniform(begin, end - length)
    return start, start + length


def _gap(rng: Random, mean: float) -> float:
    return -math.log(1.0 - rng.random()) * mean
