"""Crash loops: their times, their end, and what other faults and repairs do meanwhile."""

from __future__ import annotations

import pytest

from qcore.errors import ConfigError
from qcore.sim import World
from qcore.trace import TraceWriter, parse_trace
from tests.sim.support.scenario_texts import failures, run, scenario


def lives(timeline: str, node: int = 3, seed: int = 1) -> tuple[World, list[tuple[int, str]]]:
    """The run, and when the node's process stopped (-) and started (+), in milliseconds."""
    writer = TraceWriter(keep=True)
    world = World(scenario(timeline, until_ms=3000), seed, writer)
    world.run()
    signs = {"up": "+", "down": "-"}
    changes = [
        (r.t_us // 1000, signs[r.kind])
        for r in parse_trace(writer.lines())
        if r.kind in signs and r.node == node and r.t_us
    ]
    return world, changes


def test_a_crash_loop_keeps_its_times() -> None:
    world, changes = lives(
        "[{at_ms: 1000, crash_loop: {nodes: 3, up_ms: 200, down_ms: 50, times: 3}}]"
    )
    assert changes == [(1000, "-"), (1050, "+"), (1250, "-"), (1300, "+"), (1500, "-"), (1550, "+")]
    assert [fault.acted for fault in world.ledger] == [3]


def test_the_end_of_a_crash_loop_starts_the_node() -> None:
    _, changes = lives(
        "[{at_ms: 1000, crash_loop: {nodes: 3, up_ms: 200, down_ms: 150}, for_ms: 400}]"
    )
    assert changes == [(1000, "-"), (1150, "+"), (1350, "-"), (1400, "+")]


def test_a_restart_within_a_crash_loop_starts_the_node_early() -> None:
    _, changes = lives(
        "[{at_ms: 1000, crash_loop: {nodes: 3, up_ms: 200, down_ms: 300, times: 2}}, {at_ms: 1100, restart: 3}]"
    )
    assert changes == [(1000, "-"), (1100, "+"), (1500, "-"), (1800, "+")]


def test_another_fault_keeps_the_node_of_a_crash_loop_down() -> None:
    _, changes = lives(
        "[{at_ms: 1000, crash_loop: {nodes: 3, up_ms: 100, down_ms: 100, times: 3}},"
        " {at_ms: 1050, crash: 3, for_ms: 300}]"
    )
    assert changes[:2] == [(1000, "-"), (1350, "+")]


def test_nodes_of_a_crash_loop_draw_separate_times() -> None:
    timeline = "[{at_ms: 1000, crash_loop: {nodes: [2, 3], up_ms: [50, 200], down_ms: [20, 90]}, for_ms: 1500}]"
    second, third = lives(timeline, 2)[1], lives(timeline, 3)[1]
    assert second != third
    assert len(second) > 8
    assert lives(timeline, 3)[1] == third
    assert lives(timeline, 3, seed=2)[1] != third


def test_a_cluster_survives_crash_loops_of_a_minority() -> None:
    result = run(
        "[{at_ms: 800, crash_loop: {nodes: {random: 2}, up_ms: [20, 300], down_ms: [20, 200]}, for_ms: 2500}]",
        "{writes_succeed_after_heal: true, converges: true, acknowledged_writes_present: true}",
        cluster="{nodes: 5}",
        until_ms="6000",
    )
    assert result.ok, failures(result)


@pytest.mark.parametrize(
    ("action", "message"),
    [
        ("crash_loop: {nodes: 3, times: 0}", "times"),
        ("crash_loop: {nodes: 3, up_ms: often}", "not a distribution"),
        ("crash_loop: {nodes: clients}", "a client is not a node"),
    ],
)
def test_an_invalid_crash_loop_is_rejected(action: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        scenario(f"[{{at_ms: 1, {action}}}]")
