"""One planted bug for each kind of network fault: the fault, the bug that needs it, and the check that catches it."""

from __future__ import annotations

from dataclasses import dataclass

from tests.sim.planted.faults import network_bugs as bugs
from tests.sim.planted.faults.network_bugs import Bug

_CONVERGES = "{converges: true}"
_SAFE = "{safe: true}"
#: Writes come until the fault begins, and then none: all logs stay equal.
_QUIET_AFTER_900 = "{clients: 2, rate_per_s: 60, stop_ms: 900, read_fraction: 0.0}"
_IMPATIENT = "{clients: 3, rate_per_s: 90, keys: 2, timeout_ms: 150, stop_ms: 1700}"
_PATIENT_NODES = "{nodes: 3, election_timeout_ms: [1500, 2000]}"
_READS = (
    "{clients: 2, rate_per_s: 70, keys: 1, read_fraction: 0.6, cas_fraction: 0.0, timeout_ms: 200}"
)
_NODE_1_LEADS = "{at_ms: 5, campaign: 1}"
#: A write during the fault, whose client does not wait for its end, and a read after it.
_LATE_WRITE = (
    "{at_ms: 5, campaign: 1}, {at_ms: 900, write: {node: 1, key: x, value: 1, timeout_ms: 150}}, "
    "{at_ms: 1700, read: {node: 1, key: x}}"
)
_FEW = "{clients: 1, rate_per_s: 30}"
_ONLY_WRITES = "{clients: 2, rate_per_s: 60, keys: 2, read_fraction: 0.0, cas_fraction: 0.0}"


@dataclass(frozen=True)
class PlantedBug:
    """A bug that only one fault brings to light.

    Attributes:
        kind: the kind of fault.
        fault: the items of the timeline, or settings of `network`, that are the fault.
        bug: the bug; or a safeguard to switch off, by name.
        caught_by: the violation or expectation that catches it.
        others: the items of the timeline that are not the fault.
        in_network: the fault is in `network`, not in the timeline.
        unfaulty: what stands in the place of the fault in the run without it.
        seed: a seed with which the fault hits the bug.
    """

    kind: str
    fault: str
    bug: Bug | str
    caught_by: str
    expect: str = _SAFE
    cluster: str = "{nodes: 3}"
    network: str = "latency_ms: [1, 5]"
    workload: str = "{clients: 2, rate_per_s: 60, keys: 2}"
    others: str = ""
    in_network: bool = False
    unfaulty: str = ""
    until_ms: int = 2500
    seed: int = 1

    def text(self, *, with_fault: bool) -> str:
        """The scenario, with or without the fault."""
        fault = self.fault if with_fault else self.unfaulty
        network = ", ".join(filter(None, [self.network, fault if self.in_network else ""]))
        items = [self.others, "" if self.in_network else fault]
        cluster = self.cluster
        return (
            f"name: planted\ncluster: {cluster}\nnetwork: {{{network}}}\nworkload: {self.workload}\n"
            f"timeline: [{', '.join(filter(None, items))}]\nuntil_ms: {self.until_ms}\nexpect: {self.expect}\n"
        )


