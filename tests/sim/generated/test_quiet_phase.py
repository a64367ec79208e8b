"""`repair` ends every fault, and the quiet phase after it finds a cluster that does not recover."""

from __future__ import annotations

import pytest

from qcore.core.log import compaction, replication
from qcore.core.log.progress import Progress
from qcore.core.raft_server import RaftServer
from qcore.sim import RunResult, World, parse_scenario, run_scenario
from qcore.trace import TraceWriter
from tests.sim.support.scenario_texts import run, scenario, seen


def world_after(timeline: str, until_ms: int = 3000, **parts: str) -> World:
    world = World(scenario(timeline, until_ms=until_ms, **parts), 1, TraceWriter())
    world.run()
    return world


@pytest.mark.parametrize(
    "fault",
    [
        "crash: [1, 2, 3]",
        "power_loss: leader",
        "pause: [1, 2]",
        "partition: [[1], [2], [3]]",
        "isolate: {nodes: all, clients: true}",
        "cut: [1, rest]",
        "deaf: all",
        "loss: 1.0",
        "corrupt: 1.0",
        "clog: {nodes: leader}",
        "partition: {pendants: [1, 2, 3], hub: 1}",
        "cut: [leader, rest], flap: [900, 5]",
        "links: {loss: 0.9, duplicate: 0.9, latency_ms: 400}",
        "disk_stall: [1, 2]",
        "disk_slow: {nodes: all, latency_ms: 900}",
        "drop: {message: [PreVote, AppendEntries], times: all}",
        "hold: {message: [PreVote, AppendEntries], times: all}",
    ],
)
def test_a_fault_without_an_end_ends_with_the_repair(fault: str) -> None:
    faulty = f"{{at_ms: 500, {fault}}}"
    expect = "{live_within_ms: 1000}"
    assert run(f"[{faulty}, {{at_ms: 1000, repair: all}}]", expect).ok
    healed_only = f"[{faulty}, {{at_ms: 900, mute: 3, label: x}}, {{at_ms: 1000, heal: x}}]"
    assert not run(healed_only, expect).ok, "the fault lasts, so the cluster does not recover"


def test_a_repair_ends_the_impairments_of_the_network() -> None:
    network = "{latency_ms: [1, 5], loss: 0.4, duplicate: 0.3, reorder: 0.3}"
    world = world_after("[{at_ms: 1000, repair: all}]", network=network)
    for link in world.network.links():
        if link.source > 0 and link.target > 0:
            assert (link.quality.loss, link.quality.duplicate, link.quality.reorder) == (0, 0, 0)


def test_a_repair_disarms_what_waits_and_repeats() -> None:
    before = """
      {at_ms: 900, crash: [1, 2], label: first},
      {at_ms: 950, crash: leader},
      {at_ms: 950, when: {event: role, role: leader}, pause: event_node},
      {at_ms: 950, crash: 3, every_ms: 400, for_ms: 10},
    """
    world = world_after(f"[{before} {{at_ms: 1000, repair: all}}]")
    acts = {fault.name: fault.acted for fault in world.ledger}
    assert acts["timeline[0] first"] == 2
    assert acts["timeline[1] crash"] == acts["timeline[2] pause"] == 0, "they waited for a leader"
    assert acts["timeline[3] crash"] == 1


def test_a_repair_corrects_the_clocks_that_faults_changed() -> None:
    world = world_after(
        "[{at_ms: 500, clock: {nodes: all, drift_ppm: 900, offset_ms: 5}}, {at_ms: 1000, repair: all}]",
        cluster="{nodes: 3, clocks: {2: {drift_ppm: 7}}}",
    )
    clocks = [node.clock for node in world.nodes.values()]
    assert [clock.drift_ppm for clock in clocks] == [0, 7, 0], "as the scenario has them"
    assert [clock.wall_offset_us for clock in clocks] == [0, 0, 0]


def test_items_of_a_later_time_still_fire() -> None:
    world = world_after(
        "[{at_ms: 1000, repair: all}, {at_ms: 1000, crash: 3}, {at_ms: 1500, crash: 2}]"
    )
    assert [fault.acted for fault in world.ledger][1:] == [1, 1]


