"""The simulator follows the rules of real nodes for peers: for wiped members and for older programs."""

from __future__ import annotations

from typing import Final

import pytest

from qcore.replica.apply.active_version import Versions
from qcore.replica.peers.known_members import KnownMembers
from qcore.sim import run_scenario
from qcore.sim.scenario.load import parse_scenario
from qcore.sim.verdict.result import RunResult

#: Only the leader and one follower hold the latest committed entries. Then that follower's disk is wiped, the leader
#: crashes, and the follower that was cut off campaigns.
WIPED: Final = """
cluster: {nodes: 3}
workload: {clients: 3, rate_per_s: 100, stop_ms: 1900}
timeline:
  - {at_ms: 1000, isolate: follower_2, label: behind}
  - {at_ms: 2000, wipe: follower_1}
  - {at_ms: 2010, crash: leader}
  - {at_ms: 2020, heal: behind}
  - {at_ms: 2030, restart: follower_1}
  - {at_ms: 5000, restart: leader}
until_ms: 6000
expect: {acknowledged_writes_present: true}
"""

UPGRADE: Final = """
cluster: {nodes: 3, rules: 1, max_rules: 1}
workload: {clients: 2, rate_per_s: 20}
timeline:
  - {at_ms: 1000, restart: {nodes: 1, settings: {max_rules: 2}}}
  - {at_ms: 2000, restart: {nodes: 2, settings: {max_rules: 2}}}
until_ms: 5000
expect: {final_rules: 1, converges: true}
"""


def run(text: str, seed: int) -> RunResult:
    return run_scenario(parse_scenario(text), seed)


def checks(result: RunResult) -> set[str]:
    return {violation.check for violation in result.violations}


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_wiped_member_gives_no_vote(seed: int) -> None:
    result = run(WIPED, seed)
    assert not result.violations
    assert result.ok, result.failed()


def test_accepting_a_wiped_member_loses_acknowledged_writes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(KnownMembers, "check", lambda self, node_id, incarnation: None)
    found = [checks(run(WIPED, seed)) for seed in (1, 2, 3)]
    assert any("acknowledged_write_lost" in each or "leader_completeness" in each for each in found)


@pytest.mark.parametrize("seed", [1, 2])
def test_one_older_program_prevents_a_rules_upgrade(seed: int) -> None:
    result = run(UPGRADE, seed)
    assert result.ok, result.failed()


def test_raising_the_rules_unasked_fails_an_older_program(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Versions, "_unsupported_reason", lambda self, version: None)
    assert any("node_failed" in checks(run(UPGRADE, seed)) for seed in (1, 2, 3))
