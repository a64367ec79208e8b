"""Timeline actions: the nodes and links that they affect, how they end, and that idle faults fail the run."""

from __future__ import annotations

import pytest

from qcore.sim import World
from qcore.trace import TraceRecord, TraceWriter, parse_trace
from tests.sim.support.scenario_texts import failures, run, scenario, seen


def trace(timeline: str, seed: int = 1, **parts: str) -> tuple[World, list[TraceRecord]]:
    """Run a small scenario and return its world and trace."""
    writer = TraceWriter(keep=True)
    until_ms = int(parts.pop("until_ms", "3000"))
    world = World(scenario(timeline, until_ms=until_ms, **parts), seed, writer)
    world.run()
    return world, list(parse_trace(writer.lines()))


def roles(records: list[TraceRecord], node: int) -> list[tuple[int, str]]:
    return [(r.t_us, r.fields["role"]) for r in records if r.kind == "role" and r.node == node]


def leader_at(records: list[TraceRecord], time_us: int) -> int:
    """The node that became leader last, up to this time."""
    leaders = [
        r.node
        for r in records
        if r.kind == "role" and r.fields["role"] == "leader" and r.t_us <= time_us
    ]
    return leaders[-1]


@pytest.mark.parametrize(
    "action",
    [
        "partition: [[1, 2, 3]]",
        "crash: down",
        "pause: paused",
        "disk_stall: leader",
        "loss: {rate: 0.5, from: 1, to: 2}",
        "duplicate: 0.5",
        "cut: {from: clients, to: 1}",
        "when: {event: role, role: leader, term: 999}",
        "crash: old_leader",
    ],
)
def test_a_fault_that_never_acts_fails_the_run(action: str) -> None:
    timeline = f"[{{at_ms: 2900, {action}, for_ms: 1}}]"
    if action.startswith("when"):
        timeline = f"[{{{action}, crash: 1}}]"
    if action.startswith(("loss", "duplicate", "disk", "cut")):
        # No node sends or writes in the last microsecond before the end.
        timeline = timeline.replace("2900", "2999.999")
    result = run(timeline, workload="{clients: 0}")
    assert not result.ok
    assert "never acted" in seen(result)["every_fault_acted"]
    assert seen(run("[]"))["every_fault_acted"] == "all did"


def test_declared_loss_of_the_network_must_act_too() -> None:
    result = run(network="{latency_ms: 1, loss: 0.000000001}")
    assert seen(result)["every_fault_acted"] == "network.loss never acted"
    assert run(network="{latency_ms: 1, loss: 0.1}").ok


def test_every_message_lost_to_a_cut_is_counted() -> None:
    world, records = trace("[{at_ms: 1000, isolate: leader, for_ms: 1000}]")
    drops = [r for r in records if r.kind == "drop" and r.fields["note"] == "cut"]
    (fault,) = world.ledger
    assert fault.acted == len(drops) > 10
    leader = leader_at(records, 1_000_000)
    assert all(leader in (r.node, r.fields["from"]) for r in drops)
    assert all(1_000_000 <= r.t_us < 2_000_000 for r in drops)


def test_a_one_way_cut_leaves_the_other_way_open() -> None:
    _, records = trace("[{at_ms: 1000, cut: {from: 1, to: rest}}]", workload="{clients: 0}")
    drops = [r for r in records if r.kind == "drop"]
    assert drops
    assert {r.fields["from"] for r in drops} == {1}
    assert any(r.kind == "recv" and r.node == 1 and r.t_us > 1_100_000 for r in records)


def test_overlapping_partitions_heal_one_by_one_by_label() -> None:
    world, _ = trace(
        "[{at_ms: 500, partition: [[1], [2, 3]], label: left},"
        " {at_ms: 600, partition: [[1, 2], [3]], label: right},"
        " {at_ms: 1500, heal: left}]"
    )
    cut = {(link.source, link.target) for link in world.network.links() if link.cuts}
    assert cut == {(1, 3), (3, 1), (2, 3), (3, 2)}


