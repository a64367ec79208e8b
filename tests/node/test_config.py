"""Addresses and node settings: which values are valid, and that an error names the setting."""

from __future__ import annotations

from pathlib import Path

import pytest

from qcore.errors import ConfigError
from qcore.node.config import NodeConfig
from qcore.transport.address import Address, parse_address
from qcore.transport.limits import TransportLimits


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:8080", Address("127.0.0.1", 8080)),
        ("node-1.example:1", Address("node-1.example", 1)),
        ("[::1]:65535", Address("::1", 65535)),
    ],
)
def test_an_address_survives_a_round_trip(text: str, expected: Address) -> None:
    assert parse_address(text, "--ws-addr") == expected
    assert str(expected) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "8080",
        ":8080",
        "localhost",
        "localhost:",
        "localhost:http",
        "localhost:0",
        "localhost:65536",
        "localhost:-1",
        "localhost:８０",
        "::1:8080",
        "ws://localhost:80",
        "localhost:80/path",
        "two words:80",
        "a:1,b:2",
        "localhost:" + "8" * 5000,
        "h" * 254 + ":80",
        "h\x00:80",
    ],
)
def test_an_invalid_address_is_rejected_with_its_option(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^--ws-addr: "):
        parse_address(text, "--ws-addr")


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("ws://localhost:80", "write host:port without the scheme ws://, localhost:80"),
        ("http://[::1]:80/ws", "write host:port without the scheme http://, [::1]:80"),
        ("wss://", "write host:port without the scheme wss://"),
        ("::1:8080", "an IPv6 address in brackets"),
    ],
)
def test_the_error_shows_how_to_write_an_address(text: str, advice: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_address(text, "--endpoints")
    assert advice in str(caught.value)
    if "://" in text:
        assert "IPv6" not in str(caught.value)


def test_port_zero_is_valid_where_a_free_port_can_be_chosen() -> None:
    assert parse_address("localhost:0", "--ws-addr", allow_port_zero=True).port == 0


def make(
    node_id: int = 1,
    heartbeat_ms: int = 100,
    election_timeout_min_ms: int = 500,
    election_timeout_max_ms: int = 1000,
    request_timeout_ms: int = 5000,
    max_command_bytes: int = 1000,
) -> NodeConfig:
    return NodeConfig.of(
        node_id,
        Path("data"),
        ws_addr=Address("127.0.0.1", 0),
        heartbeat_ms=heartbeat_ms,
        election_timeout_min_ms=election_timeout_min_ms,
        election_timeout_max_ms=election_timeout_max_ms,
        request_timeout_ms=request_timeout_ms,
        max_command_bytes=max_command_bytes,
    )


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"node_id": 0}, "node_id is 0; it must be from 1 to"),
        ({"node_id": 2**63}, "node_id is"),
        ({"heartbeat_ms": 500}, "heartbeat_ms"),
        ({"election_timeout_max_ms": 499}, "election_timeout_max_ms"),
        ({"request_timeout_ms": 0}, "request_timeout_ms"),
        ({"max_command_bytes": 0}, "max_command_bytes"),
    ],
)
def test_a_value_out_of_range_is_rejected_by_name(changes: dict[str, int], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        make(**changes)


def test_a_clients_frame_can_carry_the_largest_command() -> None:
    with pytest.raises(ConfigError, match=r"max_client_frame_bytes is .* at least 12648448"):
        make(max_command_bytes=2 * 1024 * 1024)
    with pytest.raises(ConfigError, match="max_frame_bytes is"):
        node_config(
            max_command_bytes=1024 * 1024, limits=TransportLimits(max_frame_bytes=6 * 1024 * 1024)
        )
    larger = TransportLimits(max_client_frame_bytes=13 * 1024 * 1024)
    assert node_config(max_command_bytes=2 * 1024 * 1024, limits=larger).limits is larger


def node_config(*, max_command_bytes: int, limits: TransportLimits) -> NodeConfig:
    return NodeConfig.of(
        1,
        Path("data"),
        ws_addr=Address("127.0.0.1", 0),
        max_command_bytes=max_command_bytes,
        limits=limits,
    )


def test_the_replica_gets_the_timeouts_of_the_node() -> None:
    raft = make(heartbeat_ms=20, election_timeout_min_ms=90).replica_config().raft
    assert (raft.node_id, raft.heartbeat_ms, raft.election_timeout_min_ms) == (1, 20, 90)
