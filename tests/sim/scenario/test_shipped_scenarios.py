"""Every shipped scenario passes, in the long run with many seeds, and so does the design's example, verbatim."""

from __future__ import annotations

from pathlib import Path

import pytest

from qcore.sim import load_scenario, parse_scenario, run_scenario
from qcore.sim.scenario.actions.registry import ACTIONS
from qcore.trace import TraceWriter
from tests.analysis.pictures import check_all_figures
from tests.checkout import SCENARIOS
from tests.sim.support.scenario_texts import DESIGN_EXAMPLE, failures

DIRECTORY = SCENARIOS
FILES = sorted(DIRECTORY.glob("*.yaml"))

#: The scenarios that this version must ship; some exist with a safeguard off and on.
REQUIRED = {
    "aimed_faults",
    "append_lists",
    "bit_rot",
    "bridge",
    "chained_3",
    "chained_3_basic",
    "chaos",
    "chaos_keys",
    "chaos_mixture",
    "chaos_sessions",
    "chaos_watchers",
    "clock_jump",
    "clogged_leader",
    "connected_core",
    "connected_core_basic",
    "constrained_election",
    "constrained_election_basic",
    "corrupt_messages",
    "crash_all_power_loss",
    "crash_at_the_end",
    "crash_loop",
    "disk_error",
    "disk_full",
    "disruptive_rejoin",
    "disruptive_rejoin_no_prevote",
    "duelling_candidates",
    "duelling_candidates_spread",
    "figure_8",
    "figure_8_guarded",
    "flapping_leader",
    "flapping_link",
    "flapping_link_basic",
    "follower_deaf",
    "follower_deaf_no_prevote",
    "heavy_tail",
    "held_link",
    "late_acknowledgement",
    "leader_deaf",
    "leader_deaf_no_check_quorum",
    "leader_disk_stall",
    "leader_isolated",
    "leader_mute",
    "leader_mute_no_check_quorum",
    "lease_after_transfer",
    "lease_drift_margin",
    "lease_drift_margin_guarded",
    "lease_read_skew",
    "lease_read_skew_read_index",
    "lease_read_within_bound",
    "lossy_30_duplicate_50",
    "lost_votes",
    "majorities_ring",
    "many_nodes",
    "measured_latency",
    "membership_churn",
    "no_quorum_2_2_1",
    "node_client_failover",
    "node_hung_handshake",
    "node_reconnects",
    "node_request_burst",
    "node_snapshot",
    "one_way_cut",
    "pendants",
    "power_loss_subset",
    "priority_one_down_one_cut",
    "priority_pendant",
    "priority_slow_disk",
    "priority_star",
    "queue_overflow",
    "quorum_loss",
    "quorum_loss_basic",
    "random_faults",
    "random_halves",
    "read_error",
    "reconfig_in_partition",
    "region_power_loss",
    "removed_leader",
    "removed_server",
    "resumed_follower",
    "retry_exactly_once",
    "ring",
    "rolling_restart",
    "set_elements",
    "slow_cpu",
    "slow_follower_snapshot",
    "snapshot_interrupted",
    "split_3_2_leader_major",
    "split_3_2_leader_major_no_prevote",
    "split_3_2_leader_minor",
    "stale_read_bounded",
    "stale_read_unbounded",
    "steady_state",
    "swizzle_clog",
    "torn_batch",
    "unsynced_vote",
    "unsynced_vote_guarded",
    "wan_regions",
    "watch_compacted",
    "watch_entity_failover",
    "watch_failover",
    "watch_partition",
    "watch_restart",
    "watch_snapshot",
}

#: The short run draws these, which have every kind of fault between them. The long run draws all.
DRAWN = {
    "aimed_faults",
    "bit_rot",
    "chaos",
    "chaos_watchers",
    "figure_8",
    "follower_deaf",
    "late_acknowledgement",
    "leader_disk_stall",
    "lease_after_transfer",
    "lease_drift_margin",
    "lease_read_skew",
    "lossy_30_duplicate_50",
    "membership_churn",
    "priority_star",
    "resumed_follower",
    "rolling_upgrade",
    "snapshot_interrupted",
    "stale_read_bounded",
    "swizzle_clog",
    "unsynced_vote",
    "wiped_member",
}


def test_all_required_scenarios_exist() -> None:
    assert {path.stem for path in FILES} >= REQUIRED | DRAWN


def test_every_kind_of_action_is_used_by_some_scenario() -> None:
    """A fault that acts in no shipped scenario fails: each run of `test_a_scenario_meets_its_expectations` counts."""
    used = {
        type(action)
        for path in FILES
        for item in load_scenario(path).timeline
        for action in item.possible_actions
    }
    assert used == {*ACTIONS.values()}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_scenario_meets_its_expectations(path: Path) -> None:
    scenario = load_scenario(path)
    assert scenario.name == path.stem
    assert scenario.summary
    trace = TraceWriter(keep=path.stem in DRAWN)
    result = run_scenario(scenario, 1, trace=trace)
    assert result.ok, (result.replay, failures(result))
    assert result.metrics["linearizability"]["result"] != "unknown"  # type: ignore[index, call-overload]  # a nested object
    if path.stem in DRAWN:
        check_all_figures(trace.lines())


@pytest.mark.long
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_scenario_meets_its_expectations_on_many_seeds(path: Path) -> None:
    scenario = load_scenario(path)
    for seed in (*range(1, 3), *range(100, 300)):
        trace = TraceWriter(keep=seed < 105)
        result = run_scenario(scenario, seed, trace=trace)
        assert result.ok, (result.replay, failures(result))
        if seed < 105:
            check_all_figures(trace.lines())


def test_watchers_have_time_to_reconnect_at_the_end() -> None:
    """With this seed a watcher loses its connection late and tries a node that was removed before it tries another."""
    result = run_scenario("chaos_watchers", 4)
    assert result.ok, failures(result)


def test_the_design_example_passes() -> None:
    scenario = parse_scenario(DESIGN_EXAMPLE)
    for seed in range(1, 4):
        result = run_scenario(scenario, seed)
        assert result.ok, (seed, failures(result))


@pytest.mark.parametrize("name", ["figure_8", "lease_drift_margin", "unsynced_vote"])
def test_the_guarded_variant_differs_in_the_safeguard_only(name: str) -> None:
    off, on = (
        load_scenario(DIRECTORY / f"{name}.yaml"),
        load_scenario(DIRECTORY / f"{name}_guarded.yaml"),
    )
    assert off.timeline == on.timeline
    assert off.network == on.network
    differing = {
        field
        for field in type(off.cluster).model_fields
        if getattr(off.cluster, field) != getattr(on.cluster, field)
    }
    assert differing == {"safeguards"}
    assert len(off.cluster.safeguards) == len(on.cluster.safeguards) + 1
    assert off.expect.violation
    assert on.expect.safe
