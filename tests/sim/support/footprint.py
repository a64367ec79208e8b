"""Measures the memory of a replica in a simulated run: all objects that it refers to."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from random import Random
from types import FunctionType, MethodType, ModuleType

from qcore.replica.replica import Replica
from qcore.sim import World
from qcore.trace import TraceWriter
from tests.sim.support.scenario_texts import scenario

_SHARED = (type, ModuleType, FunctionType, MethodType, Random)


def deep_size(root: object, without: Iterable[object] = ()) -> int:
    """The bytes of an object and of all objects that it refers to, each counted once; `without` these."""
    seen: set[int] = {id(each) for each in without}
    stack: list[object] = [root]
    total = 0
    while stack:
        item = stack.pop()
        if id(item) in seen or isinstance(item, _SHARED):
            continue
        seen.add(id(item))
        total += sys.getsizeof(item)
        stack.extend(_parts(item))
    return total


def _parts(item: object) -> Iterator[object]:
    if isinstance(item, dict):
        yield from item.keys()
        yield from item.values()
    elif isinstance(item, str | bytes | int | float):
        return
    elif hasattr(item, "__iter__") and not hasattr(item, "__next__"):
        yield from item
    if hasattr(item, "__dict__"):
        yield vars(item)
    for kind in type(item).__mro__:
        for name in getattr(kind, "__slots__", getattr(kind, "__mypyc_attrs__", ())):
            if name != "__weakref__" and hasattr(item, name):
                yield getattr(item, name)


def leader_sizes(seconds: int, *, snapshot_entries: int, rate_per_s: int) -> list[int]:
    """The bytes of the leader's replica at forty times of a run in which one follower is down.

    Args:
        seconds: simulated length of the run.
        snapshot_entries: the snapshot policy; 0 for none.
        rate_per_s: writes a second.
    """
    world = World(
        scenario(
            "[{at_ms: 1000, crash: follower_1}]",
            cluster=f"{{nodes: 3, snapshot_entries: {snapshot_entries}, keep_entries: 100}}",
            workload=f"{{clients: 4, rate_per_s: {rate_per_s}, read_fraction: 0, cas_fraction: 0}}",
            until_ms=seconds * 1000,
        ),
        1,
        TraceWriter(),
    )
    sizes: list[int] = []

    def measure() -> None:
        leader = world.services.monitor.leader
        replica: Replica | None = world.nodes[leader].replica if leader else None
        assert replica is not None
        sizes.append(deep_size(replica, world.services.machine_observers))

    for part in range(1, 41):
        world.engine.at(seconds * 25_000 * part - 1, measure)
    world.run()
    return sizes
