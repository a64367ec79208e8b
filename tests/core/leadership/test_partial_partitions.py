"""Liveness with PreVote and CheckQuorum while some links are down, or down in one direction (P10, P16)."""

from __future__ import annotations

import random
from itertools import combinations

import pytest

from qcore.core import RaftConfig, Safeguards
from tests.core.support.random_walk import Walk
from tests.core.support.timed_cluster import run_for
from tests.driver.cores import CoreCluster


def both(*pairs: tuple[int, int]) -> set[tuple[int, int]]:
    """These links, in both directions."""
    return {link for a, b in pairs for link in ((a, b), (b, a))}


def running(size: int, leader: int, *, check_quorum: bool = True) -> CoreCluster:
    config = RaftConfig(node_id=1, check_quorum=check_quorum)
    cluster = CoreCluster.of(size, config)
    cluster.elect(leader)
    run_for(cluster, 100, propose_every_ms=10**6)
    return cluster


def test_p16_a_chain_of_three_keeps_its_leader() -> None:
    """Links 1-2 and 1-3 are up, 2-3 is down, and 2 leads."""
    cluster = running(3, 2)
    cluster.network.cut = both((2, 3))
    course = run_for(cluster, 20_000)
    assert (course.changes, cluster.leaders()) == (0, [2])
    assert course.committed > 900


def test_p16_chain_of_three_in_basic_raft_deposes_its_leader() -> None:
    """Control: in the basic protocol the end of the chain that hears no leader deposes it.

    The no-op makes the log of the middle node newer than those of the ends, so in time the middle node wins. Without
    a no-op the ends would depose each other for ever.
    """
    safeguards = Safeguards(noop_on_election=False)
    for rule, least in ((Safeguards(), 1), (safeguards, 20)):
        config = RaftConfig(node_id=1, pre_vote=False, check_quorum=False, safeguards=rule)
        cluster = CoreCluster.of(3, config)
        cluster.elect(2)
        cluster.network.cut = both((2, 3))
        assert run_for(cluster, 20_000, propose_every_ms=10**6).changes >= least


def test_p16_follower_that_can_only_send_disrupts_nothing() -> None:
    cluster = running(5, 1)
    term = cluster.core(1).term
    cluster.network.cut = {(peer, 5) for peer in range(1, 5)}
    course = run_for(cluster, 20_000)
    assert (course.changes, course.highest_term) == (0, term)


def test_a_leader_that_can_only_send_is_replaced() -> None:
    cluster = running(5, 1)
    cluster.network.cut = {(peer, 1) for peer in range(2, 6)}
    assert run_for(cluster, 1500).changes == 1
    course = run_for(cluster, 20_000)
    assert course.changes == 0
    assert course.committed > 900
    assert 1 not in cluster.leaders()


def test_a_leader_that_can_only_receive_is_replaced() -> None:
    cluster = running(5, 1)
    cluster.network.cut = {(1, peer) for peer in range(2, 6)}
    assert run_for(cluster, 1500).changes == 1
    assert run_for(cluster, 20_000).changes == 0
    assert 1 not in cluster.leaders()


@pytest.mark.parametrize("check_quorum", [True, False])
def test_p10_minority_leader_does_not_block_the_majority(check_quorum: bool) -> None:
    """Nodes 2, 3 and the bridge 4 are fully linked; the leader 1 reaches only the bridge.

    Without CheckQuorum the leader blocks them. The bridge follows it, and the leader's uncommitted entries make the
    bridge's log newer than those of 2 and 3. So they cannot win, and the bridge does not campaign.
    """
    cluster = running(4, 1, check_quorum=check_quorum)
    cluster.network.cut = both((1, 2), (1, 3))
    run_for(cluster, 1500)
    course = run_for(cluster, 10_000)
    assert course.changes <= 1
    assert course.committed > 400 if check_quorum else course.committed == 0


def test_rejoining_server_with_higher_term_costs_one_election() -> None:
    """It follows no leader until the others have its term; then one election ends the disturbance."""
    cluster = running(3, 1)
    cluster.drivers[3].disk.durable.hard_state.term = 40
    cluster.crash(3)
    cluster.restart(3)
    assert run_for(cluster, 2000).changes == 1
    course = run_for(cluster, 10_000)
    assert (course.changes, course.highest_term) == (0, 41)


@pytest.mark.parametrize(
    "first", [0, *(pytest.param(first, marks=pytest.mark.long) for first in (30, 60, 90))]
)
def test_fully_linked_majority_elects_a_lasting_leader(first: int) -> None:
    """Whatever happened before, and whatever the state of the other links, as long as they do not change."""
    for seed in range(first, first + 30):
        walk = Walk(seed, pre_vote=True, check_quorum=True, size=3 + 2 * (seed % 2))
        walk.run(400)
        cluster, rng = walk.cluster, random.Random(seed)
        for node in cluster.drivers.values():
            if not node.is_up:
                cluster.restart(node.node_id)
        voters = list(cluster.drivers)
        linked = both(*combinations(rng.sample(voters, len(voters) // 2 + 1), 2))
        links = both(*combinations(voters, 2))
        cluster.network.cut = {link for link in sorted(links - linked) if rng.random() < 0.6}
        run_for(cluster, 4000)
        course = run_for(cluster, 3000)
        assert course.committed > 100, (seed, cluster.network.cut)
        assert course.changes <= 1, (seed, cluster.network.cut)
