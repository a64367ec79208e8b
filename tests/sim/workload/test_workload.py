"""Clients: redirects, retries after rejections, unknown outcomes, closed loops, and the entity store."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest

from qcore.sim import World
from qcore.sim.workload.operations import ClientOperation
from qcore.trace import TraceWriter
from tests.sim.support.scenario_texts import failures, run, scenario


def history(timeline: str = "[]", seed: int = 1, **parts: str) -> Sequence[ClientOperation]:
    until_ms = int(parts.pop("until_ms", "3000"))
    world = World(scenario(timeline, until_ms=until_ms, **parts), seed, TraceWriter())
    world.run()
    return world.history


def test_every_operation_ends_in_exactly_one_outcome() -> None:
    ops = history("[{at_ms: 1000, crash: leader, for_ms: 500}, {at_ms: 1700, isolate: leader}]")
    assert len(ops) > 50
    assert {op.outcome for op in ops} <= {"ok", "refused", "unknown"}
    assert all(op.invoke_us <= op.return_us <= op.deadline_us for op in ops)


def test_open_loop_keeps_its_rate_while_all_nodes_are_down() -> None:
    ops = history(
        "[{at_ms: 500, crash: all}]", workload="{clients: 4, rate_per_s: 100}", until_ms="11000"
    )
    assert 850 < len(ops) < 1150


def test_a_closed_loop_has_one_operation_at_a_time() -> None:
    ops = history(workload="{clients: 2, mode: closed, think_ms: [1, 5]}")
    assert len(ops) > 50
    for client in (1, 2):
        mine = [op for op in ops if op.client == client]
        assert all(a.return_us < b.invoke_us for a, b in pairwise(mine))


def test_fractions_and_keys_are_respected() -> None:
    ops = history(
        workload="{clients: 4, rate_per_s: 400, read_fraction: 0.5, cas_fraction: 0.25, keys: 3}",
        until_ms="5000",
    )
    share = {kind: sum(op.kind == kind for op in ops) / len(ops) for kind in ("read", "cas")}
    assert 0.45 < share["read"] < 0.55
    assert 0.2 < share["cas"] < 0.3
    assert {op.key for op in ops} == {"k0", "k1", "k2"}
    written = [op.value for op in ops if op.kind != "read"]
    assert len(set(written)) == len(written), "no value is written twice"


def test_writes_with_an_unknown_outcome_are_never_retried() -> None:
    """On client links that lose messages. Without a response the outcome is unknown, and nothing is applied twice."""
    world = World(
        scenario(
            network="{latency_ms: 2, clients: {loss: 0.2}}",
            workload="{clients: 3, rate_per_s: 60, read_fraction: 0, cas_fraction: 0, timeout_ms: 200}",
        ),
        4,
        TraceWriter(),
    )
    world.run()
    unknown = [op for op in world.history if op.outcome == "unknown"]
    assert len(unknown) > 10
    node = world.nodes[1]
    commands = [entry.data for entry in node.applied if entry.kind == "command"]
    assert len(set(commands)) == len(commands)
    applied = set(commands)
    assert any(op.payload in applied for op in unknown), (
        "some responses were lost, but not the write"
    )
    assert any(op.payload not in applied for op in unknown), "some writes were lost"


def test_a_client_finds_the_leader_when_its_node_is_down() -> None:
    ops = history("[{at_ms: 1000, crash: 1}]", workload="{clients: 1, rate_per_s: 40}")
    late = [op for op in ops if op.invoke_us > 2_000_000]
    assert late
    assert all(op.outcome == "ok" for op in late)


def test_reads_without_a_quorum_are_rejected_not_served_stale() -> None:
    ops = history(
        "[{at_ms: 1000, partition: [[1], [2], [3]]}]",
        workload="{clients: 3, rate_per_s: 60, timeout_ms: 300}",
    )
    late = [op for op in ops if op.invoke_us > 1_010_000]
    assert late
    assert not [op for op in late if op.outcome == "ok"]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_entity_store_runs_under_faults(seed: int) -> None:
    result = run(
        "[{at_ms: 1500, crash: leader, for_ms: 400}, {at_ms: 2500, isolate: leader, for_ms: 500}]",
        "{safe: true, linearizable: true, converges: true, min_ok_writes: 20, min_ok_reads: 20,"
        " acknowledged_writes_present: true}",
        seed=seed,
        cluster="{nodes: 3, machine: entity}",
        until_ms="5000",
    )
    assert result.ok, failures(result)


def test_a_single_node_cluster_survives_a_power_loss() -> None:
    result = run(
        "[{at_ms: 1000, power_loss: 1, for_ms: 100}]",
        "{safe: true, writes_succeed_after_heal: true, acknowledged_writes_present: true}",
        cluster="{nodes: 1}",
    )
    assert result.ok, failures(result)
