"""Lease promises that a restart with other settings would break.

A lease is safe because every follower that renewed it gives no other node a vote for a while. If that promise is only
in memory, or computed from the settings, it ends when an operator restarts the follower with lease reads off or with a
shorter timeout. The follower then votes too early, and the old leader serves stale reads under its lease.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from qcore.core import DurableState, HardState, RaftConfig
from qcore.core.events import Tick
from qcore.core.leadership import election
from qcore.core.log import replication
from qcore.core.messages import AppendEntries
from qcore.core.raft_server import RaftServer
from tests.core.support.safety_checks import SafetyViolation
from tests.driver.cores import CoreCluster
from tests.driver.network import Envelope
from tests.pitfalls.support.cluster_steps import is_served, lead

LEASES = RaftConfig(1, lease_reads=True)
SHORTER = replace(LEASES, election_timeout_min_ms=60, election_timeout_max_ms=61)
SETTINGS = {
    "lease reads off": replace(LEASES, lease_reads=False),
    "lease reads and check quorum off": replace(LEASES, lease_reads=False, check_quorum=False),
    "a shorter timeout": SHORTER,
    "a shorter timeout and lease reads off": replace(SHORTER, lease_reads=False),
}


def a_lease_of_two(follower: RaftConfig = LEASES) -> CoreCluster:
    """Node 1 leads and reaches node 2, which runs with these settings. Node 3 has been cut off for a long time."""
    cluster = CoreCluster.of(3, LEASES, rules=2)
    cluster.advance(10)
    restart(cluster, 2, follower)
    lead(cluster, 1)
    cluster.isolate(3)
    for _ in range(8):
        heartbeat(cluster)
        cluster.settle()
    return cluster


def heartbeat(cluster: CoreCluster) -> None:
    cluster.advance(50)
    cluster.step(1, Tick())


def restart(cluster: CoreCluster, node_id: int, settings: RaftConfig) -> None:
    cluster.crash(node_id)
    cluster.drivers[node_id].config = replace(settings, node_id=node_id)
    cluster.restart(node_id)


def commit_without_1(cluster: CoreCluster, campaigner: int) -> None:
    """Nodes 2 and 3 are alone. One of them campaigns, and commits a write if it wins."""
    cluster.network.clear()
    cluster.heal()
    cluster.isolate(1)
    if campaigner == 3:
        cluster.campaign(3)
    else:
        cluster.step(2, Tick())
    cluster.settle()
    if cluster.core(campaigner).role == "leader":
        cluster.propose(campaigner, "new")
        cluster.settle()


def a_follower_restarts_within_its_promise(settings: RaftConfig, campaigner: int = 3) -> bool:
    """Node 2 restarts with other settings, node 1 is cut off, and 61 ms later node 2 or 3 campaigns.

    Returns:
        whether node 1 serves a read under its lease.
    """
    cluster = a_lease_of_two()
    restart(cluster, 2, settings)
    cluster.advance(61)
    commit_without_1(cluster, campaigner)
    return is_served(cluster, 1, cluster.read(1, lease=True))


def stored_nowhere(_server: RaftServer) -> int:
    return 0


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=list(SETTINGS))
@pytest.mark.parametrize("campaigner", [2, 3])
def test_promise_survives_a_restart_with_other_settings(
    settings: RaftConfig, campaigner: int
) -> None:
    assert a_follower_restarts_within_its_promise(settings, campaigner), "the lease still holds"


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=list(SETTINGS))
def test_without_stored_promise_lease_read_is_stale(
    settings: RaftConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RaftServer, "_promise_to_store", stored_nowhere)
    with pytest.raises(SafetyViolation, match="stale read: node 1"):
        a_follower_restarts_within_its_promise(settings)


CAMPAIGN: Callable[..., None] = election.campaign


def draw_freely(server: RaftServer) -> None:
    server.election_deadline = server.now + server.election_timeout_min_us


def campaign_freely(server: RaftServer, *, transfer: bool = False) -> None:
    """The promise covers only votes for others."""
    promised, server.no_vote_before = server.no_vote_before, 0
    CAMPAIGN(server, transfer=transfer)
    server.no_vote_before = promised


def test_without_promise_on_self_vote_lease_read_is_stale(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(RaftServer, "reset_election_deadline", draw_freely)
    monkeypatch.setattr(election, "campaign", campaign_freely)
    with pytest.raises(SafetyViolation, match="stale read: node 1"):
        a_follower_restarts_within_its_promise(SHORTER, campaigner=2)


# -- the promise and the disk ----------------------------------------------------------------------


def a_follower_crashes_before_its_promise_is_durable() -> bool:
    """Node 2 switches lease reads on within the term, answers, and crashes before its disk has synced.

    It restarts with lease reads off.

    Returns:
        whether node 1 serves a read under its lease.
    """
    cluster = a_lease_of_two(replace(LEASES, lease_reads=False))
    assert not is_served(cluster, 1, cluster.read(1, lease=True)), "node 2 has made no promise"
    restart(cluster, 2, LEASES)
    heartbeat(cluster)
    while cluster.network:
        cluster.deliver()
    restart(cluster, 2, replace(LEASES, lease_reads=False))
    cluster.advance(61)
    commit_without_1(cluster, 3)
    return is_served(cluster, 1, cluster.read(1, lease=True))


def promise_before_the_sync(server: RaftServer) -> int:
    return server.promise_ms


def test_response_waits_until_its_promise_is_durable() -> None:
    assert not a_follower_crashes_before_its_promise_is_durable()


def test_without_durable_promise_lease_read_is_stale(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(RaftServer, "make_lease_promise", promise_before_the_sync)
    with pytest.raises(SafetyViolation, match="stale read: node 1"):
        a_follower_crashes_before_its_promise_is_durable()


# -- a voter that does not know the rules yet ------------------------------------------------------


def a_voter_with_an_empty_log_promises() -> bool:
    """Node 2 was just added as a voter and has no entries, so it knows no rules that let it store its promise.

    It answers heartbeats, receives no entry, and restarts with lease reads off.

    Returns:
        whether node 1 serves a read under its lease.
    """
    cluster = a_lease_of_two()
    cluster.crash(2)
    term = cluster.drivers[2].disk.durable.hard_state.term
    cluster.drivers[2].disk.durable = DurableState(HardState(term))
    cluster.restart(2)
    cluster.advance(150)  # the earlier lease has expired
    for _ in range(2):
        heartbeat(cluster)
        for _ in range(2):  # the heartbeat and its response
            cluster.network.hold_back(holds_entries)
            if cluster.network:
                cluster.deliver()
    restart(cluster, 2, replace(LEASES, lease_reads=False))
    cluster.advance(61)
    commit_without_1(cluster, 3)
    return is_served(cluster, 1, cluster.read(1, lease=True))


def holds_entries(sent: Envelope) -> bool:
    return sent.to == 3 or (isinstance(sent.message, AppendEntries) and bool(sent.message.entries))


def any_promise(_server: RaftServer, promise_ms: int, _sent_us: int) -> int:
    return promise_ms


def test_promise_that_cannot_be_stored_renews_no_lease() -> None:
    assert not a_voter_with_an_empty_log_promises()


def test_without_storable_promise_lease_read_is_stale(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(replication, "_lasting_promise", any_promise)
    with pytest.raises(SafetyViolation, match="stale read: node 1"):
        a_voter_with_an_empty_log_promises()
