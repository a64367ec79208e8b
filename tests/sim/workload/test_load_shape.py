"""The shape of the load: when it begins, whom clients ask first, phases, skewed keys, and sizes of values."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from random import Random

import pytest

from qcore.errors import ConfigError
from qcore.sim import Scenario, World, load_scenario, parse_scenario
from qcore.sim.scenario.distributions import fixed
from qcore.sim.workload.load.preferred_node import MovingPreference
from qcore.sim.workload.operations import ClientOperation
from qcore.trace import TraceWriter
from tests.sim.support.scenario_texts import scenario


def simulated(text: Scenario, seed: int = 1) -> World:
    world = World(text, seed, TraceWriter(keep=True))
    world.run()
    return world


def load(workload: str, timeline: str = "[]", until_ms: int = 3000) -> World:
    return simulated(scenario(timeline, workload=workload, until_ms=until_ms))


def begun(ops: Sequence[ClientOperation], start_ms: int, end_ms: int) -> list[ClientOperation]:
    return [op for op in ops if start_ms * 1000 <= op.invoke_us < end_ms * 1000]


def first_nodes(world: World) -> dict[tuple[int, int], int]:
    """By client and operation, the node that was asked first."""
    asked: dict[tuple[int, int], int] = {}
    for line in world.services.trace.lines():
        record = json.loads(line)
        if record.get("phase") == "invoke":
            asked[record["client"], record["op_id"]] = record["node"]
    return asked


# -- the begin ------------------------------------------------------------------------------------


def test_the_load_waits_for_the_first_leader() -> None:
    early = load("{clients: 3, rate_per_s: 200}")
    waiting = load("{clients: 3, rate_per_s: 200, wait_for_leader: true}")
    elected = waiting.services.monitor.record.leaders[0].time
    assert early.history[0].invoke_us < elected <= waiting.history[0].invoke_us
    assert waiting.history[0].invoke_us < elected + 200_000
    late = load("{clients: 3, rate_per_s: 200, wait_for_leader: true, start_ms: 1500}")
    assert late.history[0].invoke_us >= 1_500_000
    closed = load("{clients: 3, think_ms: 5, wait_for_leader: true}")
    assert closed.history[0].invoke_us == elected + 5000


def test_a_run_without_a_leader_has_no_load() -> None:
    cut = "[{at_ms: 0, partition: [[1], [2], [3]]}]"
    assert not load("{wait_for_leader: true, pinned: 1}", cut).history


def test_the_setup_of_entities_waits_too() -> None:
    text = scenario(cluster="{nodes: 3, machine: entity}", workload="{wait_for_leader: true}")
    world = simulated(text)
    assert sum(op.outcome == "ok" for op in world.history) > 30


# -- pinned clients -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pinned", "nodes"),
    [("2", {1: 2, 2: 2, 3: 2, 4: 2}), ("[1, 3]", {1: 1, 2: 3, 3: 1, 4: 3}), ("spread", {1: 1, 2: 2, 3: 3, 4: 1})],
)  # fmt: skip
def test_a_pinned_client_always_asks_its_node_first(pinned: str, nodes: dict[int, int]) -> None:
    workload = f"{{clients: 4, rate_per_s: 100, pinned: {pinned}}}"
    world = load(workload, "[{at_ms: 1000, crash: 3}, {at_ms: 1500, restart: 3}]")
    asked = first_nodes(world)
    assert len(asked) > 100
    assert all(node == nodes[client] for (client, _op), node in asked.items())
    assert {op.outcome for op in begun(world.history, 500, 900)} == {"ok"}, "redirects are followed"
    reads = [op for op in begun(world.history, 1100, 1400) if op.kind == "read"]
    assert {op.outcome for op in reads} == {"ok"}, "others serve while the node is down"


def test_a_client_pinned_to_the_leader_follows_it() -> None:
    world = load(
        "{clients: 2, rate_per_s: 100, pinned: leader, wait_for_leader: true}",
        "[{at_ms: 1000, transfer: {to: null}}]",
    )
    first, second = (event.node for event in world.services.monitor.record.leaders)
    assert first != second
    moved_us = world.services.monitor.record.leaders[1].time
    asked = first_nodes(world)
    for op in world.history:
        if not 1_000_000 <= op.invoke_us <= moved_us:
            assert asked[op.client, op.op_id] == (first if op.invoke_us < moved_us else second)


def test_a_moving_client_changes_its_node_at_drawn_times() -> None:
    workload = "{clients: 1, rate_per_s: 200, pinned: [1, 2], move_every_ms: [200, 400]}"
    asked = list(first_nodes(load(workload)).values())
    moves = sum(a != b for a, b in pairwise(asked))
    assert set(asked) == {1, 2}
    assert 4 <= moves <= 10, "2 s of load, a move each 0.3 s"
    others = list(first_nodes(load(workload.replace("pinned: [1, 2], ", ""))).values())
    assert set(others) == {1, 2, 3}


def test_a_stay_takes_at_least_a_millisecond() -> None:
    node = MovingPreference([1, 2, 3], 1, fixed(0).sampler(Random(1)), Random(1))
    assert node(999) == 1
    assert node(1000) != 1


# -- phases ---------------------------------------------------------------------------------------


def test_each_phase_has_its_rate_and_mix() -> None:
    world = load(
        "{clients: 4, rate_per_s: 100, phases: [{until_ms: 1000, rate_per_s: 20}, "
        "{until_ms: 2000, rate_per_s: 400, read_fraction: 1, cas_fraction: 0}, "
        "{until_ms: 3000, rate_per_s: 0}, {until_ms: 4000, read_fraction: 0, cas_fraction: 0}]}",
        until_ms=7000,
    )
    parts = [begun(world.history, start, start + 1000) for start in range(0, 6000, 1000)]
    sizes = [len(part) for part in parts]
    assert 10 <= sizes[0] <= 35
    assert 340 <= sizes[1] <= 460
    assert sizes[2] == 0
    assert all(70 <= size <= 135 for size in sizes[3:])
    assert {op.kind for op in parts[1]} == {"read"}
    assert {op.kind for op in parts[3]} == {"write"}
    assert {op.kind for op in parts[4]} == {"read", "write", "cas"}, "what a phase leaves out"


def test_a_phase_changes_the_pauses_of_a_closed_loop() -> None:
    world = load("{clients: 1, think_ms: 50, phases: [{until_ms: 1000}, {think_ms: 1}]}")
    slow, fast = begun(world.history, 500, 1000), begun(world.history, 1500, 2000)
    assert len(fast) > 3 * len(slow) > 0


def test_phases_without_changes_leave_the_run_as_it_is() -> None:
    plain = load("{clients: 3, rate_per_s: 80}")
    phased = load("{clients: 3, rate_per_s: 80, phases: [{}]}")
    assert plain.services.trace.sha256() == phased.services.trace.sha256()


# -- keys and values ------------------------------------------------------------------------------


def shares(world: World) -> dict[str, float]:
    counts = Counter(op.key for op in world.history)
    return {key: number / len(world.history) for key, number in counts.items()}


def test_skewed_keys_follow_their_weights() -> None:
    rate = "{clients: 4, rate_per_s: 400, keys: 5, "
    zipf = shares(load(rate + "key_skew: {zipf: 1.0}}"))
    assert zipf["k0"] == pytest.approx(1 / 2.2833, abs=0.06)
    assert zipf["k4"] == pytest.approx(0.2 / 2.2833, abs=0.05)
    hot = shares(load(rate + "key_skew: {hot_fraction: 0.8, hot_keys: 2}}"))
    assert hot["k0"] + hot["k1"] == pytest.approx(0.8, abs=0.06)
    assert hot["k2"] == pytest.approx(0.2 / 3, abs=0.04)
    only = shares(load(rate + "key_skew: {hot_fraction: 1, hot_keys: 1}}"))
    assert only == {"k0": 1.0}


def test_values_have_the_given_sizes_and_stay_unique() -> None:
    world = load("{clients: 3, rate_per_s: 200, read_fraction: 0, value_bytes: [16, 200]}")
    values = [str(op.value) for op in world.history]
    sizes = [len(value.encode()) for value in values]
    assert min(sizes) >= 16
    assert max(sizes) <= 200
    assert max(sizes) - min(sizes) > 150
    assert len(set(values)) == len(values) > 200
    same = load("{clients: 1, rate_per_s: 20, read_fraction: 0, value_bytes: 5000}")
    assert {len(str(op.value)) for op in same.history} == {5000}


# -- rejected scenarios ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("workload", "text"),
    [
        ("{pinned: 4}", r"workload.pinned: \[4\] are not in the cluster"),
        ("{pinned: []}", "give at least one node id"),
        ("{pinned: [1, 1]}", "each id once"),
        ("{pinned: follower}", "write a node id, a list of ids, leader or spread"),
        ("{pinned: leader, move_every_ms: 5}", "move_every_ms needs several nodes"),
        ("{pinned: 1, move_every_ms: 5}", "move_every_ms needs several nodes"),
        ("{phases: [{rate_per_s: 1}, {}]}", "phase 1 has no until_ms"),
        ("{phases: [{until_ms: 900}, {until_ms: 900}]}", "phase 2 ends at 900 ms, but it begins at 900"),
        ("{phases: [{until_ms: 0}]}", "phase 1 ends at 0 ms"),
        ("{phases: [{until_ms: 2500}, {}]}", "phase 2 begins at 2500 ms, when the load has ended"),
        ("{phases: [{read_fraction: 0.95}]}", "phase 1: read_fraction .* together exceed 1"),
        ("{phases: [{think_ms: 5}]}", "phase 1: think_ms belongs to the closed loop"),
        ("{mode: closed, phases: [{rate_per_s: 5}]}", "phase 1: rate_per_s belongs to the open"),
        ("{phases: [{rate: 5}]}", "phases"),
        ("{key_skew: {}}", "give either zipf, or hot_fraction"),
        ("{key_skew: {zipf: 0}}", "greater than 0"),
        ("{key_skew: {zipf: 1, hot_keys: 2}}", "hot_keys goes with hot_fraction"),
        ("{key_skew: {hot_fraction: 0.5, hot_keys: 8}}", "must be below the number of keys"),
        ("{value_bytes: 15}", "greater than or equal to 16"),
        ("{value_bytes: [90, 80]}", "the lower one comes first"),
        ("{value_bytes: 20, sessions: true}", "value_bytes has no effect here"),
    ],
)  # fmt: skip
def test_a_load_that_makes_no_sense_is_rejected(workload: str, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        scenario(workload=workload)


@pytest.mark.parametrize("name", ["pinned_clients", "load_phases", "hot_key", "append_lists"])
def test_the_text_of_a_load_reads_as_the_same_load(name: str) -> None:
    given = load_scenario(name)
    assert parse_scenario(given.to_yaml(), "again.yaml").workload == given.workload
