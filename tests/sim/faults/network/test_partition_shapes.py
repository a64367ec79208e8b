"""The shapes of partitions: what each node reaches."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qcore.errors import ConfigError
from qcore.sim import World
from qcore.sim.faults.network import partition_shapes as shapes
from qcore.trace import TraceWriter
from tests.sim.support.scenario_texts import scenario

ORDERS = st.integers(1, 9).flatmap(lambda size: st.permutations(range(1, size + 1)))


def reached(nodes: Iterable[int], cut: Iterable[tuple[int, int]]) -> dict[int, set[int]]:
    """What each node reaches directly, itself included. Every shape cuts both directions."""
    pairs = set(cut)
    assert pairs == {(b, a) for a, b in pairs}
    ids = list(nodes)
    return {a: {b for b in ids if (a, b) not in pairs} for a in ids}


@given(ORDERS)
def test_halves_are_two_cliques(order: list[int]) -> None:
    half = len(order) // 2
    sides = [set(order[:half]), set(order[half:])]
    for node, seen in reached(order, shapes.halves(order)).items():
        assert seen == next(side for side in sides if node in side)


@given(ORDERS)
def test_in_a_ring_each_node_reaches_its_two_neighbours(order: list[int]) -> None:
    size = len(order)
    for node, seen in reached(order, shapes.ring(order)).items():
        place = order.index(node)
        assert seen == {node, order[place - 1], order[(place + 1) % size]}


@given(ORDERS)
def test_in_a_majorities_ring_no_two_majorities_are_equal(order: list[int]) -> None:
    seen = reached(order, shapes.majorities_ring(order))
    assert all(2 * len(others) > len(order) for others in seen.values())
    if len(order) > 3:
        assert len({tuple(sorted(others)) for others in seen.values()}) == len(order)
        assert all(len(others) < len(order) for others in seen.values())


@given(ORDERS, st.data())
def test_pendants_reach_only_the_hub(order: list[int], data: st.DataObject) -> None:
    hub, *others = order
    pendants = others[: data.draw(st.integers(0, len(others)))]
    seen = reached(order, shapes.pendants(pendants, [hub], order))
    for node in order:
        if node in pendants:
            assert seen[node] == {node, hub}
        elif node == hub:
            assert seen[node] == set(order)
        else:
            assert seen[node] == set(order) - set(pendants)


def open_links(shape: str, seed: int = 1, nodes: int = 5) -> dict[int, set[int]]:
    """What each node of a cluster reaches under a partition."""
    text = scenario(
        f"[{{at_ms: 500, partition: {shape}}}]", cluster=f"{{nodes: {nodes}}}", until_ms=600
    )
    world = World(text, seed, TraceWriter())
    world.run()
    links = [link for link in world.network.links() if link.source > 0 and link.target > 0]
    assert not any(
        link.cuts for link in world.network.links() if link.source < 0 or link.target < 0
    )
    ids = range(1, nodes + 1)
    return reached(ids, [(link.source, link.target) for link in links if link.cuts])


def test_a_bridge_joins_two_halves() -> None:
    seen = open_links("{bridge: 3, order: id}")
    assert seen == {1: {1, 2, 3}, 2: {1, 2, 3}, 3: {1, 2, 3, 4, 5}, 4: {3, 4, 5}, 5: {3, 4, 5}}


@pytest.mark.parametrize(
    ("shape", "node", "others"),
    [
        ("{ring: all, order: id}", 1, {5, 1, 2}),
        ("{ring: [1, 2, 3, 4], order: id}", 1, {4, 1, 2, 5}),
        ("{halves: all, order: id}", 1, {1, 2}),
        ("{majorities_ring: all, order: id}", 5, {4, 5, 1}),
        ("{pendants: [4, 5], hub: 1}", 4, {1, 4}),
        ("{pendants: [4, 5], hub: 1}", 2, {1, 2, 3}),
        ("{pendants: [1, 4], hub: 1}", 4, {1, 4}),
    ],
)
def test_a_scenario_names_a_shape(shape: str, node: int, others: set[int]) -> None:
    assert open_links(shape)[node] == others


@pytest.mark.parametrize("shape", ["{ring: all}", "{halves: all}", "{pendants: random}"])
def test_the_seed_decides_the_places_of_the_nodes(shape: str) -> None:
    assert open_links(shape, 1) == open_links(shape, 1)
    assert len({str(open_links(shape, seed)) for seed in range(1, 6)}) > 1


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ("{ring: all, halves: all}", "give one of groups"),
        ("{hub: 1}", "give one of groups"),
        ("{ring: all, hub: 1}", "hub belongs to pendants"),
        ("{pendants: 1, order: id}", "order belongs to halves, bridge and rings"),
        ("{ring: [1, 9]}", "node 9 is not in the cluster"),
        ("{ring: all, order: age}", "'random' or 'id'"),
        ("{pendants: client_1}", "a client is not a node"),
    ],
)
def test_a_shape_that_makes_no_sense_is_rejected(shape: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        scenario(f"[{{at_ms: 1, partition: {shape}}}]")
