"""Regions: latencies between them, and their names in the place of their nodes."""

from __future__ import annotations

import pytest

from qcore.errors import ConfigError
from qcore.sim import Scenario, World
from qcore.sim.scenario.actions.node_actions import Crash
from qcore.sim.scenario.distributions import fixed
from qcore.sim.scenario.values import Selector
from qcore.trace import TraceWriter
from tests.sim.support.scenario_texts import scenario

NETWORK = (
    "{latency_ms: 1, regions: {eu: [1, 2, client_1], us: [3, 4], ap: 5},"
    " region_latency_ms: {eu: {us: 40, ap: 110}, us: {ap: 75}, ap: {us: 80, ap: 3}}}"
)


def read(timeline: str = "[]", network: str = NETWORK, cluster: str = "{nodes: 5}") -> Scenario:
    return scenario(timeline, network=network, cluster=cluster)


def latency_ms(world: World, source: int, target: int) -> float:
    return world.network.link(source, target).quality.latency.first


def test_the_regions_of_both_ends_decide_the_latency() -> None:
    world = World(read(), 1, TraceWriter())
    found = {
        pair: latency_ms(world, *pair)
        for pair in [
            (1, 2),
            (1, 3),
            (3, 1),
            (2, 5),
            (5, 2),
            (4, 5),
            (5, 4),
            (-1, 2),
            (-1, 3),
            (5, -1),
            (-2, 5),
        ]
    }
    assert found == {
        (1, 2): 1, (1, 3): 40, (3, 1): 40, (2, 5): 110, (5, 2): 110, (4, 5): 75, (5, 4): 80,
        (-1, 2): 1, (-1, 3): 40, (5, -1): 110, (-2, 5): 1,
    }  # fmt: skip


def test_a_single_link_may_differ_from_its_regions() -> None:
    network = (
        NETWORK[:-1] + ", links: [{from: eu, to: us, latency_ms: 7}], clients: {latency_ms: 2}}"
    )
    world = World(read(network=network), 1, TraceWriter())
    assert latency_ms(world, 1, 3) == latency_ms(world, 2, 4) == 7
    assert latency_ms(world, 3, 1) == 40
    assert (latency_ms(world, -1, 1), latency_ms(world, -1, 3)) == (2, 40)


@pytest.mark.parametrize(
    ("action", "nodes"),
    [
        ("crash: eu", (1, 2)),
        ("power_loss: [ap, us]", (5, 3, 4)),
        ("heal: us", (3, 4)),
        ("isolate: {nodes: ap}", (5,)),
        ("disk_stall: [1, us]", (1, 3, 4)),
    ],
)
def test_a_region_names_its_nodes(action: str, nodes: tuple[int, ...]) -> None:
    (item,) = read(f"[{{at_ms: 1, {action}}}]").timeline
    selector = getattr(item.actions[0], "nodes", None)
    assert isinstance(selector, Selector)
    assert selector.terms == nodes


def test_random_nodes_can_be_drawn_from_a_region() -> None:
    drawn = set()
    for seed in range(1, 7):
        text = read("[{at_ms: 100, crash: {random: 1, of: us}}]")
        world = World(text.model_copy(update={"until_ms": 200.0}), seed, TraceWriter())
        world.run()
        drawn |= {node for node in world.nodes if not world.nodes[node].up}
    assert drawn == {3, 4}
    with pytest.raises(ConfigError, match="random_3: there are 2 nodes"):
        read("[{at_ms: 100, crash: {random: 3, of: us}}]")


def test_a_partition_may_separate_regions() -> None:
    text = read("[{at_ms: 100, partition: [[eu, client_1], [rest]]}]")
    world = World(text.model_copy(update={"until_ms": 200.0}), 1, TraceWriter())
    world.run()
    cut = {(link.source, link.target) for link in world.network.links() if link.cuts}
    assert {pair for pair in cut if pair[0] == 1} == {(1, 3), (1, 4), (1, 5)}
    assert {pair for pair in cut if pair[0] == -1} == {(-1, 3), (-1, 4), (-1, 5)}


def test_a_copy_of_a_scenario_knows_the_regions() -> None:
    copy = read().model_copy(update={"timeline": [{"at_ms": 1, "crash": "ap"}]})
    (action,) = copy.timeline[0].actions
    assert isinstance(action, Crash)
    assert action.nodes.terms == (5,)
    with pytest.raises(ConfigError, match="'ap' names no node"):
        scenario("[{at_ms: 1, crash: ap}]")


def test_a_scenario_without_regions_keeps_its_latency() -> None:
    world = World(scenario(network="{latency_ms: 3}"), 1, TraceWriter())
    assert {link.quality.latency for link in world.network.links()} == {fixed(3)}


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ("{regions: {eu: [1, 2], us: [3, 4]}, region_latency_ms: {eu: {us: 1}}}", "node 5 is in no region"),
        ("{regions: {eu: [1, 2], us: [3, 4, 5]}}", "no latency between eu and us; add {eu: {us: 50}}"),
        ("{regions: {eu: [1, 2], us: [2, 3]}}", "2 is in eu and in us"),
        ("{regions: {eu: [1, 9]}}", "node 9 is not in the cluster"),
        ("{regions: {eu: [1, client_7]}}", "client_7: there are 2 clients"),
        ("{regions: {leader: 1}}", "'leader' already names nodes"),
        ("{regions: {n1: 1}}", "'n1' already names nodes"),
        ("{regions: {'e u': 1}}", "a name has letters, digits"),
        ("{regions: {eu: leader}}", "a region has node ids and clients"),
        ("{regions: {eu: 1}, region_latency_ms: {eu: {us: 1}}}", "there is no region 'us'; there are eu"),
        ("{region_latency_ms: {eu: {us: 1}}}", "give the members in regions"),
        ("{regions: {eu: 1}, region_latency_ms: {eu: {eu: fast}}}", "'fast' is not a distribution"),
        ("{regions: {eu: clients}}", "node 1 is in no region"),
    ],
)  # fmt: skip
def test_unclear_regions_are_rejected(network: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read(network=network)


@pytest.mark.parametrize(
    ("timeline", "message"),
    [
        ("[{at_ms: 1, crash: asia}]", "'asia' names no node; .*, or a region: eu, us, ap"),
        ("[{at_ms: 1, crash: 1, label: eu}]", "eu is also a label of the timeline"),
        ("[{at_ms: 1, links: {queue_length: 3}}]", "messages queue for the bandwidth only"),
    ],
)
def test_unclear_names_in_the_timeline_are_rejected(timeline: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read(timeline)
