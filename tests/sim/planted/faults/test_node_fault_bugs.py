"""Each fault of nodes, clocks and disks finds a planted bug that no run without it finds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from qcore.sim import RunResult
from tests.sim.planted.faults import node_bugs as bugs
from tests.sim.support.scenario_texts import failures, run

LIGHT = "{clients: 2, rate_per_s: 60, keys: 3}"
WRITES = "{clients: 3, rate_per_s: 100, read_fraction: 0, cas_fraction: 0, keys: 40}"
EARLY_ACK = "nodes: 3, safeguards: {append_durable_before_ack: false}"
#: Nodes 1 and 2 go on without 3; then 2 and 3 must go on without 1. Node 2 must still hold what was acknowledged.
HANDOVER = "{at_ms: 800, isolate: 3, label: away}, {at_ms: 1500, do: [{heal: away}, {isolate: 1}]}"

#: A leader with a slow clock, cut off from the others, answers a read after node 2 was elected and has written.
DRIFT = """
{at_ms: 500, transfer: {to: 1, outcome: ok}}, {at_ms: 1500, write: {node: 1, value: old}},
{at_ms: 2000, do: [{isolate: 1}, {clock: {nodes: 1, drift_ppm: -550000}}]},
{when: {event: role, role: leader, node: 2}, at_ms: 2000, write: {node: 2, value: new}},
{when: {event: role, role: leader, node: 2}, at_ms: 2000, after_ms: 40,
 read: {node: 1, read_kind: lease_read}}, {at_ms: 3000, heal: all}
