"""`Address`: which texts are addresses, what an error says, and IPv6 from end to end."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qcore.cli.cluster.node_list import parse_nodes
from qcore.cli.options import split_endpoints
from qcore.client.client import Client
from qcore.client.endpoints import Endpoints
from qcore.errors import ConfigError, NotLeader, Refused
from qcore.node.application import EntityApplication
from qcore.node.config import NodeConfig
from qcore.node.observability.logs import NodeLog
from qcore.node.replica_node import ReplicaNode
from qcore.runtime.real import REAL
from qcore.settings import for_node
from qcore.storage.memory import MemoryStorage
from qcore.transport.address import Address
from tests.node.test_node import eventually

LABELS = st.from_regex(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,20}[A-Za-z0-9])?", fullmatch=True)
NAMES = (
    st.lists(LABELS, min_size=1, max_size=4)
    .map(".".join)
    .filter(lambda name: not name.rpartition(".")[2].isdigit())
)
HOSTS = NAMES | st.ip_addresses().map(str) | st.just("fe80::1%eth0")


@settings(max_examples=40)
@given(HOSTS, st.integers(1, 65535))
def test_an_address_survives_a_round_trip(host: str, port: int) -> None:
    address = Address(host, port)
    assert Address.parse(str(address)) == address
    assert Address.parse(str(address.canonical)).canonical == address.canonical
    assert address.is_same_as(address.canonical)


@settings(max_examples=60)
@given(st.text(max_size=30) | st.from_regex(r"\[?[0-9a-f:.]{1,20}\]?:[0-9]{1,6}", fullmatch=True))
def test_any_text_gives_an_address_or_a_config_error(text: str) -> None:
    try:
        address = Address.parse(text, "--ws-addr", allow_port_zero=True)
    except ConfigError:
        return
    assert Address.parse(str(address), allow_port_zero=True) == address


def test_the_text_of_an_address() -> None:
    assert str(Address("127.0.0.1", 8080)) == "127.0.0.1:8080"
    assert str(Address("node-1.example", 1)) == "node-1.example:1"
    assert str(Address("::1", 65535)) == "[::1]:65535"
    assert Address.parse("[::1]:8080") == ("::1", 8080)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is not host:port"),
        ("8080", "is not host:port"),
        (":8080", "is not host:port"),
        ("localhost", "is not host:port"),
        ("localhost:", "port must be a number from 1 to 65535"),
        ("localhost:http", "port must be a number"),
        ("localhost:0", "port must be a number from 1"),
        ("localhost:65536", "port must be a number"),
        ("localhost:-1", "port must be a number"),
        ("localhost:８０", "port must be a number"),
        ("h:٣", "port must be a number"),
        ("localhost:" + "8" * 5000, "port must be a number"),
        ("ws://localhost:80", "write host:port without the scheme ws://, localhost:80"),
        ("http://[::1]:80/ws", "write host:port without the scheme http://, [::1]:80"),
        ("wss://", "write host:port without the scheme wss://"),
        ("localhost:80/path", "port must be a number"),
        ("two words:80", "no path and no white space"),
        ("a:1,b:2", "more than one colon"),
        ("h" * 254 + ":80", "254 characters, 253 are allowed"),
        ("h" * 64 + ".example:80", "from 1 to 63 characters, and not 64"),
        ("a..b:80", "from 1 to 63 characters, and not 0"),
        ("h\x00:80", "no path and no white space"),
        ("*:80", "0.0.0.0 for all addresses of this machine"),
        ("user%40:80", "a host has no '%'"),
        ("10.0.0.256:80", "10.0.0.256 is not an IPv4 address"),
        ("1.2.3.4.5:80", "1.2.3.4.5 is not an IPv4 address"),
        ("::1:8080", "in brackets: [::1:8080]:8080, or [::1]:8080 if the last number is the port"),
        ("a:b:8080", "an IPv6 address in brackets, [::1]:8080"),
        ("[::1]", "has no port: write [::1]:8080"),
        ("[::1:80", "more than one colon"),
        ("[::g]:80", "'::g' in the brackets is not an IPv6 address"),
        ("[localhost]:80", "'localhost' in the brackets is not an IPv6 address"),
        ("[127.0.0.1]:80", "an IPv4 address without brackets, 127.0.0.1:8080"),
        ("[]:80", "is not host:port"),
    ],
)
def test_an_error_says_what_is_wrong_and_where(text: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Address.parse(text, "--ws-addr")
    assert str(caught.value).startswith("--ws-addr: ")
    assert problem in str(caught.value)
    assert len(str(caught.value)) < 600
    if "://" in text:
        assert "IPv6" not in str(caught.value)


def test_an_error_suggests_only_what_is_an_address() -> None:
    with pytest.raises(ConfigError, match=r"in brackets: \[::1\]:8080$"):
        Address.parse("::1")


def test_port_zero_is_valid_where_a_free_port_can_be_chosen() -> None:
    assert Address.parse("localhost:0", "--ws-addr", allow_port_zero=True).port == 0


def test_the_command_line_takes_ipv6_in_lists() -> None:
    assert split_endpoints("[::1]:1, [2001:DB8::7]:2,h:3") == ["[::1]:1", "[2001:DB8::7]:2", "h:3"]
    assert parse_nodes("1=[::1]:1,2=h:2") == [(1, "[::1]:1"), (2, "h:2")]
    with pytest.raises(ConfigError, match=r"--nodes 2: '::1:2'"):
        parse_nodes("1=[::1]:1,2=::1:2")


def test_a_client_ignores_a_leader_whose_address_is_invalid() -> None:
    async def scenario() -> None:
        endpoints = Endpoints(["[::1]:1", "b:1"], Random(1), runtime=REAL)
        endpoints.prefer_another(Address("::1", 1), NotLeader(7, "nonsense"))
        assert endpoints.choose() == Address("b", 1)
        endpoints.prefer_another(Address("b", 1), NotLeader(7, "[::7]:7"))
        assert endpoints.choose() == Address("::7", 7)

    asyncio.run(scenario())


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no address ::1")
def test_a_cluster_works_on_ipv6_addresses(tmp_path: Path) -> None:
    """Listening, `Init`, connections between nodes, moves, the client, and the addresses that nodes report."""

    def node(number: int) -> ReplicaNode:
        (tmp_path / str(number)).mkdir()
        config = for_node(
            NodeConfig,
            {
                "node_id": number,
                "ws_addr": Address("::1", 0),
                "data_dir": tmp_path / str(number),
                "heartbeat_ms": 50,
                "election_timeout_min_ms": 300,
                "election_timeout_max_ms": 600,
                "shutdown_grace_ms": 200,
            },
        )
        return ReplicaNode(config, EntityApplication(), MemoryStorage(number), NodeLog(number))

    async def scenario() -> None:
        nodes = [node(1), node(2), node(3)]
        addresses = [await each.start() for each in nodes]
        try:
            assert all(text.startswith("[::1]:") for text in addresses)
            async with Client(addresses, timeout_s=20) as client:
                await client.init([*enumerate(addresses, 1)])
                await client.set_schema({"entity_type": "Item", "inherit": None, "fields": {}})

                async def connected() -> bool:
                    metrics = [await client.get_metrics(text) for text in addresses]
                    return all(each["current_leader"] is not None for each in metrics)

                await eventually(connected)
                for text in addresses:
                    metrics = await client.get_metrics(text)
                    assert metrics["qcore"]["address"] == text
                    known = metrics["membership_config"]["membership"]["nodes"]
                    assert [known[str(number)]["addr"] for number in (1, 2, 3)] == addresses
                await client.move_member(3, addresses[2].replace("::1", "0:0::1"))  # as it is
                with pytest.raises(Refused, match="is the address of node 2"):
                    await client.move_member(3, addresses[1])
        finally:
            for each in nodes:
                await each.stop()

    asyncio.run(scenario())


def test_an_ipv6_host_is_not_looked_up() -> None:
    assert ipaddress.ip_address(Address.parse("[fe80::1%1]:80").host).is_link_local
