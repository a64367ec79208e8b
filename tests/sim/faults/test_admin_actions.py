"""Admin requests in scenarios, and their outcomes: membership, transfers, priorities and snapshots."""

from __future__ import annotations

import pytest

from qcore.errors import ConfigError
from qcore.sim import World
from qcore.trace import TraceWriter
from tests.sim.support.scenario_texts import failures, run, scenario, seen

GROW = (
    "[{at_ms: 500, join: 4}, {at_ms: 800, add_learner: {node: 4, outcome: ok}},"
    " {at_ms: 1500, change_members: {add: 4, outcome: ok}}]"
)


def voters(world: World, node: int) -> tuple[int, ...]:
    replica = world.nodes[node].replica
    assert replica is not None
    return replica.core.membership.voters


def test_a_pristine_node_joins_as_a_learner_and_becomes_a_voter() -> None:
    result = run(GROW, "{safe: true, final_voters: [1, 2, 3, 4], converges: true}")
    assert result.ok, failures(result)


def test_a_node_that_is_never_added_stays_outside() -> None:
    world = World(scenario("[{at_ms: 500, join: 4}]"), 1, TraceWriter())
    world.run()
    assert voters(world, 1) == (1, 2, 3)
    assert voters(world, 4) == ()
    assert not world.nodes[4].applied


def test_a_node_that_has_not_joined_is_ignored() -> None:
    result = run(
        "[{at_ms: 500, crash: all, for_ms: 100}, {at_ms: 1500, join: 9}]",
        "{converges: true, final_voters: [1, 2, 3]}",
    )
    assert result.ok, failures(result)


@pytest.mark.parametrize(
    ("change", "outcome"),
    [
        ("{voters: [1, 2], expected_index: 999}", "changed"),
        ("{voters: []}", "empty"),
        ("{voters: [1, 2, 3], learners: [3]}", "contradiction"),
        ("{remove: 3, at: follower_1}", "NotLeader"),
    ],
)
def test_a_rejected_change_is_recorded_by_name(change: str, outcome: str) -> None:
    text = change.replace("}", ", retry: false, outcome: " + outcome + "}")
    result = run(f"[{{at_ms: 1000, change_members: {text}}}]", "{final_voters: [1, 2, 3]}")
    assert result.ok, failures(result)
    wrong = change.replace("}", ", retry: false, outcome: ok}")
    result = run(f"[{{at_ms: 1000, change_members: {wrong}}}]")
    assert seen(result)["timeline[0] change_members"].startswith(outcome)
    assert not result.ok


def test_a_second_change_is_rejected_or_waits_if_retried() -> None:
    timeline = """
      - {at_ms: 700, transfer: {to: 1, outcome: ok}}
      - {at_ms: 1500, isolate: 1, for_ms: 100}
      - {at_ms: 1510, remove: {nodes: 3, at: 1, outcome: ok}}
      - {at_ms: 1520, remove: {nodes: 2, at: 1, retry: false, outcome: pending}}
      - {at_ms: 1530, change_members: {voters: [1], at: 1, outcome: ok}}
    """
    result = run(timeline, "{safe: true, final_voters: [1]}")
    assert result.ok, failures(result)
    assert seen(result)["timeline[4] change_members"].startswith("ok after")


def test_without_retries_a_request_at_a_dead_node_is_lost() -> None:
    result = run(
        "[{at_ms: 1000, crash: 1, for_ms: 500}, {at_ms: 1100, remove: {nodes: 3, at: 1, retry: false, outcome: lost}}]"
    )
    assert "lost" in seen(result)["timeline[1] remove"]


def test_leadership_is_transferred_on_request_and_by_priority() -> None:
    result = run(
        "[{at_ms: 1000, transfer: {to: 1, outcome: ok}}, {at_ms: 1500, transfer: {to: 3, outcome: ok}}]",
        "{leader_changes: [1, 2], leader_at_end: true, every_write_succeeds: true}",
    )
    assert result.ok, failures(result)
    world = World(scenario(cluster="{nodes: 3, priorities: {3: 9, 1: 0}}"), 2, TraceWriter())
    world.run()
    assert world.services.monitor.leader == 3


def test_final_voters_can_fail() -> None:
    assert not run("[]", "{final_voters: [1, 2]}").ok
    assert run("[]", "{final_voters: [3, 1, 2]}").ok


@pytest.mark.parametrize(
    ("timeline", "message"),
    [
        ("[{at_ms: 1, add_learner: 4}]", "node 4 is not among"),
        ("[{at_ms: 1, change_members: [1, 4]}]", "not in the cluster, nor do they join"),
        ("[{at_ms: 1, change_members: {voters: [1], add: [2]}}]", "either `voters`"),
        ("[{at_ms: 1, change_members: {}}]", "nothing to change"),
        ("[{at_ms: 1, transfer: {to: 7}}]", "node 7 is not among"),
        ("[{at_ms: 1, remove: strangers}]", "names no node"),
    ],
)
def test_an_invalid_request_is_rejected_with_its_line(timeline: str, message: str) -> None:
    with pytest.raises(ConfigError, match=r"test\.yaml:5:") as caught:
        scenario(timeline)
    assert message in str(caught.value)


def test_the_policy_takes_snapshots_and_bounds_the_logs() -> None:
    world = World(
        scenario(
            cluster="{nodes: 3, snapshot_entries: 20, keep_entries: 5}",
            workload="{clients: 3, rate_per_s: 100, read_fraction: 0}",
        ),
        1,
        TraceWriter(),
    )
    world.run()
    for node in world.nodes.values():
        assert node.disk.durable.snapshot is not None
        assert len(node.disk.durable.entries) < 40
