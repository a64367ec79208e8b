"""Clogs keep messages and deliver them in order; flapping faults begin and end until they are ended for good."""

from __future__ import annotations

import pytest

from qcore.errors import ConfigError
from qcore.sim import World
from qcore.trace import TraceRecord, TraceWriter, parse_trace
from tests.sim.support.scenario_texts import run, scenario, seen


def trace(
    timeline: str, seed: int = 1, until_ms: int = 3000, cluster: str = "{nodes: 3}"
) -> tuple[World, list[TraceRecord]]:
    writer = TraceWriter(keep=True)
    world = World(scenario(timeline, until_ms=until_ms, cluster=cluster), seed, writer)
    world.run()
    return world, list(parse_trace(writer.lines()))


def phases(records: list[TraceRecord], phase: str) -> list[int]:
    """The times of one phase of all faults, in microseconds."""
    return [r.t_us for r in records if r.kind == "fault" and r.fields["phase"] == phase]


def test_a_clogged_link_delivers_everything_later_in_order() -> None:
    world, records = trace("[{at_ms: 1000, clog: {from: 1, to: 2}, for_ms: 400}]")
    ids = [
        r.fields["id"] for r in records if r.kind == "send" and r.node == 1 and r.fields["to"] == 2
    ]
    got = [r for r in records if r.kind == "recv" and r.node == 2 and r.fields["from"] == 1]
    assert not [r for r in got if 1_000_000 <= r.t_us < 1_400_000]
    assert [r.fields["id"] for r in got] == ids[: len(got)]
    waited = [r for r in got if r.t_us == 1_400_000]
    assert [fault.acted for fault in world.ledger] == [len(waited)]
    assert len(waited) > 1
    assert not [r for r in records if r.kind == "drop"]


def test_a_clog_can_draw_its_length() -> None:
    _, records = trace(
        "[{at_ms: 1000, clog: {from: 1, to: 2, clog_ms: [100, 300]}, every_ms: 500, times: 3}]"
    )
    lengths = [
        end - begin
        for begin, end in zip(phases(records, "begin"), phases(records, "end"), strict=True)
    ]
    assert len(set(lengths)) == 3
    assert all(100_000 <= length <= 300_000 for length in lengths)
    _, records = trace("[{at_ms: 1000, clog: {from: 1, to: 2, clog_ms: 300}, for_ms: 100}]")
    assert phases(records, "end") == [1_100_000], "the item ends first"


def test_a_link_clogged_twice_waits_for_both() -> None:
    timeline = "[{at_ms: 1000, clog: [1, 2], for_ms: 200}, {at_ms: 1100, clog: {from: 1, to: rest}, for_ms: 400}]"
    _, records = trace(timeline)
    got = [r.t_us for r in records if r.kind == "recv" and r.node == 2 and r.fields["from"] == 1]
    assert not [time for time in got if 1_000_000 <= time < 1_500_000]
    assert 1_500_000 in got


def test_a_cut_loses_what_waits_in_a_clogged_link() -> None:
    _, records = trace(
        "[{at_ms: 1000, clog: {from: 1, to: 2}, for_ms: 300}, {at_ms: 1200, cut: {from: 1, to: 2}, for_ms: 200}]"
    )
    cut = [r for r in records if r.kind == "drop" and r.t_us == 1_300_000]
    assert cut
    assert {r.fields["note"] for r in cut} == {"cut"}


@pytest.mark.parametrize("heal", ["all", "slow", "{nodes: 2}"])
def test_heal_ends_clogs_and_flaps(heal: str) -> None:
    for fault in ("clog: {from: 1, to: 2}", "cut: [1, 2], flap: [40, 40]"):
        world, records = trace(
            f"[{{at_ms: 1000, {fault}, label: slow}}, {{at_ms: 1500, heal: {heal}}}]", until_ms=1700
        )
        assert all(link.is_open for link in world.network.links())
        assert max(phases(records, "begin")) < 1_500_000
        assert max(phases(records, "end")) <= 1_500_000
        assert world.ledger.idle() == []


def test_a_leader_behind_clogged_links_is_replaced() -> None:
    result = run(
        "[{at_ms: 1000, clog: [leader, rest], for_ms: 1000}]",
        "{safe: true, leader_changes: 1, new_leader_within_ms: 700, old_leader_steps_down_within_ms: 600}",
    )
    assert result.ok, result.failed()


def test_a_flapping_cut_is_active_in_turns() -> None:
    timeline = "[{at_ms: 1000, cut: [1, 2], flap: {down_ms: 100, up_ms: 50}, for_ms: 400}]"
    world, records = trace(timeline)
    assert phases(records, "begin") == [1_000_000, 1_150_000, 1_300_000]
    assert phases(records, "end") == [1_100_000, 1_250_000, 1_400_000]
    drops = [r.t_us for r in records if r.kind == "drop"]
    assert all(
        1_000_000 <= t < 1_100_000 or 1_150_000 <= t < 1_250_000 or 1_300_000 <= t < 1_400_000
        for t in drops
    )
    (fault,) = world.ledger
    assert fault.acted == len(drops), "all times that it was active count"
    assert not any(link.cuts for link in world.network.links())


