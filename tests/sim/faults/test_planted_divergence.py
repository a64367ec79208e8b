"""A state machine that is not deterministic on one node is found under faults, and no other node is blamed."""

from __future__ import annotations

import pytest

from qcore.sim import Scenario, parse_scenario
from tests.sim.support.planted_divergence import run_planted

_FAULTS = """
swarm: {from_ms: 500, quiet_ms: 3000}
timeline:
  - {at_ms: 1500, join: 9}
  - {at_ms: 1600, add_learner: {node: 9, timeout_ms: 5000}, may_not_act: true}
  - {at_ms: 3000, change_members: {add: [9], timeout_ms: 5000}, may_not_act: true}
until_ms: 9000
"""


def cluster(nodes: int, faults: str = "until_ms: 3000\n") -> Scenario:
    return parse_scenario(
        f"name: odd\ncluster: {{nodes: {nodes}, digest_interval_ms: 100, check_determinism: false,\n"
        "  snapshot_entries: 60, keep_entries: 20}\nnetwork: {latency_ms: {uniform: [1, 8]}}\n"
        f"workload: {{clients: 3, rate_per_s: 60, timeout_ms: 900}}\nexpect: {{safe: true}}\n{faults}"
    )


@pytest.mark.parametrize(("nodes", "odd"), [(3, 1), (5, 4)])
def test_an_odd_machine_is_found_and_only_that(nodes: int, odd: int) -> None:
    found = run_planted(cluster(nodes), odd, odd)
    assert {node for _, node, _, _ in found.marked} == {odd}
    assert found.contained() == found.odd() == {odd}


@pytest.mark.long
@pytest.mark.parametrize("seed", range(1, 21))
def test_an_odd_machine_is_found_under_faults(seed: int) -> None:
    nodes = 3 if seed % 2 else 5
    found = run_planted(cluster(nodes, _FAULTS), seed, 1 + seed % nodes)
    assert not found.missed()
    blamed = [mark for mark in found.marked if not mark[2]]
    assert all(most for *_, most in blamed), "unless snapshots of the odd node made most odd"


@pytest.mark.long
@pytest.mark.parametrize("seed", range(1, 21))
def test_no_node_is_blamed_for_faults(seed: int) -> None:
    found = run_planted(cluster(3 if seed % 2 else 5, _FAULTS), seed, None)
    assert found.marked == []
    assert found.result is not None
    assert found.result.ok