"""


@dataclass(frozen=True)
class Planted:
    """One kind of fault and a bug that it finds.

    Attributes:
        kind: the kind of fault.
        bug: plants the bug.
        fault: the items of the timeline with the fault.
        caught_by: the violation or expectation that shows the bug.
        without: the items that remain without the fault.
        expect: expectations in addition to `safe`.
        cluster_without: the cluster without the fault, if the fault is one of its settings.
    """

    kind: str
    bug: Callable[[pytest.MonkeyPatch], None]
    fault: str
    caught_by: str
    without: str = ""
    expect: str = ""
    cluster: str = "{nodes: 3}"
    cluster_without: str = ""
    workload: str = LIGHT
    until_ms: int = 2500

    def __str__(self) -> str:
        return self.kind

    def run(self, *, fault: bool) -> RunResult:
        return run(
            f"[{self.fault if fault else self.without}]",
            f"{{{self.expect}}}" if self.expect else "{safe: true}",
            cluster=self.cluster if fault else self.cluster_without or self.cluster,
            workload=self.workload,
            until_ms=str(self.until_ms),
        )


TABLE = [
    Planted(
        "crash",
        bugs.forgets_the_last_entry,
        "{at_ms: 1200, crash: all, for_ms: 100}",
        "acknowledged_write_lost",
        workload=WRITES,
    ),
    Planted(
        "restart",
        bugs.keeps_its_state_over_a_restart,
        "{at_ms: 1200, restart: 3}",
        "state_hash",
        workload="{clients: 2, rate_per_s: 60, sessions: true}",
    ),
    Planted(
        "crash_loop",
        bugs.forgets_at_the_fourth_start,
        "{at_ms: 1000, crash_loop: {nodes: all, up_ms: 150, down_ms: 50, times: 4}}",
        "leader_completeness",
        without="{at_ms: 1000, crash: all, for_ms: 50}",
        workload=WRITES,
    ),
    Planted(
        "pause",
        bugs.fires_timers_before_it_looks_at_messages,
        "{at_ms: 1000, pause: follower_1, for_ms: 600}",
        "no_election_after_first",
        expect="no_election_after_first: true",
        cluster="{nodes: 3, pre_vote: false}",
    ),
    Planted(
        "slow_cpu",
        bugs.ignores_commands_that_come_late,
        "{at_ms: 1000, slow_cpu: {nodes: follower_1, step_ms: 15}, for_ms: 1000}",
        "state_hash",
    ),
    Planted(
        "power_loss",
        bugs.none,
        "{at_ms: 1200, power_loss: all, for_ms: 50}",
        "acknowledged_write_lost",
        cluster=f"{{{EARLY_ACK}, disk: {{latency_ms: 30}}}}",
        workload=WRITES,
    ),
    Planted(
        "power_loss: lost unsynced writes",
        bugs.none,
        "{at_ms: 1200, write: leader}, {at_ms: 1215, power_loss: {nodes: all, survives: none}, for_ms: 50}",
        "acknowledged_write_lost",
        without="{at_ms: 1200, write: leader}, {at_ms: 1215, power_loss: {nodes: all, survives: all}, for_ms: 50}",
        cluster=f"{{{EARLY_ACK}, disk: {{latency_ms: 30}}}}",
        workload="{clients: 0}",
    ),
    Planted(
        "power_loss: partial survival",
        bugs.commits_its_whole_log,
        "{at_ms: 1000, do: [{disk_stall: leader}, {isolate: leader}]}, {at_ms: 1010, write: old_leader},"
        " {at_ms: 1050, power_loss: {nodes: old_leader, survives: 1}, for_ms: 50}, {at_ms: 1500, disk_recover: all}",
        "state_machine_safety",
        without="{at_ms: 1000, do: [{disk_stall: leader}, {isolate: leader}]}, {at_ms: 1010, write: old_leader},"
        " {at_ms: 1050, power_loss: {nodes: old_leader, survives: none}, for_ms: 50}, {at_ms: 1500, disk_recover: all}",
    ),
    Planted(
        "power_loss: torn write",
        bugs.verifies_no_checksum,
        "{at_ms: 1200, power_loss: {nodes: follower_1, torn: true}, for_ms: 50}",
        "log_matching",
        without="{at_ms: 1200, power_loss: follower_1, for_ms: 50}",
        cluster="{nodes: 3, disk: {latency_ms: 30}}",
        workload=WRITES,
    ),
    Planted(
        "wipe",
        bugs.keeps_its_identity_when_wiped,
        f"{HANDOVER}, {{at_ms: 1450, wipe: 2, for_ms: 40}}",
        "leader_completeness",
        without=HANDOVER,
    ),
    Planted(
        "clock: offset",
        bugs.applies_by_its_wall_clock,
        "{at_ms: 800, clock: {nodes: 2, offset_ms: 3600000}}",
        "state_hash",
    ),
    Planted(
        "clock_jump",
        bugs.uses_the_wall_clock_for_timers,
        "{at_ms: 1000, clock_jump: {nodes: follower_1, by_ms: 3600000}, every_ms: 37, times: 30}",
        "no_election_after_first",
        expect="no_election_after_first: true",
        cluster="{nodes: 3, pre_vote: false}",
    ),
    Planted(
        "clock: drift",
        bugs.none,
        DRIFT,
        "linearizability",
        without=DRIFT.replace(", {clock: {nodes: 1, drift_ppm: -550000}}", ""),
        cluster="{nodes: 3, election_timeout_ms: [150, 160], heartbeat_ms: 30, priorities: {3: 0}, lease_reads: true,"
        " max_clock_drift_percent: 60, safeguards: {lease_drift_margin: false}}",
        workload="{clients: 0}",
        until_ms=4000,
    ),
    Planted(
        "disk latency",
        bugs.none,
        "{at_ms: 1200, power_loss: all, for_ms: 50}",
        "acknowledged_write_lost",
        without="{at_ms: 1200, power_loss: all, for_ms: 50}",
        cluster=f"{{{EARLY_ACK}, disk: {{latency_ms: {{uniform: [20, 40]}}}}}}",
        cluster_without=f"{{{EARLY_ACK}, disk: {{latency_ms: 0}}}}",
        workload=WRITES,
    ),
    Planted(
        "disk_stall",
        bugs.waits_for_the_disk_for_half_a_second,
        "{at_ms: 1000, disk_stall: followers, for_ms: 720}, {at_ms: 1700, power_loss: followers, for_ms: 50}",
        "acknowledged_write_lost",
        without="{at_ms: 1700, power_loss: followers, for_ms: 50}",
    ),
    Planted(
        "disk_slow",
        bugs.none,
        "{at_ms: 1000, disk_slow: {nodes: all, extra_ms: 40}}, {at_ms: 1200, power_loss: all, for_ms: 50}",
        "acknowledged_write_lost",
        without="{at_ms: 1200, power_loss: all, for_ms: 50}",
        cluster=f"{{{EARLY_ACK}, disk: {{latency_ms: 0}}}}",
        workload=WRITES,
    ),
    *(
        Planted(
            f"disk_error: {operation}",
            bugs.ignores_errors_of_the_disk,
            f"{{at_ms: 990, disk_error: {{nodes: all, on: {operation}, survives: none}}}},"
            " {at_ms: 1000, write: leader}, {at_ms: 1100, power_loss: all, for_ms: 50}",
            "acknowledged_write_lost",
            without="{at_ms: 1000, write: leader}, {at_ms: 1100, power_loss: all, for_ms: 50}",
            workload="{clients: 0}",
        )
        for operation in ("write", "sync")
    ),
    Planted(
        "disk_error: read",
        bugs.starts_empty_if_unreadable,
        f"{HANDOVER}, {{at_ms: 1440, disk_error: {{nodes: 2, on: read}}}}, {{at_ms: 1450, crash: 2, for_ms: 40}}",
        "acknowledged_write_lost",
        without=f"{HANDOVER}, {{at_ms: 1450, crash: 2, for_ms: 40}}",
    ),
    Planted(
        "disk_full",
        bugs.stops_on_a_full_disk,
        "{at_ms: 800, disk_full: all, for_ms: 500}",
        "converges",
        expect="converges: true",
    ),
    Planted(
        "bit_rot: log",
        bugs.verifies_no_checksum,
        "{at_ms: 1000, bit_rot: {nodes: 3, entry: last}}, {at_ms: 1001, crash: 3, for_ms: 100}",
        "log_matching",
        without="{at_ms: 1001, crash: 3, for_ms: 100}",
    ),
    Planted(
        "bit_rot: snapshot",
        bugs.verifies_no_checksum,
        "{at_ms: 1000, snapshot: 3}, {at_ms: 1010, bit_rot: {nodes: 3, in: snapshot}},"
        " {at_ms: 1020, crash: 3, for_ms: 99}",
        "node_failed",
        without="{at_ms: 1000, snapshot: 3}, {at_ms: 1020, crash: 3, for_ms: 99}",
    ),
]


def catches(planted: Planted, result: RunResult) -> bool:
    checks = {violation.check for violation in result.violations}
    return planted.caught_by in checks | {expectation.name for expectation in result.failed()}


def run_with_bug(planted: Planted, *, fault: bool) -> RunResult:
    with pytest.MonkeyPatch.context() as patch:
        planted.bug(patch)
        return planted.run(fault=fault)


@pytest.mark.parametrize("planted", TABLE, ids=str)
def test_a_planted_bug_is_caught_with_its_fault_only(planted: Planted) -> None:
    with_fault = run_with_bug(planted, fault=True)
    assert catches(planted, with_fault), (failures(with_fault), with_fault.violations[:2])
    without = run_with_bug(planted, fault=False)
    assert without.ok, failures(without)
    if planted.bug is not bugs.none:
        sound = planted.run(fault=True)
        assert not catches(planted, sound), failures(sound)
