"""Commits and votes: which acknowledgements commit an entry, and what counts as a vote."""

from __future__ import annotations

import random

import pytest

from qcore.core import Membership, RaftConfig, RaftCore, Safeguards, quorum
from qcore.core.dispatch import message_handlers
from qcore.core.leadership import election
from qcore.core.messages import AppendEntries, InstallSnapshot, PreVote, RequestVote
from qcore.core.messages import RequestVoteResponse as Vote
from qcore.core.raft_server import RaftServer
from tests.core.support.safety_checks import SafetyViolation, majorities, voter_sets
from tests.core.support.timed_cluster import run_for
from tests.driver.cores import CoreCluster
from tests.driver.first_state import started
from tests.pitfalls.support.cluster_steps import lead

FIVE = Membership(voters=(1, 2, 3, 4, 5))
JOINT = Membership(voters=(1, 2, 3, 4, 5), voters_outgoing=(1, 2, 6))


# -- the quorum's index ----------------------------------------------------------------------------


def acknowledgements_come_in_any_order(membership: Membership, seed: int) -> int:
    """openraft#1802: five voters with different logs. After each step the commit index equals that of brute force.

    Returns:
        the leader's commit index.
    """
    durable = {node: started(membership) for node in membership.members()}
    cluster = CoreCluster(durable, seed=seed)
    lead(cluster, 1)
    rng = random.Random(seed)
    for number in range(150):
        choice = rng.random()
        if choice < 0.15 and cluster.core(1).role == "leader":
            cluster.propose(1, f"c{number}")
        elif choice < 0.4:
            cluster.persist(rng.randrange(1, len(cluster.drivers) + 1))
        elif cluster.network:
            cluster.deliver(rng.randrange(len(cluster.network)))
        commits_what_a_quorum_holds(cluster.core(1))
    return cluster.core(1).commit_index


def commits_what_a_quorum_holds(leader: RaftCore) -> None:
    """Compare the commit index with its definition: the highest index that all members of some majority hold."""
    status = leader.status()
    held = {peer: known.match for peer, known in status.peers.items()}
    held[status.node_id] = status.durable_index
    agreed = min(
        max(min(held[voter] for voter in majority) for majority in majorities(voters))
        for voters in voter_sets(status.membership)
    )
    assert leader.commit_index == agreed, (
        f"commit {leader.commit_index}, a quorum holds {agreed}: {held}"
    )


