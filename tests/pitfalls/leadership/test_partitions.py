"""Partial and one-way partitions: no endless elections, and no blocked majority."""

from __future__ import annotations

import pytest

from qcore.core import RaftConfig
from qcore.core.leadership import election
from qcore.sim import load_scenario, run_scenario
from tests.checkout import SCENARIOS
from tests.core.support.timed_cluster import run_for
from tests.driver.cores import CoreCluster
from tests.pitfalls.support.cluster_steps import lead

# -- a leader in a minority, and a bridge to it ----------------------------------------------------


def a_leader_sees_only_the_bridge(*, check_quorum: bool = True) -> int:
    """openraft#2080: nodes 2, 3 and the bridge 4 reach each other; the leader 1 reaches only the bridge.

    Returns:
        how many entries are committed in ten seconds, once two have passed.
    """
    cluster = CoreCluster.of(4, RaftConfig(1, check_quorum=check_quorum))
    lead(cluster, 1)
    cluster.network.cut = {(1, 2), (2, 1), (1, 3), (3, 1)}
    run_for(cluster, 2000)
    return run_for(cluster, 10_000).committed


def test_minority_leader_steps_down_and_majority_works() -> None:
    assert a_leader_sees_only_the_bridge() > 400


def test_without_step_down_the_bridge_rejects_votes_forever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The bridge hears a leader and rejects the vote requests of 2 and 3, which need its vote."""
    monkeypatch.setattr(election, "check_quorum", lambda _server: True)
    assert a_leader_sees_only_the_bridge() == 0


def test_without_check_quorum_minority_leader_blocks_majority() -> None:
    """The bridge receives the leader's entries, so its log is newer than those of 2 and 3."""
    assert a_leader_sees_only_the_bridge(check_quorum=False) == 0


# -- one-way and partial partitions ----------------------------------------------------------------


def failed_with(name: str, *, guarded: bool) -> set[str]:
    """The expectations that a scenario misses, as shipped (`guarded`) or without pre-vote and check quorum."""
    scenario = load_scenario(SCENARIOS / f"{name}.yaml")
    if not guarded:
        basic = scenario.cluster.model_copy(update={"pre_vote": False, "check_quorum": False})
        scenario = scenario.model_copy(update={"cluster": basic})
    result = run_scenario(scenario, 1)
    assert not result.violations
    return {expectation.name for expectation in result.failed()}


#: A follower that can only send (raft-rs#27), and two nodes that do not reach each other (Cloudflare's outage).
PARTIAL = ("follower_deaf", "chained_3")


@pytest.mark.parametrize("name", PARTIAL)
def test_partial_partition_deposes_no_leader(name: str) -> None:
    assert failed_with(name, guarded=True) == set()


@pytest.mark.parametrize("name", PARTIAL)
def test_without_pre_vote_and_check_quorum_leaders_keep_changing(name: str) -> None:
    failed = failed_with(name, guarded=False)
    assert {"same_leader", "no_election_after_first", "max_term_growth"} <= failed


def a_deaf_follower(config: RaftConfig) -> tuple[int, int]:
    """raft-rs#27: one of five nodes can only send for twenty seconds.

    Returns:
        how often a server became leader, and by how much the term rose.
    """
    cluster = CoreCluster.of(5, config)
    lead(cluster, 1)
    term = cluster.core(1).term
    cluster.network.cut = {(peer, 5) for peer in range(1, 5)}
    course = run_for(cluster, 20_000, propose_every_ms=1000)
    return course.changes, course.highest_term - term


def an_idle_chain(config: RaftConfig) -> int:
    """Cloudflare, 2020-11-02: 2 leads, 3 does not reach it, both reach 1; no client writes, so all logs are equal.

    Returns:
        how often a server became leader in twenty seconds.
    """
    cluster = CoreCluster.of(3, config)
    lead(cluster, 2)
    cluster.timeout(2)
    cluster.settle()
    cluster.network.cut = {(2, 3), (3, 2)}
    return run_for(cluster, 20_000, propose_every_ms=1_000_000).changes


BASIC = RaftConfig(1, pre_vote=False, check_quorum=False)


def test_deaf_follower_raises_no_term() -> None:
    assert a_deaf_follower(RaftConfig(1)) == (0, 0)


def test_without_pre_vote_and_check_quorum_terms_keep_rising() -> None:
    changes, terms = a_deaf_follower(BASIC)
    assert changes > 20
    assert terms > 50


def test_without_pre_vote_deaf_follower_keeps_raising_its_term() -> None:
    changes, terms = a_deaf_follower(RaftConfig(1, pre_vote=False))
    assert changes == 0, "servers that hear the leader ignore the candidate"
    assert terms > 50


def test_end_of_a_chain_deposes_no_leader() -> None:
    assert an_idle_chain(RaftConfig(1)) == 0


def test_without_pre_vote_and_check_quorum_end_deposes_leader() -> None:
    assert an_idle_chain(BASIC) >= 1


def test_without_leader_stickiness_chain_end_deposes_leader(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Pre-vote alone only checks whether the log could win, and it could."""
    monkeypatch.setattr(election, "hears_live_leader", lambda _server: False)
    assert an_idle_chain(RaftConfig(1)) >= 1
