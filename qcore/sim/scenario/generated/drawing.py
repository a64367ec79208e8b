"""Turns what a scenario leaves to the seed into ordinary items of a timeline.

Every part draws from a separate random stream, so a change of one item leaves the draws of all others unchanged.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from random import Random

from qcore.errors import ConfigError
from qcore.sim.scenario.actions.repair_action import Repair
from qcore.sim.scenario.generated.random_faults_spec import FaultPhases, RandomFaultsSpec
from qcore.sim.scenario.generated.random_times import bounds, draw_ms
from qcore.sim.scenario.generated.swarm import swarm_items
from qcore.sim.scenario.generated.swarm_spec import SwarmSpec
from qcore.sim.scenario.timeline import Item
from qcore.sim.world.random_streams import Streams

#: A drawn gap is at least this long.
_LEAST_GAP_MS = 1.0
_MICROSECOND = 0.001
#: The most firings of one item.
_MAX_FIRINGS = 2000


def draw_timeline(
    timeline: tuple[Item, ...],
    random_faults: RandomFaultsSpec | None,
    swarm: SwarmSpec | None,
    nodes: tuple[int, ...],
    run_ends_ms: float,
    seed: int,
) -> tuple[Item, ...]:
    """The plain timeline that one seed draws.

    An item of `timeline` keeps its number. Further firings of an item that repeats at random times follow at the end,
    and after them the drawn faults with their repair.

    Raises:
        ConfigError: an item would fire more often than a run can use.
    """
    streams = Streams(seed)
    first: list[Item] = []
    later: list[Item] = []
    before = 0.0
    for number, item in enumerate(timeline):
        rng = streams.get(f"draw/timeline/{number}")
        drawn = _first_times(item, rng)
        if item.when is None:
            before = (
                bounds(drawn.at_ms)[0]
                if drawn.at_ms is not None
                else before + bounds(drawn.after_ms)[0]
            )
        if item.is_random and item.every_ms is not None:
            last = run_ends_ms - _MICROSECOND
            until = last if item.until_ms is None else min(item.until_ms, last)
            firings = list(_firings(item, before, until, rng, f"timeline[{number}]"))
            first += firings[:1]
            later += (one.model_copy(update={"may_not_act": True}) for one in firings[1:])
        else:
            first.append(_with_drawn_actions(drawn, rng))
    if random_faults is not None:
        later += _random_faults(random_faults, run_ends_ms, streams)
    if swarm is not None:
        until = swarm.repair_ms(run_ends_ms)
        later += swarm_items(swarm, nodes, until, streams)
        later += _repair(swarm, run_ends_ms)
    return (*first, *later)


def _first_times(item: Item, rng: Random) -> Item:
    """The item with its moment and duration drawn."""
    names = ("at_ms", "after_ms", "for_ms")
    given = {name: getattr(item, name) for name in names if getattr(item, name) is not None}
    drawn = {name: draw_ms(time, rng) for name, time in given.items()}
    return item.model_copy(update=drawn) if drawn != given else item


def _with_drawn_actions(item: Item, rng: Random) -> Item:
    if not item.random_actions:
        return item
    drawn = tuple(action for one in item.random_actions for action in one.draw(rng))
    return _changed(item, {"actions": (*item.actions, *drawn), "random_actions": None})


def _firings(
    item: Item, start_ms: float, until_ms: float, rng: Random, where: str
) -> Iterator[Item]:
    """Each firing of a repeated item as a separate item, from `start_ms` until `until_ms`."""
    assert item.every_ms is not None, "the item repeats"
    at_ms, number = start_ms, 0
    while at_ms <= until_ms and (item.times is None or number < item.times):
        number += 1
        if number > _MAX_FIRINGS:
            raise ConfigError(
                f"{where}: it would fire more than {_MAX_FIRINGS} times with this seed; give a longer every_ms"
            )
        lasts = None if item.for_ms is None else draw_ms(item.for_ms, rng)
        update = {
            "at_ms": at_ms,
            "after_ms": None,
            "for_ms": lasts,
            "every_ms": None,
            "times": None,
        }
        yield _with_drawn_actions(_changed(item, update), rng)
        at_ms = round(at_ms + max(_LEAST_GAP_MS, draw_ms(item.every_ms, rng)), 3)


def _random_faults(spec: RandomFaultsSpec, run_ends_ms: float, streams: Streams) -> Iterator[Item]:
    until = spec.repair_ms(run_ends_ms)
    for number, fault in enumerate(spec.faults):
        rng = streams.get(f"draw/random_faults/{number}")
        where = f"random_faults.faults[{number}]"
        common = {"may_not_act": True, "until_ms": until}
        if fault.when is not None:
            lasts = None if fault.for_ms is None else draw_ms(fault.for_ms, rng)
            after = None if fault.after_ms is None else draw_ms(fault.after_ms, rng)
            times = {"at_ms": spec.from_ms, "for_ms": lasts, "after_ms": after}
            yield _with_drawn_actions(_changed(fault, {**common, **times}), rng)
            continue
        assert fault.every_ms is not None, "checked when the scenario is read"
        start = spec.from_ms + draw_ms(fault.every_ms, rng)
        repeated = _changed(fault, common)
        yield from _firings(repeated, start, until - _MICROSECOND, rng, where)
    yield from _repair(spec, run_ends_ms)


def _changed(item: Item, update: Mapping[str, object]) -> Item:
    """An item of a timeline with some values changed; None removes a value."""
    values = {name: getattr(item, name) for name in item.model_fields_set}
    kept = {name: value for name, value in {**values, **update}.items() if value is not None}
    return Item.model_validate({"actions": (), **kept})


def _repair(phases: FaultPhases, run_ends_ms: float) -> Iterator[Item]:
    yield Item(at_ms=phases.repair_ms(run_ends_ms), label="quiet phase", actions=(Repair(),))
