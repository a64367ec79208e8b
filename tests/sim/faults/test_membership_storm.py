"""Membership changes during power losses and partitions are safe, but not without the joint configuration."""

from __future__ import annotations

import pytest

from qcore.core import membership
from qcore.core.entry import Membership
from qcore.core.events import ChangeMembership
from qcore.sim import RunResult, parse_scenario, run_scenario
from tests.sim.support.scenario_texts import failures

STORM = """
name: membership_storm
cluster:
  nodes: 3
  snapshot_entries: 25
  keep_entries: 3
  max_snapshot_chunk: 60
  lease_reads: true
  disk: {{latency_ms: {{uniform: [1, 15]}}}}
network: {{latency_ms: {{exponential: 6, min_ms: 1}}, loss: 0.05, duplicate: 0.05, reorder: 0.05}}
workload: {{clients: 4, rate_per_s: 80, keys: 10, read_kind: {kind}, stop_ms: 9500}}
timeline:
  - {{at_ms: 600, join: [4, 5, 6]}}
  - {{at_ms: 800, change_members: {{add: [4, 5]}}}}
  - {{at_ms: 1300, partition: [[random, random_1], [rest]], for_ms: 300, every_ms: 600, times: 12}}
  - {{at_ms: 1500, power_loss: random, for_ms: 300, every_ms: 700, times: 10}}
  - {{at_ms: 2000, remove: leader, every_ms: 2000, times: 2}}
  - {{at_ms: 2500, transfer: null, every_ms: 900, times: 7}}
  - {{at_ms: 2800, change_members: {{add: [6]}}}}
  - {{at_ms: 3000, change_members: {{voters: [1, 2, 3, 4, 5]}}, every_ms: 1500, times: 4}}
  - {{at_ms: 3300, change_members: {{voters: [4, 5, 6]}}, every_ms: 1500, times: 4}}
  - {{at_ms: 9500, heal: all}}
  - {{at_ms: 9600, restart: down}}
  - {{at_ms: 10000, change_members: {{voters: [2, 3, 5], learners: [6], outcome: ok, timeout_ms: 8000}}}}
until_ms: 14000
expect: {{safe: true, final_voters: [2, 3, 5], converges: true}}
"""
KINDS = ("read", "lease_read", "follower_read")


def storm(seed: int) -> RunResult:
    return run_scenario(parse_scenario(STORM.format(kind=KINDS[seed % 3])), seed)


@pytest.mark.parametrize("seed", [3, 4, 5])
def test_a_storm_of_membership_changes_is_safe(seed: int) -> None:
    result = storm(seed)
    assert result.ok, failures(result)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(100, 200))
def test_many_storms_of_membership_changes_are_safe(seed: int) -> None:
    result = storm(seed)
    assert not result.violations
    assert not [text for text in failures(result) if not text.startswith("every_fault_acted")]


#: The partition puts the leader and the future voters on one side, and the other two old voters on the other side.
TORN = """
name: torn
cluster: {nodes: 3}
timeline:
  - {at_ms: 500, join: [4, 5, 6]}
  - {at_ms: 600, transfer: {to: 1, outcome: ok}}
  - {at_ms: 1500, change_members: {voters: [1, 2, 3], learners: [4, 5, 6], outcome: ok}}
  - {at_ms: 2500, partition: [[1, 4, 5, 6], [2, 3]]}
  - {at_ms: 2505, change_members: {voters: [1, 4, 5, 6], at: 1, retry: false, outcome: not_ok}}
  - {at_ms: 4000, heal: all}
until_ms: 7000
expect: {safe: true, final_voters: [1, 2, 3], converges: true}
"""


def test_a_change_needs_the_old_majority_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dissertation 4.3: without the joint configuration, two disjoint majorities decide, and a check fails."""
    scenario = parse_scenario(TORN)
    for seed in (1, 2, 3):
        result = run_scenario(scenario, seed)
        assert result.ok, failures(result)
    planned = membership.first_configuration

    def skip_joint(current: Membership, event: ChangeMembership, index: int) -> Membership:
        joint = planned(current, event, index)
        return membership.configuration_after_joint(joint) if joint.is_joint else joint

    monkeypatch.setattr(membership, "first_configuration", skip_joint)
    checks = {violation.check for violation in run_scenario(scenario, 1).violations}
    assert "state_machine_safety" in checks, checks
