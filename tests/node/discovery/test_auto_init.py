"""Real nodes that begin a cluster by themselves: in this process, on the loopback interface."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from qcore.client.client import Client
from qcore.errors import ConfigError, QcoreError, Refused
from qcore.node import Address
from qcore.node.discovery.promise_file import FILE_NAME, PromiseFile
from qcore.node.tls_config import TlsConfig
from qcore.processes.node_process import free_ports
from qcore.runtime.real import REAL
from qcore.transport.codec.codec import Codec
from qcore.transport.limits import TransportLimits
from qcore.transport.server.server import Server
from qcore.transport.wire import FOUNDING_REQUESTS, REGISTRY
from tests.node.discovery.founders import Founders, Names, founders
from tests.security.certificates import Authority
from tests.transport.support.endpoints import RecordingHandler, async_test


@async_test
async def test_a_static_list_gives_one_cluster(tmp_path: Path) -> None:
    """Three founders, then a late node, a node that takes no Init, and a restart with the same settings."""
    ports = free_ports(4)
    places = [f"static:127.0.0.1:{port}" for port in ports[:3]]
    async with founders(tmp_path) as world:
        first = Address("127.0.0.1", ports[0])
        await world.start(1, first, places)
        await world.start(2, Address("127.0.0.1", ports[1]), places)
        await world.until_logged(1, "not found yet: founders [3] of 3")
        client = Client([str(first)])
        with pytest.raises(Refused, match="--auto-init"):
            await client.init([(1, str(first))])
        assert world.clusters() == [None, None]
        await world.start(3, Address("127.0.0.1", ports[2]), places)
        cluster = await world.until_one_cluster()
        assert await client.execute('{"op":"add","key":"a","amount":1}') == '{"ok":true,"value":1}'
        await client.close()
        members = world.nodes[1].core.membership
        assert members.voters == (1, 2, 3)
        assert len(members.keys) == 3
        kept = PromiseFile(tmp_path / "node2").load().accepted
        assert kept is not None
        assert kept.founding.cluster_id == cluster
        await world.start(4, Address("127.0.0.1", ports[3]), places)
        await world.until_logged(4, f"belongs to cluster {cluster}")
        assert world.nodes[4].core.membership.is_empty
        await world.stop(4)
        await world.stop(3)
        await world.start(3, Address("127.0.0.1", ports[2]), places)
        assert world.nodes[3].core.membership.cluster_id == cluster


@async_test
async def test_a_name_gives_one_cluster_with_mutual_tls(tmp_path: Path) -> None:
    """The name has three addresses. A founder whose certificate is of another authority is not one."""
    (port,) = free_ports(1)
    ips = ["127.0.0.1", "127.0.0.2", "127.0.0.3"]
    (tmp_path / "other").mkdir()
    names = ("founders.example", *ips)
    files = Authority(tmp_path).issue("node", *names)
    foreign = Authority(tmp_path / "other").issue("node", *names)
    async with founders(tmp_path) as world:

        async def start(node_id: int, tls: TlsConfig) -> None:
            await world.start(
                node_id,
                Address(ips[node_id - 1], port),
                [f"dns:founders.example:{port}"],
                runtime=Names(ips),
                tls=tls,
            )

        own = TlsConfig(files.cert, files.key, files.ca)
        await start(1, own)
        await start(2, own)
        await start(3, TlsConfig(foreign.cert, foreign.key, foreign.ca))
        for node_id in (1, 2):
            await world.until_logged(node_id, "not found yet: founders [3] of 3")
            await world.until_logged(node_id, f"127.0.0.3:{port}: ")
        await world.until_logged(3, "not found yet: founders [1, 2] of 3")
        assert world.clusters() == [None, None, None]
        assert not world.has_promises()
        await world.stop(3)
        await start(3, own)
        await world.until_one_cluster()
        assert dict(world.nodes[1].core.membership.addresses) == {
            node_id: f"{ip}:{port}" for node_id, ip in enumerate(ips, 1)
        }


@async_test
async def test_founders_that_contradict_each_other_begin_nothing(tmp_path: Path) -> None:
    ports = free_ports(3)
    places = [f"127.0.0.1:{port}" for port in ports]
    async with founders(tmp_path) as world:
        await world.start(1, Address("127.0.0.1", ports[0]), places, expect=2)
        await world.start(2, Address("127.0.0.1", ports[1]), places, expect=3)
        await world.until_logged(1, "expects 3 founders, and this node 2")
        await world.until_logged(2, "expects 2 founders, and this node 3")
        other = Founders(tmp_path / "other")
        try:
            await other.start(1, Address("127.0.0.1", ports[2]), places, expect=2)
            await world.until_logged(2, "two nodes have the id 1")
            reason = world.nodes[2].unready_reason() or ""
            assert "--auto-init" in reason
            assert "two nodes have the id 1" in reason
            assert world.clusters() == [None, None]
            assert not (tmp_path / "node2" / FILE_NAME).exists()
        finally:
            await other.stop(1)


@async_test
async def test_founders_of_mixed_versions_begin_nothing(tmp_path: Path) -> None:
    """One has lower apply rules, and the program of another does not know the messages of founders, as 0.1.0."""
    ports = free_ports(3)
    places = [f"127.0.0.1:{port}" for port in ports]
    codec = Codec({name: cls for name, cls in REGISTRY.items() if cls not in FOUNDING_REQUESTS})
    older = Server(codec, RecordingHandler(), TransportLimits(), runtime=REAL)
    await older.start(Address("127.0.0.1", ports[2]))
    try:
        async with founders(tmp_path) as world:
            await world.start(1, Address("127.0.0.1", ports[0]), places)
            await world.until_logged(
                1, f"{places[2]}: it does not understand GetFounder, so its qcore may be older"
            )
            await world.start(2, Address("127.0.0.1", ports[1]), places, max_rules=4)
            for node_id, text in (
                (
                    1,
                    "node 2 at {} would begin the cluster with 'apply rules 4, state machine register 1'",
                ),
                (
                    2,
                    "node 1 at {} would begin the cluster with 'apply rules 5, state machine register 1'",
                ),
            ):
                await world.until_logged(node_id, text.format(places[2 - node_id]))
                await world.until_logged(node_id, "same program, --machine and --max-rules")
            assert world.clusters() == [None, None]
            assert not world.has_promises()
    finally:
        await older.stop()


@async_test
async def test_older_rules_found_nothing_without_an_operator(tmp_path: Path) -> None:
    async with founders(tmp_path) as world:
        await world.start(1, Address("127.0.0.1", 0), [], expect=1, max_rules=4)
        await world.until_logged(1, "--auto-init needs apply rules 5 or newer: see --max-rules")
        assert world.clusters() == [None]


@async_test
async def test_one_founder_begins_a_cluster_alone(tmp_path: Path) -> None:
    async with founders(tmp_path) as world:
        node = await world.start(1, Address("127.0.0.1", 0), [], expect=1)
        await world.until_one_cluster()
        assert node.core.membership.voters == (1,)


@async_test
async def test_a_founding_is_finished_after_a_restart(tmp_path: Path) -> None:
    """All founders stop after they have accepted: whichever begins the cluster, it is the accepted one."""
    ports = free_ports(3)
    places = [f"127.0.0.1:{port}" for port in ports]
    async with founders(tmp_path) as world:

        async def refuse(*_founding: object) -> QcoreError | None:
            return ConfigError("the test lets no cluster begin")

        for node_id, port in enumerate(ports, 1):
            node = await world.start(node_id, Address("127.0.0.1", port), places)
            node.founding.begin_cluster = refuse  # type: ignore[method-assign, assignment]  # the planted fault
        await world.until_logged(1, "the test lets no cluster begin")
        for node_id in (1, 2, 3):
            await world.stop(node_id)
        kept = [PromiseFile(tmp_path / f"node{node}").load().accepted for node in (1, 2, 3)]
        decided = {each.founding.cluster_id for each in kept if each is not None}
        assert len(decided) == 1
        await begin_by_hand(world, Address("127.0.0.1", ports[0]), *decided)
        for node_id in (2, 3):  # node 1, which began it, never returns
            await world.start(node_id, Address("127.0.0.1", ports[node_id - 1]), places)
        assert await world.until_one_cluster() == decided.pop()
        assert world.nodes[2].core.membership.voters == (1, 2, 3)


async def begin_by_hand(world: Founders, address: Address, decided: str) -> None:
    """Node 1 has accepted a founding, and is started without --auto-init; then in the way that the page documents."""
    await world.start(1, address, [], auto_init=False, expect=0)
    async with Client([str(address)]) as client:
        with pytest.raises(Refused) as refused:
            await client.init([(1, str(address))])
    assert f"has accepted the founding of cluster {decided}, which may have begun" in str(
        refused.value
    )
    assert "start the founders with --auto-init again, and they finish it" in str(refused.value)
    await world.stop(1)
    other = Founders(world.folder / "by hand")
    shutil.copytree(world.folder / "node1", other.folder / "node1")
    (other.folder / "node1" / FILE_NAME).unlink()
    await other.start(1, address, [], auto_init=False, expect=0)
    try:
        async with Client([str(address)]) as client:
            await client.init([(1, str(address))])
        assert decided != await other.until_one_cluster()
    finally:
        await other.stop(1)
