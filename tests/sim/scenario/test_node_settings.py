"""Settings of single nodes, from the start or after a restart, and the clocks of nodes that join."""

from __future__ import annotations

import pytest

from qcore.core.version import LATEST_RULES
from qcore.errors import ConfigError
from qcore.sim import World
from qcore.trace import TraceWriter
from tests.sim.support.message_nodes import message_nodes
from tests.sim.support.scenario_texts import failures, run, scenario


def world_of(timeline: str = "[]", **parts: str) -> World:
    world = World(scenario(timeline, **parts), 1, TraceWriter())  # type: ignore[arg-type]  # texts only
    world.run()
    return world


def test_node_settings_override_cluster_settings() -> None:
    world = world_of(
        cluster="{nodes: 3, heartbeat_ms: 40, priorities: {1: 3}, safeguards: {noop_on_election: false}, settings: {2:"
        " {election_timeout_ms: [500, 900], priority: 0, lease_reads: true, keep_entries: 7,"
        " safeguards: {freshness_check: false}}}}"
    )
    one, two = (message_nodes(world)[node]._config for node in (1, 2))
    assert (two.raft.election_timeout_min_ms, two.raft.election_timeout_max_ms) == (500, 900)
    assert (two.raft.priority, two.raft.lease_reads, two.keep_entries) == (0, True, 7)
    assert (two.raft.heartbeat_ms, two.raft.safeguards.noop_on_election) == (40, False)
    assert not two.raft.safeguards.freshness_check
    assert (one.raft.election_timeout_min_ms, one.raft.priority) == (150, 3)
    assert one.raft.safeguards.freshness_check


def test_a_restart_changes_only_the_settings_it_names() -> None:
    timeline = (
        "[{at_ms: 500, restart: {nodes: 2, settings: {keep_entries: 5}}},"
        " {at_ms: 1000, crash: {nodes: 2, settings: {priority: 0}}, for_ms: 100},"
        " {at_ms: 1500, power_loss: {nodes: 3, settings: {heartbeat_ms: 30}}},"
        " {at_ms: 1700, restart: 3}]"
    )
    world = world_of(timeline, cluster="{nodes: 3, settings: {2: {snapshot_entries: 50}}}")
    two, three = (message_nodes(world)[node]._config for node in (2, 3))
    assert (two.keep_entries, two.raft.priority, two.snapshot_entries) == (5, 0, 50)
    assert three.raft.heartbeat_ms == 30, "settings of a power loss hold for the next start"


def test_a_restart_overtaken_by_another_still_changes_settings() -> None:
    for other in ("restart: 2", "crash: 2, for_ms: 100"):
        world = world_of(
            "[{at_ms: 1000, restart: {nodes: 2, down_ms: 500, settings: {keep_entries: 5}}},"
            f" {{at_ms: 1100, {other}}}]"
        )
        node = world.nodes[2]
        assert node.replica is not None
        assert node.replica.config.keep_entries == 5


def test_a_node_restarted_with_priority_0_does_not_lead() -> None:
    result = run(
        "[{at_ms: 1000, restart: {nodes: [1, 2], down_ms: 50, settings: {priority: 0}}}]",
        "{leader_at_end: true, safe: true}",
        until_ms="4000",
    )
    assert result.ok, failures(result)
    world = world_of(
        "[{at_ms: 1000, restart: {nodes: [1, 2], down_ms: 50, settings: {priority: 0}}}]",
    )
    assert world.services.monitor.leader == 3


@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 3), (1, 3)])
def test_the_last_upgraded_node_lets_the_rules_rise(before: int, after: int) -> None:
    old = f"max_rules: {before}, rules: {before}"
    timeline = "[" + ", ".join(
        f"{{at_ms: {600 + 500 * node}, restart: {{nodes: {node}, settings: {{max_rules: {after}}}}}}}"
        for node in (1, 2, 3)
    )
    world = world_of(f"{timeline}]", cluster=f"{{nodes: 3, {old}}}", until_ms="4000")
    assert not world.services.violations
    rules = [node.replica.versions.active.rules for node in world.nodes.values() if node.replica]
    assert rules == [after] * 3
    still = world_of(
        timeline.rpartition(", {at_ms: 2100")[0] + "]",
        cluster=f"{{nodes: 3, {old}}}",
        until_ms="4000",
    )
    rules = [node.replica.versions.active.rules for node in still.nodes.values() if node.replica]
    assert rules == [before] * 3


def test_the_clock_of_a_node_that_joins_later_may_be_wrong() -> None:
    world = world_of(
        "[{at_ms: 500, join: 4}]", cluster="{nodes: 3, clocks: {4: {drift_ppm: 500, offset_ms: 9}}}"
    )
    assert world.nodes[4].clock.drift_ppm == 500
    assert world.nodes[4].clock.wall_offset_us == 9000


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (
            "{settings: {2: {heartbeat: 5}}}",
            r"settings\[2\].heartbeat: unknown key: did you mean heartbeat_ms\? The keys here are .*, heartbeat_ms, ",
        ),
        ("{settings: {9: {priority: 0}}}", r"cluster.settings: node 9 is not in the cluster"),
        ("{settings: {2: {heartbeat_ms: 150}}}", r"settings: node 2: heartbeat_ms \(150\) must"),
        ("{settings: {2: {check_quorum: false, lease_reads: true}}}", r"node 2: lease_reads needs"),
        ("{settings: {2: {safeguards: {x: false}}}}", r"no safeguard is called 'x'"),
        (f"{{settings: {{2: {{max_rules: {LATEST_RULES + 1}}}}}}}", r"max_rules"),
        (
            "{settings: {2: {max_rules: 1}}}",
            rf"node 2 has max_rules 1 and cannot apply the rules {LATEST_RULES}",
        ),
        ("{max_rules: 1}", rf"node 1 has max_rules 1 and cannot apply the rules {LATEST_RULES}"),
        ("{priorities: {2: 1}, settings: {2: {priority: 0}}}", r"both give node 2 a priority"),
        ("{priorities: {1: 0, 2: 0, 3: 0}}", r"all of the voters \[1, 2, 3\] have priority 0"),
        ("{priorities: {1: 0, 2: 0}, settings: {3: {priority: 0}}}", r"no node could ever lead"),
        ("{nodes: 1, priorities: {1: 0}}", r"all of the voters \[1\] have priority 0"),
        ("{clocks: {4: {drift_ppm: 1}}}", r"cluster.clocks: node 4 is not in the cluster"),
    ],
)
def test_invalid_cluster_settings_are_rejected(text: str, error: str) -> None:
    with pytest.raises(ConfigError, match=error):
        scenario(cluster=text)


