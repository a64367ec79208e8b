"""A leader whose disk hangs continues to send heartbeats and steps down, although its write never ends."""

from __future__ import annotations

import pytest

from qcore.core import RaftConfig
from qcore.core.messages import AppendEntries, RaftMessage
from qcore.core.raft_server import RaftServer
from qcore.sim import run_scenario
from tests.checkout import SCENARIOS
from tests.driver.cores import CoreCluster
from tests.pitfalls.support.cluster_steps import lead

SCENARIO = SCENARIOS / "leader_disk_stall.yaml"


def the_leaders_disk_hangs() -> tuple[int, list[int]]:
    """etcd#13527: the leader appends, and its write does not end for several election timeouts.

    Returns:
        how many heartbeats it sent within one election timeout, and at how many of the next twenty deadlines it was
        still the leader.
    """
    cluster = CoreCluster.of(3, RaftConfig(1))
    lead(cluster, 1)
    cluster.propose(1, "stuck")
    cluster.network.clear()
    heartbeats = 0
    led: list[int] = []
    began = cluster.drivers[1].now
    for number in range(20):
        cluster.timeout(1)
        sent = cluster.network.hold_back(lambda sent: isinstance(sent.message, AppendEntries))
        if (
            cluster.drivers[1].now - began
            < cluster.drivers[1].config.election_timeout_min_ms * 1000
        ):
            heartbeats += len(sent)
        for heartbeat in sent:
            cluster.deliver_envelope(heartbeat)
        for node_id in (2, 3):
            cluster.persist(node_id)
        while cluster.network:
            cluster.deliver()
        if cluster.core(1).role == "leader":
            led.append(number)
        else:
            break
    return heartbeats, led


def wait_for_all_writes(server: RaftServer, to: int, message: RaftMessage, after: int = 0) -> None:
    """Every message waits for all earlier writes."""
    del after
    SEND(server, to, message, server.last_write_id)


SEND = RaftServer.send


def test_leader_with_stalled_disk_heartbeats_and_steps_down() -> None:
    heartbeats, led = the_leaders_disk_hangs()
    assert heartbeats >= 4, "two followers, two intervals"
    assert 3 <= len(led) < 20


def test_without_direct_sends_heartbeats_wait_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RaftServer, "send", wait_for_all_writes)
    heartbeats, _ = the_leaders_disk_hangs()
    assert heartbeats == 0


def test_without_disk_watch_leader_stays_forever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(RaftServer, "disk_stalled", lambda _server: False)
    _, led = the_leaders_disk_hangs()
    assert len(led) == 20


def test_simulated_leader_with_stalled_disk_is_replaced() -> None:
    assert run_scenario(SCENARIO, 1).ok


def test_without_disk_watch_simulated_leader_stays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(RaftServer, "disk_stalled", lambda _server: False)
    assert "leader_changes" in {failed.name for failed in run_scenario(SCENARIO, 1).failed()}
