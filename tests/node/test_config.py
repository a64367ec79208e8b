"""Node settings: which values are valid, and that an error names the setting."""

from __future__ import annotations

from pathlib import Path

import pytest

import qcore.node
from qcore.errors import ConfigError
from qcore.node.config import NodeConfig
from qcore.transport.address import Address
from qcore.transport.limits import TransportLimits


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


def test_the_example_of_the_package_makes_settings() -> None:
    example = next(line for line in (qcore.node.__doc__ or "").splitlines() if "config = " in line)
    names = {"NodeConfig": qcore.node.NodeConfig, "Address": qcore.node.Address, "Path": Path}
    config = eval(example.partition(" = ")[2], names)
    assert (config.node_id, str(config.ws_addr)) == (1, "127.0.0.1:8080")
