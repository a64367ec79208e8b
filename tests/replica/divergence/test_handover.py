"""A diverged leader hands over to a node that is not diverged, again and again, and answers nothing meanwhile."""

from __future__ import annotations

from dataclasses import replace

import pytest

from qcore.core import RaftConfig
from qcore.core.effects import Send
from qcore.core.leadership.election import CONTAINED_TIMEOUTS
from qcore.core.messages import InstallSnapshot
from qcore.core.raft_server import RaftServer
from qcore.errors import ChangeRefused, NotLeader, OutcomeUnknown
from qcore.replica.events import ClientRequest, ReinstallMember, TransferLeader
from tests.driver.observer import Node, Observer
from tests.driver.replicas import ReplicaCluster, ReplicaDriver
from tests.replica.divergence.test_containment import cluster_of, diverge, diverged_at, write


def server_of(driver: ReplicaDriver) -> RaftServer:
    return driver.core._server


def contained(cluster: ReplicaCluster) -> list[int]:
    return [n for n, driver in cluster.drivers.items() if diverged_at(driver) is not None]


def flip_two(cluster: ReplicaCluster) -> None:
    """Nodes 2 and 3 of five differ: 2 has the highest priority to take over."""
    for node_id in (2, 3):
        diverge(cluster, node_id)
    assert contained(cluster) == [2, 3]


def test_a_leader_does_not_ask_a_diverged_voter_to_take_over() -> None:
    cluster = cluster_of(5)
    leader = cluster.elect(1)
    flip_two(cluster)
    leader.step(TransferLeader(7, None, 1000))
    asked = server_of(leader).transfer
    assert asked is not None
    assert asked.target == 4
    cluster.settle()
    assert cluster.leader().node_id == 4
    cluster.drivers[4].step(TransferLeader(8, 2, 1000))
    error = cluster.drivers[4].replies[-1].error
    assert isinstance(error, ChangeRefused)
    assert error.name == "diverged"


def test_a_diverged_voter_may_take_over_once_it_is_reinstalled() -> None:
    cluster = cluster_of()
    leader = cluster.elect(1)
    diverge(cluster, 3)
    leader.step(ReinstallMember(9, 3, 5000))
    cluster.settle()
    cluster.pass_time(1500)
    leader.step(TransferLeader(7, 3, 1000))
    cluster.settle()
    assert cluster.leader().node_id == 3


def test_a_diverged_leader_tries_again_until_another_can_lead() -> None:
    cluster = cluster_of()
    leader = cluster.elect(1)
    diverge_slowly(cluster, leader)
    assert contained(cluster) == [1]
    assert leader.core.role == "leader"
    leader.request(30, write(9))
    assert isinstance(leader.replies[-1].error, NotLeader), "it executes nothing meanwhile"
    for driver in cluster.drivers.values():
        server_of(driver).contained = driver is leader
    cluster.pass_time(2000)
    assert cluster.leader() is not leader


def diverge_slowly(cluster: ReplicaCluster, leader: ReplicaDriver) -> None:
    """The leader diverges, and the others reject the transfer for some time."""
    for driver in cluster.drivers.values():
        server_of(driver).contained = driver is not leader
    diverge(cluster, leader.node_id)
    cluster.pass_time(1500)


def test_a_diverged_leader_gives_no_results_of_waiting_writes() -> None:
    cluster = cluster_of()
    leader = cluster.elect(1)
    leader.request(1, write(7))
    cluster.settle()
    cluster.pass_time(100)
    cluster.drivers[2].request(6, write(9), timeout_ms=60_000)
    cluster.deliver()  # the leader has it, and no other node has the entry yet
    leader.step(ClientRequest(5, "write", write(5), 60_000))
    leader.replica.containment._contain(3)
    cluster.settle()
    (reply,) = [reply for reply in leader.replies if reply.request_id == 5]
    assert isinstance(reply.error, OutcomeUnknown)
    (reply,) = [reply for reply in cluster.drivers[2].replies if reply.request_id == 6]
    assert isinstance(reply.error, OutcomeUnknown)


def test_a_diverged_node_campaigns_after_the_others() -> None:
    cluster = cluster_of()
    cluster.elect(1)
    diverge(cluster, 3)
    cluster.isolate(1)
    odd = cluster.drivers[3]
    term = odd.core.term
    for _ in range(CONTAINED_TIMEOUTS):
        cluster.advance(1000)
        odd.tick()
        cluster.settle()
        assert odd.core.role == "follower"
    assert odd.core.term == term
    cluster.advance(1000)
    odd.tick()
    cluster.settle()
    assert odd.core.role == "leader", "no other node did"
    cluster.pass_time(500)
    assert cluster.leader().node_id == 2, "it hands over immediately"