@pytest.mark.parametrize(
    ("timeline", "error"),
    [
        (
            "[{at_ms: 1, restart: {nodes: 2, settings: {heartbeat_ms: 200}}}]",
            r"2?.*timeline\[0\]: settings of node 2: heartbeat_ms",
        ),
        (
            "[{at_ms: 1, restart: {nodes: 2, settings: {lease_reads: true}}},"
            " {at_ms: 2, crash: {nodes: leader, settings: {check_quorum: false}}}]",
            r"timeline\[1\]: settings of node 2: lease_reads needs check_quorum",
        ),
        (
            "[{at_ms: 1000, every_ms: 900, restart: {nodes: 2, settings: {election_timeout_ms: [150, 300]}}},"
            " {at_ms: 1500, every_ms: 900, restart:"
            " {nodes: 2, settings: {election_timeout_ms: [500, 900], heartbeat_ms: 200}}}]",
            r"5:12: timeline\[0\]: .* node 2: heartbeat_ms \(200\) must be .* election_timeout_ms by timeline\[0\],"
            r" heartbeat_ms by timeline\[1\]; give settings that go together in the same item",
        ),
        (
            "[{at_ms: 2000, restart: {nodes: 2, settings: {check_quorum: false}}},"
            " {at_ms: 1000, restart: {nodes: 2, settings: {lease_reads: true}}}]",
            r"timeline\[0\]: settings of node 2: lease_reads needs check_quorum",
        ),
        (
            "[{at_ms: 1000, crash: {nodes: leader, settings: {lease_reads: true}}, for_ms: 9},"
            " {at_ms: 1500, restart: {nodes: 2, settings: {lease_reads: false}}},"
            " {at_ms: 2000, restart: {nodes: 2, settings: {check_quorum: false}}}]",
            r"timeline\[2\]: settings of node 2: lease_reads needs check_quorum",
        ),
        (
            "[{at_ms: 1000, restart: {nodes: 2, settings: {max_rules: 1}}}]",
            rf"timeline\[0\]: settings of node 2: with max_rules 1 it cannot apply the rules {LATEST_RULES}",
        ),
        (
            "[{at_ms: 1, restart: {nodes: [1, 2], settings: {priority: 0}}},"
            " {at_ms: 900, crash: {nodes: 3, settings: {priority: 0}}, for_ms: 50}]",
            r"5:75: timeline\[1\]: with it all of the nodes \[1, 2, 3\] have priority 0",
        ),
        (
            "[{at_ms: 1, restart: {nodes: all, settings: {priority: 0}}}]",
            r"timeline\[0\]: with it all",
        ),
        ("[{at_ms: 1, restart: {nodes: 2, settings: {nodes: 3}}}]", "restart.settings.nodes"),
    ],
)
def test_invalid_restart_settings_are_rejected(timeline: str, error: str) -> None:
    with pytest.raises(ConfigError, match=error):
        scenario(timeline)


@pytest.mark.parametrize(
    "timeline",
    [
        # A setting given in between replaces the one that would contradict.
        "[{at_ms: 1000, restart: {nodes: 2, settings: {lease_reads: true}}},"
        " {at_ms: 1500, restart: {nodes: 2, settings: {lease_reads: false}}},"
        " {at_ms: 2000, restart: {nodes: 2, settings: {check_quorum: false}}}]",
        # In the order of the run, not of the file.
        "[{at_ms: 2000, restart: {nodes: 2, settings: {heartbeat_ms: 30, election_timeout_ms: [60, 90]}}},"
        " {at_ms: 1000, restart: {nodes: 2, settings: {heartbeat_ms: 100}}}]",
        # A voter may lead again.
        "[{at_ms: 900, restart: {nodes: all, settings: {priority: 0}}},"
        " {at_ms: 1900, restart: {nodes: 2, settings: {priority: 1}}}]",
        # The settings are those of different nodes.
        "[{at_ms: 1000, restart: {nodes: 1, settings: {lease_reads: true}}},"
        " {at_ms: 2000, restart: {nodes: 2, settings: {check_quorum: false}}}]",
    ],
)
def test_settings_never_active_together_may_conflict(timeline: str) -> None:
    world_of(timeline)


def test_restart_settings_apply_if_another_item_starts_the_node() -> None:
    world = world_of(
        "[{at_ms: 1000, restart: {nodes: 2, down_ms: 500, settings: {keep_entries: 5}}},"
        " {at_ms: 1200, restart: down}]"
    )
    assert message_nodes(world)[2]._config.keep_entries == 5
