"""Nodes are killed with -9 or paused under concurrent load. No acknowledged write is lost."""

from __future__ import annotations

import random
import time

import pytest
from websockets.exceptions import ConnectionClosed

from qcore.processes import ProcessCluster, wait_for
from tests.process.support.load import Load
from tests.process.support.member_changes import on_disk
from tests.process.support.wire_client import WireClient, string_schema

pytestmark = pytest.mark.process


def kill_leaders(cluster: ProcessCluster, kills: int, seed: int) -> Load:
    """Kill and restart the leader repeatedly, at random moments, under load."""
    rng = random.Random(seed)
    with Load(cluster.endpoints) as load:
        for _ in range(kills):
            load.wait_acknowledged(20)
            time.sleep(rng.random() * 0.2)  # the moment is random, and nothing depends on it
            leader = cluster.wait_leader()
            leader.kill()
            load.wait_acknowledged(20)
            time.sleep(rng.random() * 0.2)
            leader.start()
        load.wait_acknowledged(20)
    load.read_all()
    load.check()
    assert load.outcomes["ok"] >= 40 * kills
    cluster.wait_converged()
    return load


def test_killing_the_leader_loses_nothing(ready_cluster: ProcessCluster) -> None:
    kill_leaders(ready_cluster, kills=3, seed=1)


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_killing_the_leader_many_times_loses_nothing(ready_cluster: ProcessCluster) -> None:
    kill_leaders(ready_cluster, kills=25, seed=2)


def test_killing_all_nodes_together_loses_nothing(ready_cluster: ProcessCluster) -> None:
    cluster = ready_cluster
    with Load(cluster.endpoints) as load:
        for _ in range(2):
            load.wait_acknowledged(100)
            for node in cluster.nodes.values():
                node.kill()
            cluster.start()
        load.wait_acknowledged(20)
    load.read_all()
    load.check()
    cluster.wait_converged()


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_killing_random_nodes_at_random_moments_loses_nothing(
    ready_cluster: ProcessCluster,
) -> None:
    cluster = ready_cluster
    rng = random.Random(3)
    with Load(cluster.endpoints, clients=10) as load:
        for _ in range(40):
            time.sleep(rng.random())
            victims = rng.sample(sorted(cluster.nodes), rng.choice((1, 1, 2, 3)))
            for victim in victims:
                cluster.nodes[victim].kill()
            time.sleep(rng.random() * 0.5)
            cluster.start()
        load.wait_acknowledged(20)
    load.read_all()
    load.check()
    cluster.wait_converged()


def test_a_write_only_the_leader_stored_is_not_acknowledged(ready_cluster: ProcessCluster) -> None:
    """The leader dies with a write that only its disk holds. The write was not acknowledged."""
    cluster = ready_cluster
    leader = cluster.wait_leader()
    followers = [node for node in cluster.nodes.values() if node is not leader]
    with WireClient(leader.address) as client:
        client.perform("SetSchema", entity_schema=string_schema("Item", "Name"))
        cluster.wait_converged()
        before = leader.status()["last_log_index"]
        for node in followers:
            node.pause()
        create = {"CreateEntity": {"entity_type": "Item", "parent_id": None, "name": "x"}}
        client.send({"Perform": {"id": "alone", "request": create}})
        wait_for(
            lambda: leader.status()["qcore"]["durable_index"] > before, 20, "the write on one disk"
        )
        leader.kill()
        with pytest.raises(ConnectionClosed):
            client.receive()  # bytes that it sent would still be in the socket
    assert on_disk(leader).entries[-1].index > before
    for node in followers:
        node.resume()
    cluster.wait_leader()
    leader.start()
    cluster.wait_converged()


def test_a_paused_follower_catches_up(ready_cluster: ProcessCluster) -> None:
    cluster = ready_cluster
    leader = cluster.wait_leader()
    paused = next(node for node in cluster.nodes.values() if node is not leader)
    with Load(cluster.endpoints) as load:
        paused.pause()
        try:
            load.wait_acknowledged(100)
        finally:
            paused.resume()
        load.wait_acknowledged(50)
    load.read_all()
    load.check()
    cluster.wait_converged()