def test_a_flap_keeps_the_nodes_that_it_drew() -> None:
    _, records = trace("[{at_ms: 500, isolate: random, flap: [30, 30], until_ms: 1000}]")
    begun = [r for r in records if r.kind == "fault" and r.fields["phase"] == "begin"]
    assert len(begun) > 5
    assert len({tuple(r.fields["nodes"]) for r in begun}) == 1
    assert max(phases(records, "end")) <= 1_000_000, "until_ms ends it"


def test_a_flap_ends_only_its_effect() -> None:
    timeline = "[{at_ms: 1000, cut: [1, 2], flap: [50, 50], for_ms: 500}, {at_ms: 1000, isolate: 2, for_ms: 1000}]"
    _, records = trace(timeline)
    got = [r.t_us for r in records if r.kind == "recv" and r.node == 2]
    assert not [time for time in got if 1_010_000 <= time < 2_000_000]


def test_a_flap_of_length_zero_still_advances() -> None:
    _, records = trace("[{at_ms: 1000, cut: [1, 2], flap: [0, 0], for_ms: 20}]", until_ms=1500)
    assert len(phases(records, "begin")) == 10


def test_a_swizzle_clogs_and_unclogs_each_node_once() -> None:
    timeline = "[{at_ms: 1000, swizzle_clog: {nodes: all, clog_gap_ms: 40, clogged_ms: 100, unclog_gap_ms: 30}}]"
    orders = []
    for seed in range(1, 5):
        world, records = trace(timeline, seed, 1500, cluster="{nodes: 5}")
        steps = [r for r in records if r.kind == "fault" and r.fields["phase"] == "act"]
        assert [r.t_us - 1_000_000 for r in steps] == [
            1000 * ms for ms in (0, 40, 80, 120, 160, 260, 290, 320, 350, 380)
        ]
        clogged = [r.fields["nodes"] for r in steps if r.fields["note"] == "clogs"]
        unclogged = [r.fields["nodes"] for r in steps if r.fields["note"] == "unclogs"]
        assert sorted(clogged) == sorted(unclogged) == [[1], [2], [3], [4], [5]]
        orders.append((str(clogged), str(unclogged)))
        assert phases(records, "end") == [1_380_000]
        assert all(link.is_open for link in world.network.links())
        assert world.ledger.idle() == []
    assert len({first for first, _ in orders}) > 1
    assert any(first != second for first, second in orders)


@pytest.mark.parametrize(
    "end", ["{at_ms: 1100, heal: all}", "{at_ms: 1100, heal: {nodes: all}}", ""]
)
def test_a_swizzle_that_is_ended_early_leaves_no_clog(end: str) -> None:
    for_ms = "" if end else ", for_ms: 100"
    timeline = f"[{{at_ms: 1000, swizzle_clog: {{clog_gap_ms: 60, nodes: all}}{for_ms}}}, {end}]"
    world, records = trace(timeline.replace(", ]", "]"))
    assert all(link.is_open for link in world.network.links())
    assert not any(link.clogged for link in world.network.links())
    assert max(phases(records, "end")) == 1_100_000


def test_a_swizzle_of_nodes_that_are_not_named_draws_them() -> None:
    drawn = set()
    for seed in range(1, 9):
        _, records = trace("[{at_ms: 500, swizzle_clog: {clients: true}}]", seed, 600)
        (begin,) = [r for r in records if r.kind == "fault" and r.fields["phase"] == "begin"]
        drawn.add(str(begin.fields["nodes"]))
    assert len(drawn) > 3


def test_a_swizzle_of_no_node_does_not_act() -> None:
    world, _ = trace("[{at_ms: 500, swizzle_clog: down}]", until_ms=600)
    assert [fault.acted for fault in world.ledger] == [0]


def test_links_of_clients_can_be_clogged() -> None:
    world, _ = trace("[{at_ms: 500, clog: {from: clients, to: all}, for_ms: 300}]")
    assert world.ledger.idle() == []
    delayed = [op for op in world.history if 500_000 < op.invoke_us < 700_000]
    assert delayed
    assert all(op.return_us >= 800_000 for op in delayed)


def test_writes_are_judged_after_the_end_of_a_drawn_clog() -> None:
    result = run(
        "[{at_ms: 1000, clog: {from: 1, to: rest, both: true, clog_ms: 300}}]",
        "{writes_succeed_after_heal: true, recovers_within_ms: 1000}",
    )
    assert result.ok, result.failed()
    assert seen(result)["recovers_within_ms"] != "no repair"


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ("crash: 1, flap: [10, 10]", "crash cannot flap"),
        ("swizzle_clog: all, flap: [10, 10]", "swizzle_clog cannot flap"),
        ("cut: [1, 2], flap: 10", "write {down_ms"),
        ("cut: [1, 2], flap: {down_ms: 10}", "up_ms|Field required"),
        ("clog: 3", "write {from: 1, to: 2}"),
        ("clog: {from: 1, to: 9}", "node 9 is not in the cluster"),
        ("swizzle_clog: {random: 7}", "there are 3 nodes"),
        ("swizzle_clog: {nodes: client_1}", "a client is not a node"),
        ("hold: {}", "name the `message`, or the links"),
    ],
)
def test_invalid_clogs_and_flaps_are_rejected(item: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        scenario(f"[{{at_ms: 1, {item}}}]")
