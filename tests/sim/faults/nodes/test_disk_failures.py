"""Nodes whose disks fail, fill up or rot react like real nodes: they stop, wait, or refuse to start."""

from __future__ import annotations

import pytest

from qcore.errors import ConfigError
from qcore.sim import World
from qcore.trace import TraceRecord, TraceWriter, parse_trace
from tests.sim.support.scenario_texts import failures, run, scenario, seen

EVERYTHING = "acknowledged_writes_present: true, converges: true"


def traced(timeline: str, seed: int = 1, **parts: str) -> tuple[World, list[TraceRecord]]:
    writer = TraceWriter(keep=True)
    until_ms = int(parts.pop("until_ms", "3000"))
    world = World(scenario(timeline, until_ms=until_ms, **parts), seed, writer)
    world.run()
    return world, list(parse_trace(writer.lines()))


def stops(records: list[TraceRecord], node: int = 3) -> list[str]:
    return [r.fields["why"] for r in records if r.kind == "down" and r.node == node]


def phases(records: list[TraceRecord]) -> list[str]:
    return [r.fields["phase"] for r in records if r.kind == "fault"]


@pytest.mark.parametrize("operation", ["sync", "write"])
def test_a_failed_write_or_sync_stops_the_node_for_good(operation: str) -> None:
    world, records = traced(f"[{{at_ms: 1000, disk_error: {{nodes: 3, on: {operation}}}}}]")
    node = world.nodes[3]
    assert not node.up
    assert node.disk_reactions.stops == 1
    assert not world.services.violations, "a broken disk is no violation"
    (why,) = stops(records)
    assert why.startswith("disk: StorageError: cannot ")
    assert "I/O error" in why
    assert "the disk of node 3" in why
    assert [fault.acted for fault in world.ledger] == [1]
    assert phases(records) == ["begin", "end"], "the fault ends with its last error"


def test_a_stopped_node_acknowledges_nothing_after_the_error() -> None:
    world, records = traced("[{at_ms: 1000, disk_error: {nodes: 3, on: sync}}]")
    (stop,) = [r.t_us for r in records if r.kind == "down" and r.node == 3]
    later = [r for r in records if r.kind == "send" and r.node == 3 and r.t_us > stop]
    assert not later
    assert world.nodes[1].up
    assert world.nodes[2].up


@pytest.mark.parametrize("survives", ["none", "all", "random"])
def test_a_restart_after_a_failed_sync_loses_nothing(survives: str) -> None:
    result = run(
        f"[{{at_ms: 1000, disk_error: {{nodes: all, on: sync, survives: {survives}}}, every_ms: 500, times: 3}},"
        " {at_ms: 1300, restart: all, every_ms: 500, times: 5}]",
        f"{{stopped_by_disk: '>= 6', {EVERYTHING}}}",
        workload="{clients: 3, rate_per_s: 60, read_fraction: 0.1, keys: 60}",
        until_ms="5000",
    )
    assert result.ok, failures(result)


def test_a_disk_that_keeps_failing_stops_each_restarted_node() -> None:
    world, records = traced(
        "[{at_ms: 1000, disk_error: {nodes: 3, on: sync, times: all}, for_ms: 900},"
        " {at_ms: 1400, restart: 3}, {at_ms: 2000, restart: 3}]"
    )
    assert world.nodes[3].up
    assert world.nodes[3].disk_reactions.stops == 2
    assert phases(records) == ["begin", "end"]


def test_a_start_with_a_failed_read_is_an_io_error_and_harmless() -> None:
    world, records = traced(
        "[{at_ms: 900, disk_error: {nodes: 3, on: read}}, {at_ms: 1000, crash: 3},"
        " {at_ms: 1200, restart: 3}, {at_ms: 1400, restart: 3}]"
    )
    assert world.nodes[3].up
    assert world.nodes[3].disk_reactions.starts_refused == 1
    _, refusal = stops(records)
    assert refusal.startswith("refuses to start: StorageError: cannot read the disk of node 3")
    assert len(world.nodes[3].disk.durable.entries) > 5


def test_a_frozen_process_notices_a_failed_sync_on_resuming() -> None:
    world, records = traced(
        "[{at_ms: 1000, disk_slow: {nodes: 3, latency_ms: 100}, for_ms: 300},"
        " {at_ms: 1050, do: [{disk_error: {nodes: 3, on: sync}}, {pause: 3}], for_ms: 600}]",
        workload="{clients: 2, rate_per_s: 200}",
    )
    assert [why.partition(":")[0] for why in stops(records)] == ["pause", "disk"]
    (stop,) = [r.t_us for r in records if r.kind == "down" and r.fields["why"].startswith("disk")]
    assert stop == 1_650_000
    assert not world.nodes[3].up


def test_a_full_disk_rejects_writes_by_name_and_recovers() -> None:
    result = run(
        "[{at_ms: 1000, disk_full: follower_1, for_ms: 1000},"
        " {at_ms: 1500, write: {node: follower_1, key: x, outcome: DiskFull}},"
        " {at_ms: 1500, read: {node: follower_1, key: x, outcome: ok}},"
        " {at_ms: 2500, write: {node: follower_1, key: x, outcome: ok}}]",
        f"{{stopped_by_disk: 0, same_leader: true, {EVERYTHING}}}",
        until_ms="4000",
    )
    assert result.ok, failures(result)


def test_a_leader_on_a_full_disk_steps_down_and_rejects_changes() -> None:
    result = run(
        "[{at_ms: 1000, disk_full: leader},"
        " {at_ms: 1600, remove: {nodes: old_leader, at: old_leader, retry: false, outcome: DiskFull}},"
        " {at_ms: 2200, disk_recover: old_leader}]",
        f"{{leader_changes: {{at_least: 1}}, {EVERYTHING}}}",
        until_ms="4500",
    )
    assert result.ok, failures(result)


