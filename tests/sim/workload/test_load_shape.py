"""Phases, skewed keys, sizes of values, pinned and moving clients, and load that waits for a leader."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest

from qcore.errors import ConfigError
from qcore.sim import World, parse_scenario
from qcore.sim.workload.operations import ClientOperation


def operations(workload: str, until_ms: int = 5000) -> Sequence[ClientOperation]:
    world = World(parse_scenario(f"workload: {{{workload}}}\nuntil_ms: {until_ms}"), 1)
    world.run()
    result = world.result()
    assert result.ok, result.failed()
    assert result.metrics["linearizability"]["result"] == "ok"  # type: ignore[index, call-overload]  # a nested object
    return world.history


def test_phases_change_rate_and_mix() -> None:
    history = operations(
        "phases: [{until_ms: 1000, rate_per_s: 100}, {until_ms: 2000, rate_per_s: 0}, "
        "{rate_per_s: 300, read_fraction: 1, cas_fraction: 0}]"
    )
    per_second = Counter(op.invoke_us // 1_000_000 for op in history)
    assert 60 < per_second[0] < 140
    assert per_second[1] == 0, "no operation begins in a pause"
    assert 220 < per_second[2] < 380
    assert {op.kind for op in history if op.invoke_us >= 2_100_000} == {"read"}
    assert {op.kind for op in history if op.invoke_us < 1_000_000} == {"read", "write", "cas"}


def test_a_burst_begins_on_time_after_a_slow_phase() -> None:
    history = operations(
        "phases: [{until_ms: 1000, rate_per_s: 0.01}, {until_ms: 2000, rate_per_s: 600}, "
        "{until_ms: 3000, rate_per_s: 0}], rate_per_s: 200"
    )
    per_half_second = Counter(op.invoke_us // 500_000 for op in history)
    assert per_half_second[2] > 200, "no client still waits for an arrival of the slow phase"
    assert per_half_second[4] == per_half_second[5] == 0
    assert per_half_second[6] > 60, "after the last phase the load is as the workload says"


@pytest.mark.parametrize(("skew", "at_least"), [("{zipf: 2}", 0.5), ("{hot: 0.9}", 0.8)])
def test_skewed_keys_are_used_unevenly(skew: str, at_least: float) -> None:
    history = operations(
        f"keys: 10, rate_per_s: 200, wait_for_leader: true, key_skew: {skew}", until_ms=2500
    )
    shares = Counter(op.key for op in history)
    assert shares["k0"] > at_least * len(history)
    assert len(shares) > 5


def test_values_have_the_drawn_sizes() -> None:
    written = [op.value for op in operations("value_bytes: [50, 100]") if op.kind == "write"]
    sizes = [len(str(value)) for value in written]
    assert min(sizes) >= 50
    assert max(sizes) <= 100
    assert len(set(written)) == len(written), "each value is written once"


def test_pinned_clients_use_their_nodes_only() -> None:
    history = operations("clients: 3, pin: [2, 3]")
    used = {(op.client, op.served_by) for op in history if op.outcome == "ok"}
    assert used == {(1, 2), (2, 3), (3, 2)}


def test_moving_clients_use_every_node() -> None:
    still = {op.served_by for op in operations("clients: 1, read_kind: follower_read")}
    moving = operations("clients: 1, read_kind: follower_read, move_every_ms: 200")
    assert len(still) < 3
    assert {op.served_by for op in moving if op.outcome == "ok"} == {1, 2, 3}


def test_load_can_wait_for_the_first_leader() -> None:
    assert min(op.invoke_us for op in operations("rate_per_s: 200")) < 100_000
    waited = operations("rate_per_s: 200, wait_for_leader: true")
    assert min(op.invoke_us for op in waited) > 100_000
    assert all(op.attempt == 1 for op in waited[:1])


@pytest.mark.parametrize(
    ("workload", "problem"),
    [
        ("phases: [{rate_per_s: 1}, {rate_per_s: 2}]", "each but the last needs until_ms"),
        ("phases: [{until_ms: 2}, {until_ms: 1}]", "must grow"),
        ("phases: [{read_fraction: 1}]", "together exceed 1"),
        ("key_skew: {}", "give either zipf or hot"),
        ("pin: 9", r"workload\.pin: \[9\] are not in the cluster"),
        ("pin: 1, move_every_ms: 5", "pin and move_every_ms contradict"),
    ],
)
def test_shapes_that_cannot_be_meant_are_refused(workload: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        parse_scenario(f"workload: {{{workload}}}")