def test_a_node_in_two_partition_groups_is_a_bridge() -> None:
    world, _ = trace(
        "[{at_ms: 500, partition: [[1, 2, 3], [3, 4]]}]", cluster="{nodes: 5}", until_ms="600"
    )
    open_links = {
        (link.source, link.target)
        for link in world.network.links()
        if not link.cuts and link.source > 0 and link.target > 0
    }
    linked = {(1, 2), (1, 3), (2, 3), (3, 4)}
    assert open_links == linked | {(b, a) for a, b in linked}


def test_clients_can_be_in_a_partition_group() -> None:
    world, _ = trace("[{at_ms: 500, partition: [[1, client_1], [2, 3, client_2]]}]", until_ms="600")
    cut = {(link.source, link.target) for link in world.network.links() if link.cuts}
    assert {(-1, 2), (2, -1), (-1, 3), (-2, 1), (1, -2)} <= cut
    assert not {(-1, 1), (-2, 2), (-2, 3)} & cut


def test_heal_all_also_restores_link_quality() -> None:
    world, _ = trace(
        "[{at_ms: 500, loss: 0.9}, {at_ms: 500, links: {from: 1, to: 2, latency_ms: 50}},"
        " {at_ms: 1500, heal: all}]"
    )
    assert {link.quality.loss for link in world.network.links()} == {0.0}
    assert {link.quality.latency.first for link in world.network.links()} == {1.0}


def test_restart_leader_starts_the_crashed_leader() -> None:
    _, records = trace("[{at_ms: 1000, crash: leader}, {at_ms: 2000, restart: leader}]")
    crashed = leader_at(records, 1_000_000)
    downs = [(r.node, r.t_us) for r in records if r.kind == "down"]
    ups = [(r.node, r.t_us) for r in records if r.kind == "up" and r.t_us]
    assert downs == [(crashed, 1_000_000)]
    assert ups == [(crashed, 2_000_000)]


def test_restart_of_a_running_node_stops_and_starts_it() -> None:
    world, records = trace("[{at_ms: 1000, restart: {nodes: 2, down_ms: 50}}]")
    assert [(r.kind, r.t_us) for r in records if r.node == 2 and r.kind in ("up", "down")] == [
        ("up", 0),
        ("down", 1_000_000),
        ("up", 1_050_000),
    ]
    assert [fault.acted for fault in world.ledger] == [1]


def test_a_restarted_node_remembers_its_term_and_log() -> None:
    _, records = trace("[{at_ms: 1500, power_loss: all, for_ms: 200}]")
    again = [r for r in records if r.kind == "up" and r.t_us == 1_700_000]
    assert len(again) == 3
    assert all(r.fields["term"] >= 2 and r.fields["last_index"] > 10 for r in again)


def test_a_paused_leader_is_replaced_and_steps_down_on_resume() -> None:
    world, records = trace("[{at_ms: 1000, pause: leader, for_ms: 1000}]")
    old = leader_at(records, 1_000_000)
    assert leader_at(records, 1_900_000) != old
    during = [r for r in records if 1_000_000 < r.t_us < 2_000_000 and r.node == old]
    assert {r.kind for r in during} <= {"recv", "op"}
    after = [time for time, role in roles(records, old) if time >= 2_000_000 and role == "follower"]
    assert after[0] == 2_000_000
    assert world.services.violations == []


def test_a_stalled_disk_stops_a_nodes_acknowledgements_only() -> None:
    result = run(
        "[{at_ms: 1000, disk_stall: follower_1, for_ms: 1000}]",
        "{safe: true, same_leader: true, every_write_succeeds: true}",
        workload="{clients: 2, rate_per_s: 40, start_ms: 800}",
    )
    assert result.ok, failures(result)