def test_free_bytes_are_used_before_the_disk_is_full() -> None:
    world, _ = traced("[{at_ms: 1000, disk_full: {nodes: all, free_bytes: 1500}}]")
    for node in world.nodes.values():
        assert node.disk.durable.entries[-1].index > 10
    assert [fault.acted > 0 for fault in world.ledger] == [True]
    commits = list(world.services.monitor.record.commit_times)
    assert 1_100_000 < commits[-1] < 2_900_000


def test_a_crash_on_a_full_disk_loses_only_what_was_not_stored() -> None:
    result = run(
        "[{at_ms: 1000, disk_full: all, for_ms: 1000}, {at_ms: 1400, power_loss: all, for_ms: 50}]",
        f"{{{EVERYTHING}}}",
        until_ms="4000",
    )
    assert result.ok, failures(result)


@pytest.mark.parametrize(("entry", "named"), [("first", 1), ("last", None), (5, 5)])
def test_rot_in_the_log_is_refused_with_the_entry(entry: str | int, named: int | None) -> None:
    world, records = traced(
        f"[{{at_ms: 1000, do: [{{bit_rot: {{nodes: 3, entry: {entry}}}}}, {{crash: 3}}]}},"
        " {at_ms: 1200, restart: 3}, {at_ms: 1400, restart: 3}]"
    )
    node = world.nodes[3]
    named = named or node.disk.durable.entries[-1].index
    _, *refusals = stops(records)
    assert len(refusals) == node.disk_reactions.starts_refused == 2
    for refusal in refusals:
        assert refusal.startswith(
            f"refuses to start: LogCorrupt: the disk of node 3: entry {named}: checksum "
        )
        assert "remove this node from the cluster" in refusal
    assert world.ledger.idle() == []
    assert not world.services.violations


def test_rot_in_a_snapshot_is_refused() -> None:
    world, records = traced(
        "[{at_ms: 500, bit_rot: {nodes: 3, in: snapshot}}, {at_ms: 1000, snapshot: 3},"
        " {at_ms: 1100, crash: 3}, {at_ms: 1200, restart: 3}]"
    )
    assert "the snapshot through entry" in stops(records)[-1]
    assert not world.nodes[3].up
    assert not world.ledger.idle()


def test_rot_that_no_start_finds_has_not_acted() -> None:
    assert not run("[{at_ms: 1000, bit_rot: 3}]").ok
    result = run("[{at_ms: 1000, bit_rot: 3}]")
    assert seen(result)["every_fault_acted"] == "timeline[0] bit_rot never acted"


def test_compaction_removes_rot_in_the_entries_it_covers() -> None:
    world, _ = traced(
        "[{at_ms: 1000, bit_rot: {nodes: 3, entry: first}}, {at_ms: 1200, snapshot: 3},"
        " {at_ms: 1300, crash: 3}, {at_ms: 1400, restart: 3}]"
    )
    assert world.nodes[3].up


def test_a_wipe_removes_rot_and_the_node_can_be_replaced() -> None:
    result = run(
        "[{at_ms: 1000, do: [{bit_rot: 3}, {crash: 3}]}, {at_ms: 1200, restart: 3},"
        " {at_ms: 1500, remove: {nodes: 3, outcome: ok}}, {at_ms: 2000, wipe: 3},"
        " {at_ms: 2100, restart: 3}, {at_ms: 2200, add_learner: {node: 3, outcome: ok}},"
        " {at_ms: 3000, change_members: {add: 3, outcome: ok}}]",
        f"{{starts_refused: 1, final_voters: [1, 2, 3], {EVERYTHING}}}",
        until_ms="5000",
    )
    assert result.ok, failures(result)


def test_the_end_of_another_fault_does_not_start_a_stopped_node() -> None:
    world, _ = traced(
        "[{at_ms: 1000, disk_error: {nodes: 3, on: write}}, {at_ms: 1500, crash: 3, for_ms: 200}]"
    )
    assert not world.nodes[3].up
    assert [fault.acted for fault in world.ledger] == [1, 0]


def test_recovery_ends_every_failure_and_keeps_the_damage() -> None:
    world, _ = traced(
        "[{at_ms: 1000, do: [{disk_full: 3}, {disk_error: {nodes: 3, on: read, times: all}}, {bit_rot: 3}]},"
        " {at_ms: 1500, disk_recover: 3}]"
    )
    disk = world.nodes[3].disk
    assert not disk.failures.active
    assert disk.content.is_rotten
    assert world.nodes[3].up


@pytest.mark.parametrize(
    ("action", "message"),
    [
        ("disk_error: {nodes: 3, on: open}", "on: \"open\" is not 'write', 'sync' or 'read'"),
        ("disk_error: {nodes: 3, times: 0}", "times"),
        ("disk_error: {nodes: 3, times: some}", "write how many operations fail, or all"),
        ("disk_full: {nodes: 3, free_bytes: -1}", "free_bytes"),
        ("bit_rot: {nodes: 3, in: vote}", "'log' or 'snapshot'"),
        ("bit_rot: {nodes: 3, entry: some}", "write first, last, random, or the index"),
        ("bit_rot: {nodes: 3, in: snapshot, entry: 4}", "a snapshot has no entries"),
        ("bit_rot: 3, for_ms: 100", "bit_rot has no effect that could end"),
        ("bit_rot: 9", "node 9 is not in the cluster"),
    ],
)
def test_an_invalid_disk_failure_is_rejected(action: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        scenario(f"[{{at_ms: 1, {action}}}]")
