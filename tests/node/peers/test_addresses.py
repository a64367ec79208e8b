"""Addresses that members dial: which may be in a configuration, and how a node gets its address."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from qcore.cli.cluster.health_checks import address_problems, member_problems
from qcore.client.client import Client
from qcore.core.effects import MembershipChanged
from qcore.core.entry import Membership
from qcore.errors import ChangeRefused, ConfigError, NotCaughtUp, Refused
from qcore.node.addresses.member_addresses import (
    advertised_address_problem,
    member_address,
    members_problem,
    new_member_problem,
    same_address,
)
from qcore.node.application import EntityApplication
from qcore.node.config import NodeConfig
from qcore.node.observability.logs import NodeLog
from qcore.node.replica_node import ReplicaNode
from qcore.security.keys.node_key import NodeKey
from qcore.storage.memory import MemoryStorage
from qcore.transport.address import Address
from tests.cli.cluster.test_cluster_health import FOLLOWER, LEADER, MEMBERS, changed
from tests.node.test_node import running

UNSPECIFIED = [
    "0.0.0.0",
    "0",
    "0.0",
    "0x0",
    "::",
    "0:0:0:0:0:0:0:0",
    "::ffff:0.0.0.0",
    "::ffff:0:0",
]
LOOPBACK = ["127.0.0.1", "127.8.9.1", "127.1", "::1", "::ffff:127.0.0.1", "localhost", "LocalHost."]
OTHERS = [
    "10.0.0.1",
    "node-1.example.org",
    "fe80::1",
    "2001:db8::7",
    "::ffff:10.0.0.1",
    "0.example",
]


def text_of(host: str) -> str:
    return str(Address(host, 8080))


def test_hosts_are_recognised_in_every_spelling() -> None:
    assert [
        host for host in UNSPECIFIED + LOOPBACK + OTHERS if Address(host, 1).is_unspecified
    ] == UNSPECIFIED
    assert [
        host for host in UNSPECIFIED + LOOPBACK + OTHERS if Address(host, 1).is_loopback
    ] == LOOPBACK
    assert Address("2001:DB8:0::7", 1).canonical == Address("2001:db8::7", 1)
    assert Address("::ffff:10.0.0.1", 1).canonical == Address("10.0.0.1", 1)
    assert Address("Node-1", 1).canonical == Address("node-1", 1)


@pytest.mark.parametrize("text", [*map(text_of, UNSPECIFIED), "10.0.0.1:0"])
def test_an_address_no_peer_can_dial_is_rejected_with_advice(text: str) -> None:
    with pytest.raises(ConfigError, match=r"nodes\[1\].*--advertise-addr"):
        member_address(text, "nodes[1]")


def test_two_spellings_of_one_address_are_one() -> None:
    assert same_address("[2001:db8:0::7]:80", "[2001:DB8::7]:80")
    assert same_address("localhost:80", "127.0.0.1:80")
    assert same_address("A.example:80", "a.example.:80")
    assert not same_address("a:80", "a:81")
    assert "two nodes, 1 and 2" in str(members_problem({1: "A:1", 2: "a:1"}))


def test_loopback_addresses_are_for_clusters_on_one_machine() -> None:
    assert members_problem({1: "127.0.0.1:1", 2: "localhost:2", 3: "[::1]:3"}) is None
    assert members_problem({1: "127.0.0.1:1"}) is None
    problem = members_problem({1: "10.0.0.1:1", 2: "127.0.0.1:1"})
    assert problem is not None
    assert "127.0.0.1:1 of node 2 is a loopback address" in problem
    assert "--advertise-addr" in problem


def test_a_new_members_address_must_fit_the_other_members() -> None:
    assert "of node 2 is a loopback" in str(new_member_problem(2, "127.0.0.1:1", {1: "10.0.0.1:1"}))
    assert "of node 1 is a loopback" in str(new_member_problem(2, "10.0.0.1:1", {1: "127.0.0.1:1"}))
    assert "is the address of node 1" in str(new_member_problem(2, "A:1", {1: "a:1"}))
    assert new_member_problem(2, "10.0.0.2:1", {1: "10.0.0.1:1", 2: "127.0.0.1:1"}) is None


def test_an_invalid_advertised_address_is_rejected(tmp_path: Path) -> None:
    for host, port in (("0.0.0.0", 8080), ("::", 8080), ("10.0.0.1", 0)):
        with pytest.raises(ConfigError, match=r"^advertise_addr: "):
            NodeConfig.of(1, tmp_path, advertise_addr=Address(host, port))


def test_a_node_logs_that_members_know_another_address(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The node that receives `Init` cannot know the advertised addresses of the others."""
    member = Membership(voters=(1,), addresses=((1, "10.9.9.9:7"),), cluster_id="red")
    assert advertised_address_problem(1, member, Address.parse("10.9.9.9:7")) is None
    assert advertised_address_problem(2, member, Address.parse("10.1.2.3:7")) is None
    problem = str(advertised_address_problem(1, member, Address.parse("10.1.2.3:7")))
    assert "10.9.9.9:7 for node 1" in problem
    assert "--advertise-addr 10.1.2.3:7" in problem

    async def scenario() -> None:
        node = node_on_all_interfaces(tmp_path, Address("10.1.2.3", 7))
        await node.start()
        for index in (1, 2):
            node._changes.membership_changed(MembershipChanged(member, index))
        await node.stop()

    asyncio.run(scenario())
    lines = [record.msg for record in caplog.records]
    assert lines.count("others know this node by another address") == 1