def test_a_repair_starts_every_node_that_is_down_now() -> None:
    """`restart: down` once meant the nodes that were down when the name was first used."""
    world = world_after(
        "[{at_ms: 500, crash: 2}, {at_ms: 700, restart: down}, {at_ms: 900, crash: [2, 3]},"
        " {at_ms: 1200, restart: down}]"
    )
    assert all(node.up for node in world.nodes.values())


# -- what hangs ------------------------------------------------------------------------------------

LIVE = "{live_within_ms: 1000}"


def hanging(timeline: str) -> str:
    result = run(f"[{{at_ms: 1000, repair: all}}, {timeline}]", LIVE)
    assert [expectation.name for expectation in result.failed()] == ["live_within_ms"]
    return seen(result)["live_within_ms"]


def test_a_cluster_without_a_leader_is_named() -> None:
    text = hanging("{at_ms: 1100, power_loss: [1, 2]}")
    assert "no node leads with a quorum: node 1 is down, node 2 is down, node 3 is a " in text
    assert "node 1 is down; node 2 is down" in text


def test_requests_without_an_answer_are_named() -> None:
    text = hanging("{at_ms: 1000.1, cut: {from: clients, to: all}}")
    assert "no write of " in text
    assert "begun after 1000 ms was acknowledged (" in text


def test_a_member_that_lags_behind_is_named() -> None:
    text = hanging("{at_ms: 2000, deaf: follower_1}")
    assert " entries and is a " in text


# -- a planted fault --------------------------------------------------------------------------------

SLOW_FOLLOWER = """
cluster: {nodes: 3, snapshot_entries: 30, keep_entries: 5}
workload: {clients: 2, rate_per_s: 150, read_fraction: 0.2}
random_faults:
  from_ms: 500
  quiet_ms: 1500
  faults: [{%s: {random: 1, of: followers}, every_ms: 700, times: 1, for_ms: %s}]
until_ms: 3500
"""


def plant_a_stall(monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted fault: a leader that has begun to send a follower a snapshot sends it no more entries."""
    stalled: dict[tuple[int, int, int], None] = {}
    send_snapshot, send_appends = compaction.send_snapshot, replication.send_appends

    def stalls(server: RaftServer, peer: int, progress: Progress) -> None:
        stalled[server.node_id, server.term, peer] = None
        send_snapshot(server, peer, progress)

    def skips(
        server: RaftServer, peer: int, progress: Progress, *, allow_empty: bool = False
    ) -> None:
        if (server.node_id, server.term, peer) not in stalled:
            send_appends(server, peer, progress, allow_empty=allow_empty)

    monkeypatch.setattr(compaction, "send_snapshot", stalls)
    monkeypatch.setattr(replication, "send_appends", skips)


def test_replication_that_stalls_after_a_snapshot_is_caught(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def judged(length_ms: int) -> RunResult:
        return run_scenario(parse_scenario(SLOW_FOLLOWER % ("crash", length_ms)), 1)

    assert judged(600).ok
    plant_a_stall(monkeypatch)
    assert judged(20).ok, "no follower falls behind, so the planted fault does not show"
    stalled = judged(600)
    assert [expectation.name for expectation in stalled.failed()] == ["live_within_ms"]
    assert " entries and is a follower in term " in seen(stalled)["live_within_ms"]


def test_a_scenario_may_set_the_limit_of_liveness_itself() -> None:
    text = "random_faults: {quiet_ms: 2000, faults: [{crash: 1, every_ms: 900, for_ms: 100}]}\n"
    for expect, wanted in (("", 2000), ("expect: {live_within_ms: 900}\n", 900)):
        drawn = parse_scenario(text + expect).drawn(1)
        assert drawn.expect.live_within_ms == wanted
    for expect in ("expect: {live_within_ms: null}\n", "expect: {violation: any}\n"):
        assert parse_scenario(text + expect).drawn(1).expect.live_within_ms is None