def test_wall_clock_jumps_of_an_hour_do_no_harm() -> None:
    result = run(
        "[{at_ms: 1000, clock: {nodes: all, offset_ms: 3600000}},"
        " {at_ms: 2000, clock: {nodes: leader, offset_ms: -3600000}}]",
        "{safe: true, same_leader: true, converges: true}",
    )
    assert result.ok, failures(result)


def test_a_fast_clock_campaigns_against_a_live_leader() -> None:
    slow_heartbeat = "{nodes: 3, heartbeat_ms: 100, check_quorum: false, pre_vote: false}"
    timeline = "[{at_ms: 1000, clock: {nodes: follower_1, drift_ppm: 4000000}}]"
    for line, elections in ((timeline, 2), ("[]", 1)):
        expect = f"{{elections: {elections}, may_do_nothing: true}}"
        result = run(line, expect, cluster=slow_heartbeat, workload="{clients: 0}")
        assert result.ok, failures(result)


def test_repeated_items_fire_as_often_as_they_say() -> None:
    world, records = trace("[{at_ms: 500, crash: 1, for_ms: 100, every_ms: 500, times: 3}]")
    assert [fault.acted for fault in world.ledger] == [3]
    downs = [r.t_us for r in records if r.kind == "down"]
    assert downs == [500_000, 1_000_000, 1_500_000]


def test_a_trigger_fires_on_its_event_up_to_its_limit() -> None:
    _, records = trace(
        "[{when: {event: role, role: leader}, crash: leader, for_ms: 200, times: 2}]"
    )
    leaders = [r for r in records if r.kind == "role" and r.fields["role"] == "leader"]
    downs = [(r.node, r.t_us) for r in records if r.kind == "down"]
    assert len(downs) == 2
    assert downs == [(r.node, r.t_us) for r in leaders[:2]]


@pytest.mark.parametrize(
    "when",
    [
        "{event: send, message: AppendEntries, node: leader}",
        "{event: receive, message: RequestVote}",
        "{event: vote, term: 2}",
        "{event: commit, index: 5}",
        "{event: apply, node: follower_1}",
        "{event: durable, index: 4}",
    ],
)
def test_each_kind_of_event_can_trigger_an_action(when: str) -> None:
    result = run(f"[{{when: {when}, crash: random, for_ms: 100}}]", until_ms="2000")
    assert result.ok, failures(result)


def test_directed_operations_and_campaigns_reach_their_node() -> None:
    _, records = trace(
        "[{at_ms: 1000, write: {node: leader, key: x, value: hello}},"
        " {at_ms: 1500, read: {node: follower_1, key: x}}, {at_ms: 2000, campaign: follower_2}]",
        workload="{clients: 0}",
        cluster="{nodes: 3, check_quorum: false, pre_vote: false}",
    )
    ops = [r.fields for r in records if r.kind == "op"]
    assert [(op["phase"], op["op"], op["value"]) for op in ops] == [
        ("invoke", "write", "hello"),
        ("ok", "write", "hello"),
        ("invoke", "read", None),
        ("ok", "read", "hello"),
    ]
    assert leader_at(records, 3_000_000) != leader_at(records, 1_900_000)


def test_a_node_behind_a_compacted_log_catches_up() -> None:
    result = run(
        "[{at_ms: 500, crash: follower_1, for_ms: 1500}, {at_ms: 1800, snapshot: leader}]",
        "{safe: true, converges: true, acknowledged_writes_present: true}",
        until_ms="4000",
    )
    assert result.ok, failures(result)


def test_an_action_on_the_leader_waits_until_there_is_one() -> None:
    _, records = trace("[{at_ms: 0, crash: leader, for_ms: 100}]")
    first = next(r for r in records if r.kind == "role" and r.fields["role"] == "leader")
    down = next(r for r in records if r.kind == "down")
    assert down.node == first.node
    assert 0 <= down.t_us - first.t_us <= 1000
