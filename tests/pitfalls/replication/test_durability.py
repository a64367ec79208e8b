"""Durability: terms, votes and entries are sent only after they are durable."""

from __future__ import annotations

from random import Random

import pytest

from qcore.core import DurableState, RaftConfig, Safeguards
from qcore.core.log.durable_state import last_index
from qcore.core.raft_server import RaftServer
from qcore.errors import LogCorrupt
from tests.core.support.safety_checks import SafetyViolation
from tests.driver.cores import CoreCluster
from tests.pitfalls.support.cluster_steps import crash_all, holds, lead, may_lead


def all_crash_and_a_stale_log_campaigns(
    safeguards: Safeguards | None = None, *, check_safety: bool = True
) -> bool:
    """PySyncObj#84: all servers crash, two continue in a low term, then the third campaigns with its stale log.

    Server 3 is elected in term 4 and appends an entry that no other server gets. After the crash, 1 and 2 have entries
    of term 3 at most, and know of term 4 only if it is on their disks.

    Returns:
        whether the leader's log at the end holds the command that was committed after the crash.
    """
    config = RaftConfig(1, safeguards=safeguards or Safeguards())
    cluster = CoreCluster.of(3, config, check_safety=check_safety)
    lead(cluster, 1)
    lead(cluster, 2)
    cluster.advance(1000)
    cluster.campaign(3)
    while cluster.core(3).role != "leader":
        for node in cluster.alive():
            cluster.persist(node.node_id)
        cluster.deliver()
    cluster.isolate(3)
    cluster.propose(3, "stale")
    cluster.settle()
    assert cluster.core(3).term_at(last_index(cluster.drivers[3].disk.durable)) == 4
    crash_all(cluster)
    cluster.restart(1)
    cluster.restart(2)
    lead(cluster, 1)
    cluster.propose(1, "acknowledged")
    cluster.settle()
    assert cluster.core(1).commit_index == cluster.core(1).last_log_index
    cluster.restart(3)
    cluster.crash(1)
    leader = 3 if may_lead(cluster, 3) else 2
    lead(cluster, leader)
    return holds(cluster, leader, "acknowledged")


def keep_in_memory(_server: RaftServer) -> None:
    """Never writes term and vote, and no message waits for them."""


START = RaftServer.__init__


def believe_the_log(
    server: RaftServer, config: RaftConfig, durable: DurableState, *, rng: Random, now: int
) -> None:
    """A restarted server uses the term of its last entry, as if it had never seen a later one."""
    durable.hard_state.term = durable.entries[-1].term
    START(server, config, durable, rng=rng, now=now)


def test_term_and_vote_survive_a_crash_of_all_servers() -> None:
    assert all_crash_and_a_stale_log_campaigns()


def test_without_stored_term_the_restart_detects_the_loss(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The second line of defence: the log holds terms that the server does not know."""
    monkeypatch.setattr(RaftServer, "save_hard_state", keep_in_memory)
    with pytest.raises(LogCorrupt, match="something was lost"):
        all_crash_and_a_stale_log_campaigns()


def test_without_stored_term_acknowledged_command_is_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(RaftServer, "save_hard_state", keep_in_memory)
    monkeypatch.setattr(RaftServer, "__init__", believe_the_log)
    with pytest.raises(SafetyViolation, match="node 2 votes for 3 and 1 in term 4"):
        all_crash_and_a_stale_log_campaigns()
    assert not all_crash_and_a_stale_log_campaigns(check_safety=False)


def all_crash_before_the_journal_is_synced(safeguards: Safeguards, *, watched: bool) -> bool:
    """PySyncObj#201: a command is reported as committed, all servers lose power, and one without it campaigns.

    Returns:
        whether an acknowledged command is lost. A command that was not acknowledged may be lost.
    """
    cluster = CoreCluster.of(3, RaftConfig(1, safeguards=safeguards), check_safety=watched)
    lead(cluster, 1)
    cluster.network.cut = {(1, 3)}
    cluster.propose(1, "x")
    while cluster.network:
        cluster.deliver()
    acknowledged = cluster.core(1).commit_index == cluster.core(1).last_log_index
    crash_all(cluster)
    for node_id in (1, 2, 3):
        cluster.restart(node_id)
    lead(cluster, 3)
    return acknowledged and not holds(cluster, 3, "x")


def test_no_entry_is_acknowledged_before_the_log_is_synced() -> None:
    assert not all_crash_before_the_journal_is_synced(Safeguards(), watched=True)


def test_without_sync_before_ack_the_command_is_lost() -> None:
    unsynced = Safeguards(append_durable_before_ack=False)
    with pytest.raises(SafetyViolation, match="commit rule"):
        all_crash_before_the_journal_is_synced(unsynced, watched=True)
    assert all_crash_before_the_journal_is_synced(unsynced, watched=False)


def a_vote_is_forgotten(safeguards: Safeguards) -> list[int]:
    """Server 2 votes for 1, loses power before the vote is synced, restarts, and 3 asks for its vote.

    Returns:
        the candidates for which 2 voted in term 2.
    """
    config = RaftConfig(1, pre_vote=False, check_quorum=False, safeguards=safeguards)
    cluster = CoreCluster.of(3, config, check_safety=False)
    voted: list[int] = []
    for candidate in (1, 3):
        cluster.campaign(candidate)
        cluster.persist(candidate)
        (request,) = [sent for sent in cluster.network if sent.to == 2]
        cluster.network.clear()
        cluster.deliver_envelope(request)
        voted += [sent.to for sent in cluster.network]
        cluster.crash(2)
        cluster.restart(2)
    return voted


def test_vote_is_sent_only_after_it_is_synced() -> None:
    assert a_vote_is_forgotten(Safeguards()) == []


def test_without_sync_before_vote_two_votes_are_granted() -> None:
    assert a_vote_is_forgotten(Safeguards(vote_durable_before_reply=False)) == [1, 3]


def a_single_node_loses_power(safeguards: Safeguards, *, watched: bool) -> tuple[bool, bool]:
    """etcd#14370: a single node loses power after it has applied an entry and before it has synced it.

    Returns:
        whether the command was applied, so that it could be acknowledged, and whether it is there after the restart.
    """
    cluster = CoreCluster.of(1, RaftConfig(1, safeguards=safeguards), check_safety=watched)
    lead(cluster, 1)
    cluster.propose(1, "x")
    answered = cluster.drivers[1].machine.index == cluster.core(1).last_log_index
    cluster.crash(1)
    cluster.restart(1)
    lead(cluster, 1)
    return answered, holds(cluster, 1, "x")


def test_single_node_answers_only_what_is_durable() -> None:
    assert a_single_node_loses_power(Safeguards(), watched=True) == (False, False)
    cluster = CoreCluster.of(1)
    lead(cluster, 1)
    cluster.propose(1, "x")
    cluster.persist(1)
    assert cluster.drivers[1].machine.index == cluster.core(1).last_log_index


def test_without_sync_single_node_loses_acknowledged_command() -> None:
    unsynced = Safeguards(append_durable_before_ack=False)
    with pytest.raises(SafetyViolation, match="commit rule"):
        a_single_node_loses_power(unsynced, watched=True)
    assert a_single_node_loses_power(unsynced, watched=False) == (True, False)