CASES = (
    PlantedBug(
        "latency",
        "{at_ms: 800, latency_ms: 100, for_ms: 400}",
        bugs.reports_timeouts_as_failures,
        "linearizability",
        cluster=_PATIENT_NODES,
        others=_LATE_WRITE,
        workload=_FEW,
    ),
    PlantedBug(
        "heavy tail",
        "latency_ms: {pareto: [1, 0.9], max_ms: 400}",
        bugs.reports_timeouts_as_failures,
        "linearizability",
        cluster=_PATIENT_NODES,
        others=_NODE_1_LEADS,
        network="",
        workload=_IMPATIENT,
        in_network=True,
        unfaulty="latency_ms: 1",
    ),
    PlantedBug(
        "samples",
        "latency_ms: {samples: [1, 2, 3, 350], weights: [30, 30, 30, 1]}",
        bugs.reports_timeouts_as_failures,
        "linearizability",
        cluster=_PATIENT_NODES,
        others=_NODE_1_LEADS,
        network="",
        workload=_IMPATIENT,
        in_network=True,
        unfaulty="latency_ms: {samples: [1, 2, 3]}",
    ),
    PlantedBug(
        "regions",
        "regions: {eu: [1, client_1], us: [2, 3]}, region_latency_ms: {eu: {us: [30, 100]}}",
        bugs.reports_timeouts_as_failures,
        "linearizability",
        cluster=_PATIENT_NODES,
        others=_NODE_1_LEADS,
        workload=_IMPATIENT,
        in_network=True,
    ),
    PlantedBug(
        "a region alone",
        "{at_ms: 900, partition: [[eu, client_1], [us, client_2]]}",
        "read_confirmation",
        "linearizability",
        cluster="{nodes: 3, check_quorum: false, SAFEGUARDS}",
        workload=_READS,
        others=_NODE_1_LEADS,
        network="latency_ms: [1, 5], regions: {eu: 1, us: [2, 3]}, region_latency_ms: {eu: {us: 5}}",
    ),
    PlantedBug(
        "loss",
        "{at_ms: 500, loss: 0.2, for_ms: 500}",
        bugs.never_resends,
        "converges",
        _CONVERGES,
    ),
    PlantedBug(
        "duplicate",
        "duplicate: 0.5",
        bugs.truncates_what_matches,
        "commits_in_minority",
        "{commits_in_minority: 0}",
        workload="{clients: 3, rate_per_s: 150, read_fraction: 0.0, cas_fraction: 0.0}",
        until_ms=1600,
        in_network=True,
    ),
    PlantedBug(
        "reorder",
        "reorder: 0.3",
        bugs.truncates_what_matches,
        "commits_in_minority",
        "{commits_in_minority: 0}",
        workload="{clients: 3, rate_per_s: 150, read_fraction: 0.0, cas_fraction: 0.0}",
        until_ms=1600,
        in_network=True,
    ),
    PlantedBug(
        "corrupt",
        "corrupt: 0.1",
        bugs.does_not_check_appends,
        "log_matching",
        in_network=True,
    ),
    PlantedBug(
        "bandwidth",
        "{at_ms: 800, links: {bandwidth_bytes_per_s: 2000}, for_ms: 400}",
        bugs.reports_timeouts_as_failures,
        "linearizability",
        cluster=_PATIENT_NODES,
        others=_LATE_WRITE,
        workload=_FEW,
    ),
    PlantedBug(
        "queue",
        "bandwidth_bytes_per_s: 40000, queue_length: 2",
        bugs.never_resends,
        "converges",
        _CONVERGES,
        workload="{clients: 3, rate_per_s: 80, read_fraction: 0.0}",
        in_network=True,
        unfaulty="bandwidth_bytes_per_s: 40000",
    ),
    PlantedBug(
        "partition",
        "{at_ms: 800, partition: [[leader, client_1], [rest, client_2]], for_ms: 900}",
        "read_confirmation",
        "linearizability",
        cluster="{nodes: 3, check_quorum: false, SAFEGUARDS}",
        workload=_READS,
    ),
    PlantedBug(
        "isolate",
        "{at_ms: 700, isolate: follower_1, for_ms: 300}",
        "log_freshness_check",
        "leader_completeness",
        cluster="{nodes: 3, pre_vote: false, check_quorum: false, SAFEGUARDS}",
        workload="{clients: 3, rate_per_s: 150}",
        others="{at_ms: 1000, campaign: follower_1}",
    ),
    PlantedBug(
        "cut one way",
        "{at_ms: 800, cut: {from: rest, to: leader}, for_ms: 1000}",
        bugs.never_checks_its_quorum,
        "new_leader_within_ms",
        "{new_leader_within_ms: 900}",
    ),
    PlantedBug(
        "deaf",
        "{at_ms: 800, deaf: leader, for_ms: 1000}",
        bugs.never_checks_its_quorum,
        "new_leader_within_ms",
        "{new_leader_within_ms: 900}",
    ),
    PlantedBug(
        "mute",
        "{at_ms: 800, mute: leader, for_ms: 1000}",
        bugs.ignores_newer_terms,
        "old_leader_steps_down_within_ms",
        "{old_leader_steps_down_within_ms: 500}",
        cluster="{nodes: 3, pre_vote: false, check_quorum: false}",
        workload=_ONLY_WRITES,
    ),
    PlantedBug(
        "halves",
        "{at_ms: 800, partition: {halves: all}, for_ms: 900}",
        bugs.half_is_a_quorum,
        "state_machine_safety",
        cluster="{nodes: 4}",
        workload=_ONLY_WRITES,
    ),
    PlantedBug(
        "bridge",
        "{at_ms: 1000, partition: {bridge: follower_1}}",
        bugs.votes_against_a_live_leader,
        "term_growth",
        "{term_growth: 0}",
        cluster="{nodes: 5}",
        workload=_QUIET_AFTER_900,
    ),
    PlantedBug(
        "ring",
        "{at_ms: 800, partition: {ring: all}, for_ms: 900}",
        bugs.half_is_a_quorum,
        "state_machine_safety",
        cluster="{nodes: 5}",
        workload=_ONLY_WRITES,
    ),
    PlantedBug(
        "majorities ring",
        "{at_ms: 1000, partition: {majorities_ring: all}}",
        bugs.votes_against_a_live_leader,
        "term_growth",
        "{term_growth: 0}",
        cluster="{nodes: 5}",
        workload=_QUIET_AFTER_900,
    ),
    PlantedBug(
        "pendants",
        "{at_ms: 1000, partition: {pendants: {random: 1, of: followers}, hub: follower_1}}",
        bugs.votes_against_a_live_leader,
        "term_growth",
        "{term_growth: 0}",
        workload=_QUIET_AFTER_900,
    ),
    PlantedBug(
        "flap",
        "{at_ms: 700, cut: [leader, follower_1], flap: [60, 60], for_ms: 1400}",
        bugs.stops_after_six_rejections,
        "converges",
        _CONVERGES,
        unfaulty="{at_ms: 700, cut: [leader, follower_1], for_ms: 60}",
    ),
    PlantedBug(
        "hold",
        "{at_ms: 800, hold: {from: leader, to: rest}, for_ms: 300}",
        bugs.reports_timeouts_as_failures,
        "linearizability",
        cluster=_PATIENT_NODES,
        others=_LATE_WRITE,
        workload=_FEW,
    ),
    PlantedBug(
        "release",
        "{at_ms: 800, hold: {message: AppendEntries, entries: true, times: all}}, {at_ms: 1100, release: all}",
        bugs.reports_timeouts_as_failures,
        "linearizability",
        cluster=_PATIENT_NODES,
        others=_LATE_WRITE,
        workload=_FEW,
    ),
    PlantedBug(
        "drop",
        "{at_ms: 800, drop: {message: AppendEntries, entries: true, to: follower_1}}",
        bugs.never_resends,
        "converges",
        _CONVERGES,
    ),
    PlantedBug(
        "clog",
        "{at_ms: 800, clog: {from: leader, to: rest, both: true, clog_ms: [250, 350]}}",
        bugs.reports_timeouts_as_failures,
        "linearizability",
        cluster=_PATIENT_NODES,
        others=_LATE_WRITE,
        workload=_FEW,
    ),
    PlantedBug(
        "swizzle_clog",
        "{at_ms: 800, swizzle_clog: {nodes: all, clog_gap_ms: 20, clogged_ms: 300, unclog_gap_ms: 50}}",
        bugs.reports_timeouts_as_failures,
        "linearizability",
        cluster=_PATIENT_NODES,
        others=_LATE_WRITE,
        workload=_FEW,
    ),
)
