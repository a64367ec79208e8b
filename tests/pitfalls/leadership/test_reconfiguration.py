"""Two leaders propose membership changes of the same configuration."""

from __future__ import annotations

import pytest

from qcore.core import DurableState, Membership, RaftConfig, membership
from qcore.core.effects import ChangeAccepted, ChangeRejected, Effect
from qcore.core.events import ChangeMembership
from qcore.core.raft_server import RaftServer
from tests.core.support.safety_checks import SafetyViolation
from tests.driver.cores import CoreCluster
from tests.driver.first_state import started
from tests.pitfalls.support.cluster_steps import lead, may_lead

ADDRESSES = tuple((node, f"10.0.0.{node}:80") for node in range(1, 6))
FOUR = Membership(voters=(1, 2, 3, 4), addresses=ADDRESSES[:4])


def change_to(cluster: CoreCluster, leader: int, *voters: int) -> list[Effect]:
    return cluster.step(leader, ChangeMembership(voters, (), ADDRESSES, 0))


def verdict(effects: list[Effect]) -> str:
    """`accepted`, or the name of the rejection."""
    (found,) = [e for e in effects if isinstance(e, ChangeAccepted | ChangeRejected)]
    return "accepted" if isinstance(found, ChangeAccepted) else found.name


def two_leaders_change_one_parent() -> str:
    """copycat#23, braft#182: with voters 1 to 4, leader 1 adds 5; leader 2, elected later, removes 1.

    Neither learns of the other's change. Server 2 proposes before an entry of its current term is committed, and
    commits as much as it can with 3 alone. Then 1 campaigns, and the logs of 4 and 5 decide.

    Returns:
        the outcome of server 2's change.
    """
    durable = {node: started(FOUR) for node in FOUR.voters}
    cluster = CoreCluster({**durable, 5: DurableState()}, RaftConfig(1))
    lead(cluster, 1)
    cluster.timeout(1)
    cluster.settle()
    assert cluster.core(2).commit_index >= 1, "the first configuration is known to be committed"
    cluster.network.cut = {(a, b) for a in (1, 5) for b in (2, 3, 4)}
    assert verdict(change_to(cluster, 1, 1, 2, 3, 4, 5)) == "accepted"
    cluster.settle()
    assert cluster.core(5).membership_index == cluster.core(1).membership_index
    cluster.crash(1)
    cluster.advance(1000)
    cluster.campaign(2)
    while cluster.core(2).role != "leader":
        for node in cluster.alive():
            cluster.persist(node.node_id)
        cluster.deliver()
    cluster.network.cut = {(a, b) for a in (2, 3) for b in (1, 4, 5)}
    cluster.network.cut |= {(b, a) for a, b in cluster.network.cut}
    outcome = verdict(change_to(cluster, 2, 2, 3, 4))
    cluster.propose(2, "of the second leader")
    cluster.settle()
    cluster.restart(1)
    may_lead(cluster, 1)
    return outcome


WHY_NOT = membership._change_rejection


def accept_before_its_own_commit(
    server: RaftServer, event: ChangeMembership
) -> tuple[str, str] | None:
    """As if the leader had already committed in its current term."""
    first = server.term_start_index
    server.term_start_index = 0
    refusal = WHY_NOT(server, event)
    server.term_start_index = first
    return refusal


def in_one_step(current: Membership, event: ChangeMembership, index: int) -> Membership:
    """The new configuration without a joint phase, as in the systems that had this fault."""
    del current, index
    return Membership(voters=event.voters, addresses=event.addresses)


def test_change_before_leaders_own_commit_is_rejected() -> None:
    assert two_leaders_change_one_parent() == "not_ready"


def test_without_rejection_joint_phase_separates_two_changes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The second line of defence: both changes need a majority of the configuration that they replace."""
    monkeypatch.setattr(membership, "_change_rejection", accept_before_its_own_commit)
    assert two_leaders_change_one_parent() == "accepted"


def test_without_joint_phase_rejection_separates_two_changes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(membership, "first_configuration", in_one_step)
    assert two_leaders_change_one_parent() == "not_ready"


def test_without_either_guard_committed_entries_are_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(membership, "_change_rejection", accept_before_its_own_commit)
    monkeypatch.setattr(membership, "first_configuration", in_one_step)
    with pytest.raises(SafetyViolation, match=r"leader 1 .* lacks committed entry"):
        two_leaders_change_one_parent()


def test_change_after_leaders_own_commit_is_accepted() -> None:
    """The rejection is only temporary."""
    cluster = CoreCluster({node: started(FOUR) for node in FOUR.voters}, RaftConfig(1))
    lead(cluster, 1)
    assert verdict(change_to(cluster, 1, 2, 3, 4)) == "accepted"
