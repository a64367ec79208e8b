"""The shipped scenarios with whole nodes. What a scenario expects holds for them as well, with few exceptions."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from qcore.sim import load_scenario, run_scenario
from tests.checkout import SCENARIOS
from tests.sim.support.scenario_texts import failures

#: Scenarios whose script needs single messages, and why it does not work with connections.
NEEDS_MESSAGES: Final = {
    "figure_8": "a restarted node must reach others within milliseconds after a cut; TCP repeats later",
    "late_acknowledgement": "messages must pass in one direction and then in the other; TCP needs both for either",
    "leader_deaf_no_check_quorum": "heartbeats must arrive although no acknowledgement returns; TCP stops sending",
    "stale_read_unbounded": "one direction is cut while the other serves clients for a moment",
    "unsynced_vote": "one vote must arrive within two milliseconds, on a connection that exists",
    "unsynced_vote_guarded": "as unsynced_vote",
    "removed_server": "TCP delivers after the heal what the leader had sent to the removed server, whose late answer "
    "has a higher term, so the leader steps down",
}
#: Scenarios that end so early after a heal that TCP may not have repeated what was lost: up to several seconds.
ENDS_EARLY: Final = {
    "lease_read_within_bound",
    "lease_read_skew_read_index",
    "queue_overflow",
    "snapshot_interrupted",
    "split_3_2_leader_major",
}

FILES = [
    path
    for path in sorted(SCENARIOS.glob("*.yaml"))
    if path.stem not in {*NEEDS_MESSAGES, *ENDS_EARLY}
]
#: Short ones, with an admin request and a frozen node.
FAST: Final = ("lease_after_transfer", "resumed_follower")


@pytest.mark.parametrize("name", FAST)
def test_a_scenario_holds_for_whole_nodes(name: str) -> None:
    result = run_scenario(load_scenario(SCENARIOS / f"{name}.yaml").with_(fidelity="node"), 1)
    assert result.ok, failures(result)


@pytest.mark.long
@pytest.mark.timeout(600)  # `many_nodes` needs more than the usual time on a busy machine
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_scenario_holds_for_whole_nodes_on_some_seeds(path: Path) -> None:
    scenario = load_scenario(path).with_(fidelity="node")
    for seed in range(1, 4):
        result = run_scenario(scenario, seed)
        assert result.ok, (seed, failures(result))


@pytest.mark.long
@pytest.mark.parametrize("name", sorted(ENDS_EARLY))
def test_a_scenario_that_ends_early_breaks_no_promise(name: str) -> None:
    scenario = load_scenario(SCENARIOS / f"{name}.yaml").with_(fidelity="node")
    for seed in range(1, 4):
        result = run_scenario(scenario, seed)
        failed = {expectation.name for expectation in result.expectations if not expectation.ok}
        assert failed <= {"converges", "writes_succeed_after_heal"}, (seed, failures(result))


def test_the_exceptions_are_shipped_scenarios() -> None:
    shipped = {path.stem for path in SCENARIOS.glob("*.yaml")}
    assert shipped > {*NEEDS_MESSAGES, *ENDS_EARLY, *FAST}