def test_a_diverged_node_leads_if_only_it_has_the_log() -> None:
    cluster = cluster_of()
    leader = cluster.elect(1)
    diverge(cluster, 3)
    cluster.isolate(2)
    leader.request(20, write(20))
    cluster.settle()
    cluster.pass_time(100)
    assert leader.replies[-1].error is None
    cluster.heal()
    cluster.isolate(1)  # now only the diverged node holds the acknowledged write
    for _ in range(40):
        for driver in (cluster.drivers[2], cluster.drivers[3]):
            cluster.advance(100)
            driver.tick()
            cluster.settle()
    assert cluster.leader().node_id == 2
    cluster.drivers[2].request(21, '{"op":"get","key":"a"}', "read")
    cluster.settle()
    assert cluster.drivers[2].replies[-1].result == '{"ok":true,"value":20}'


def test_a_leader_hands_over_before_it_is_reinstalled() -> None:
    cluster = cluster_of()
    leader = cluster.elect(1)
    leader.request(1, write(7))
    cluster.settle()
    leader.step(ReinstallMember(9, 1, 5000))
    assert isinstance(leader.replies[-1].error, NotLeader), "the client asks the next leader"
    cluster.settle()
    other = cluster.leader()
    assert other is not leader
    other.step(ReinstallMember(10, 1, 5000))
    cluster.settle()
    cluster.pass_time(500)
    assert other.replies[-1].error is None
    assert leader.replica.machine.state_hash() == other.replica.machine.state_hash()


def test_a_diverged_leader_lets_the_next_one_reinstall_it() -> None:
    cluster = cluster_of()
    leader = cluster.elect(1)
    diverge_slowly(cluster, leader)
    leader.step(ReinstallMember(9, 1, 5000))
    assert isinstance(leader.replies[-1].error, NotLeader)
    for driver in cluster.drivers.values():
        server_of(driver).contained = driver is leader
    cluster.pass_time(2000)
    other = cluster.leader()
    other.step(ReinstallMember(10, 1, 5000))
    cluster.settle()
    cluster.pass_time(1000)
    assert other.replies[-1].error is None
    assert contained(cluster) == []


def test_the_only_voter_cannot_be_reinstalled() -> None:
    cluster = cluster_of(1)
    leader = cluster.elect(1)
    leader.step(ReinstallMember(9, 1, 5000))
    error = leader.replies[-1].error
    assert isinstance(error, ChangeRefused)
    assert error.name == "leader"


def test_a_voter_that_diverged_unnoticed_passes_the_transfer_on() -> None:
    cluster = cluster_of()
    leader = cluster.elect(1)
    server_of(cluster.drivers[2]).contained = True  # its report is on its way
    leader.step(TransferLeader(7, None, 1000))
    cluster.settle()
    assert cluster.leader().node_id == 3
    assert leader.replies[-1].error is None


def test_a_diverged_voter_does_not_lead_by_priority() -> None:
    cluster = cluster_of()
    leader = cluster.elect(1)
    odd = cluster.drivers[3]
    odd.config = replace(odd.config, raft=replace(odd.config.raft, priority=5))
    odd.crash()
    odd.start()
    diverge(cluster, 3)
    cluster.pass_time(60_000)
    assert cluster.leader() is leader
    assert not server_of(leader).transfer_backoff._failures, "it was never asked"


class SentSnapshots(Observer):
    """Notes who sent chunks of snapshots."""

    def __init__(self) -> None:
        self.senders: list[int] = []

    def sent(self, node: Node, send: Send) -> None:
        if isinstance(send.message, InstallSnapshot):
            self.senders.append(node.node_id)


class SmallChunks(ReplicaCluster):
    """Its snapshots have several chunks, and its observer notes who sends them."""

    def _new_observer(self) -> SentSnapshots:  # type: ignore[override]  # fewer checks
        return SentSnapshots()


@pytest.mark.parametrize("begun", [False, True])
def test_a_diverged_leader_sends_no_chunk_of_a_snapshot(begun: bool) -> None:
    cluster = SmallChunks(
        rules=5,
        digest_interval_ms=500,
        snapshot_entries=4,
        raft=RaftConfig(1, max_snapshot_chunk=16),
    )
    leader = cluster.elect(1)
    cluster.isolate(2)
    for number in range(20):
        leader.request(number, write(number))
        cluster.settle()
    cluster.pass_time(1000)
    cluster.heal()
    senders = cluster.observer.senders  # type: ignore[attr-defined]  # see `SmallChunks`
    senders.clear()
    if begun:
        while not senders:
            cluster.advance(50)
            leader.tick()
            while cluster.network.messages and len(senders) < 2:
                cluster.deliver()
        assert senders == [1, 1]
    senders.clear()
    server_of(cluster.drivers[2]).contained = server_of(cluster.drivers[3]).contained = True
    leader.replica.containment._contain(3)
    cluster.settle()
    cluster.pass_time(1000)
    assert leader.core.role == "leader"
    assert senders == []
    server_of(cluster.drivers[3]).contained = False
    cluster.pass_time(1000)
    assert {*senders} == {3}
    assert cluster.drivers[2].replica.applied_index == cluster.leader().replica.applied_index