def node_on_all_interfaces(directory: Path, advertised: Address | None) -> ReplicaNode:
    """A node that listens on every address of the machine."""
    config = NodeConfig.of(
        1,
        directory,
        ws_addr=Address("0.0.0.0", 0),
        advertise_addr=advertised,
        heartbeat_ms=20,
        election_timeout_min_ms=100,
        election_timeout_max_ms=200,
        shutdown_grace_ms=200,
    )
    return ReplicaNode(config, EntityApplication(), MemoryStorage(1), NodeLog(1))


def test_a_node_on_all_interfaces_needs_an_advertised_address(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        plain = node_on_all_interfaces(tmp_path, None)
        bound = await plain.start()
        port = int(bound.rpartition(":")[2])
        async with Client([f"127.0.0.1:{port}"], timeout_s=5) as client:
            with pytest.raises(Refused, match="--advertise-addr"):
                await client.init()
            with pytest.raises(Refused, match=r"nodes\[0\].*--advertise-addr"):
                await client.init([(1, bound)])
            assert (await client.get_metrics())["membership_config"]["membership"]["nodes"] == {}
            await client.init([(1, f"127.0.0.1:{port}")])
        await plain.stop()

        advertised = node_on_all_interfaces(tmp_path, Address("10.1.2.3", 7))
        port = int((await advertised.start()).rpartition(":")[2])
        async with Client([f"127.0.0.1:{port}"], timeout_s=5) as client:
            with pytest.raises(Refused, match=r"10\.9\.9\.9:7.*--advertise-addr 10\.1\.2\.3:7"):
                await client.init([(1, "10.9.9.9:7")])
            await client.init()
            metrics = await client.get_metrics()
            assert metrics["qcore"]["address"] == "10.1.2.3:7"
            nodes = metrics["membership_config"]["membership"]["nodes"]
            assert nodes == {"1": {"addr": "10.1.2.3:7"}}
            with pytest.raises(Refused, match="loopback"):
                await client.add_learner(2, "127.0.0.1:9")
            with pytest.raises(Refused, match=r"node_addr.*--advertise-addr"):
                await client.add_learner(2, "0.0.0.0:9")
            with pytest.raises(Refused, match="is the address of node 1"):
                await client.add_learner(2, "10.1.2.3:7")
        await advertised.stop()

    asyncio.run(scenario())


def test_an_init_without_a_majority_says_why_and_writes_nothing(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path, begin=False, request_timeout_ms=300) as world:
            client = Client([world.address], timeout_s=0.6)
            pair = [(1, world.address), (2, "127.0.0.1:1")]
            with pytest.raises(
                ChangeRefused, match=r"node 2 at 127\.0\.0\.1:1: cannot connect"
            ) as caught:
                await client.init(pair)
            assert caught.value.name == "unreachable"
            for token, nodes, why in (
                ("x" * 257, pair, "Init.token"),
                ("", pair, "it is empty"),
                ("red", [], "names no nodes"),
            ):
                with pytest.raises(Exception, match=why):
                    await client.init(nodes, token=token)
            metrics = await client.get_metrics()
            assert metrics["qcore"]["cluster_id"] is None
            assert (metrics["current_term"], metrics["last_log_index"]) == (0, None)
            # No node listens at the learner's address: the leader gives the reason, and removes the learner again.
            await client.init()
            key = NodeKey(bytes(32)).public
            fields = {
                "node_id": 2,
                "node_addr": "127.0.0.1:1",
                "timeout_ms": 100,
                "public_key": key,
            }
            with pytest.raises(
                NotCaughtUp, match=r"cannot connect to 127\.0\.0\.1:1.*removed again"
            ):
                await client._request_leader("AddLearner", fields)
            members = (await client.get_metrics())["membership_config"]["membership"]["nodes"]
            assert list(members) == ["1"]
            await client.close()

    asyncio.run(scenario())


def test_health_reports_undialable_and_mistaken_addresses() -> None:
    """For example a cluster that 0.1.0 initialised at a node which listens on every address."""
    first, second = address_problems({1: "0.0.0.0:8080", 2: "0.0.0.0:8080"})[:2]
    assert "node 1: 0.0.0.0:8080" in first
    assert "node 2: 0.0.0.0:8080" in second
    assert "two nodes" in address_problems({1: "0.0.0.0:8080", 2: "0.0.0.0:8080"})[2]
    assert address_problems({1: "127.0.0.1:1", 2: "127.0.0.1:2"}) == []
    rejections = {"1": "refused by a:1: the peer says that it is node 2, and so does this node"}
    (problem,) = member_problems(MEMBERS, [LEADER, changed(FOLLOWER, peer_refusals=rejections)])
    assert problem.startswith("b:1 has no connection to node 1: refused by a:1")