class InitialOrder:
    """Keeps the voters in their first order, although their match indexes advance."""

    def __init__(self) -> None:
        self.order: dict[tuple[int, ...], list[int]] = {}

    def __call__(self, voters: tuple[int, ...], values: dict[int, int]) -> int:
        order = self.order.setdefault(
            voters, sorted(voters, key=lambda voter: values.get(voter, 0))
        )
        return values.get(order[(len(order) - 1) // 2], 0)


@pytest.mark.parametrize("membership", [FIVE, JOINT], ids=["simple", "joint"])
def test_reordered_acks_never_commit_beyond_the_quorum(
    membership: Membership,
) -> None:
    committed = [acknowledgements_come_in_any_order(membership, seed) for seed in range(20)]
    assert sum(committed) > 100, "the random walks commit entries"


def test_without_resorting_voters_commit_index_is_too_high(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = []
    for seed in range(20):
        monkeypatch.setattr(quorum, "_majority_value", InitialOrder())
        try:
            acknowledgements_come_in_any_order(FIVE, seed)
        except AssertionError as error:
            found.append(str(error))
    assert any(text.startswith("commit rule") for text in found), "the safety checks find it"
    assert any("a quorum holds" in text for text in found), "the comparison finds it"


# -- entries of older terms ------------------------------------------------------------------------


def figure_8(safeguards: Safeguards) -> bool:
    """logcabin#44: the paper's figure 8, steps c and d.

    Server 1 leads again, in term 4, and replicates its entry of term 2 to a majority. Then it crashes, and server 5,
    whose entry is of term 3, is elected.

    Returns:
        whether server 5 was elected without an entry that server 1 regarded as committed.
    """
    logs = {1: (1, 2), 2: (1, 2), 3: (1,), 4: (1,), 5: (1, 3)}
    durable = {node: started(FIVE, terms, 3) for node, terms in logs.items()}
    cluster = CoreCluster(durable, RaftConfig(1, safeguards=safeguards))
    cluster.network.cut = {(a, b) for a in (1, 2, 3) for b in (4, 5)}
    lead(cluster, 1)
    assert cluster.core(3).term_at(2) == 2
    cluster.crash(1)
    cluster.heal()
    lead(cluster, 5)
    return cluster.core(3).term_at(2) == 3


def test_older_term_entry_is_not_committed_by_counting() -> None:
    assert figure_8(Safeguards(noop_on_election=False))


def test_without_commit_rule_committed_entry_is_overwritten() -> None:
    counting = Safeguards(noop_on_election=False, commit_own_term_only=False)
    with pytest.raises(SafetyViolation, match=r"leader 5 .* lacks committed entry 2\.2"):
        figure_8(counting)


# -- a term is not a vote --------------------------------------------------------------------------


def a_stale_candidate_asks_twice() -> bool:
    """openraft PR#1220: a candidate with an old log raises the term of a voter and asks it again.

    Returns:
        whether it was elected.
    """
    cluster = CoreCluster.of(3, RaftConfig(1, pre_vote=False))
    lead(cluster, 1)
    cluster.isolate(3)
    cluster.propose(1, "acknowledged")
    cluster.settle()
    assert cluster.core(1).commit_index == cluster.core(1).last_log_index
    cluster.heal()
    cluster.advance(1000)
    cluster.campaign(3)
    cluster.persist(3)
    (request,) = cluster.network.hold_back(lambda sent: sent.to == 2)
    cluster.network.clear()
    cluster.deliver_envelope(request)
    cluster.persist(2)
    cluster.network.clear()  # the rejection is lost; otherwise the candidate would know
    cluster.deliver_envelope(request)
    cluster.settle()
    assert cluster.core(2).term == cluster.core(3).term
    return cluster.core(3).role == "leader"


ON_REQUEST_VOTE = election.on_request_vote


def adopting_is_granting(server: RaftServer, from_id: int, request: RequestVote) -> None:
    """A voter records a vote for the candidate whose term it adopts."""
    if request.term == server.term and server.voted_for == request.candidate_id:
        server.send(from_id, Vote(server.term, True), server.after_hard_state)
        return
    ON_REQUEST_VOTE(server, from_id, request)
    server.voted_for = request.candidate_id


def test_adopting_a_term_grants_no_vote() -> None:
    assert not a_stale_candidate_asks_twice()


def test_without_separate_vote_a_stale_log_is_elected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(election, "on_request_vote", adopting_is_granting)
    with pytest.raises(SafetyViolation, match=r"leader 3 .* lacks committed entry"):
        a_stale_candidate_asks_twice()


# -- terms that lag behind -------------------------------------------------------------------------


def a_lower_term_with_a_longer_log_rejoins() -> list[int]:
    """etcd#8501: the leader crashes, and only the server in the lower term can win.

    Server 1 led term 2 and has one entry more than the others. Server 3 was elected in term 3 with the vote of 2, and
    crashed before it replicated an entry.

    Returns:
        the nodes that lead ten seconds later.
    """
    cluster = CoreCluster.of(3)
    lead(cluster, 1)
    cluster.isolate(1)
    cluster.propose(1, "longer")
    cluster.persist(1)
    cluster.advance(1000)
    cluster.campaign(3)
    while cluster.core(3).role != "leader":
        for node in cluster.alive():
            cluster.persist(node.node_id)
        cluster.deliver()
    cluster.network.clear()
    cluster.crash(3)
    cluster.crash(1)
    cluster.restart(1)
    cluster.heal()
    assert (cluster.core(1).term, cluster.core(2).term) == (2, 3)
    assert cluster.core(1).last_log_index > cluster.core(2).last_log_index
    run_for(cluster, 10_000)
    return cluster.leaders()


ON_PRE_VOTE = election.on_pre_vote


def ignore_older_terms(server: RaftServer, from_id: int, request: PreVote) -> None:
    """Drops a request of an older term without an answer."""
    if request.term >= server.term:
        ON_PRE_VOTE(server, from_id, request)


def test_rejected_pre_vote_carries_the_higher_term() -> None:
    assert a_lower_term_with_a_longer_log_rejoins() == [1]


def test_without_term_in_rejection_the_election_deadlocks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(election, "on_pre_vote", ignore_older_terms)
    assert a_lower_term_with_a_longer_log_rejoins() == []


def a_higher_term_rejoins() -> int:
    """etcd#8243: a server whose term is above that of the live leader can neither win nor follow.

    Returns:
        how many entries the server lacks ten seconds later.
    """
    cluster = CoreCluster.of(3)
    lead(cluster, 1)
    run_for(cluster, 100)
    cluster.drivers[3].disk.durable.hard_state.term = 40
    cluster.crash(3)
    cluster.restart(3)
    run_for(cluster, 10_000)
    return max(node.up.commit_index for node in cluster.alive()) - cluster.core(3).commit_index


def test_leader_of_lower_term_learns_the_higher_term() -> None:
    assert a_higher_term_rejoins() <= 2


def test_without_rejection_old_leader_never_reaches_server(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def silent(_server: RaftServer, _from: int, _message: AppendEntries | InstallSnapshot) -> None:
        """Drops an append of an older term without an answer."""

    monkeypatch.setattr(message_handlers, "_reject_stale_leader", silent)
    assert a_higher_term_rejoins() > 100
