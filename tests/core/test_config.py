"""An invalid `RaftConfig` is refused, and the error names the field."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest

from qcore.core import RaftConfig
from qcore.errors import ConfigError


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("election_timeout_min_ms", 0),
        ("heartbeat_ms", 0),
        ("max_inflight_messages", 0),
        ("max_inflight_bytes", 0),
        ("max_batch_bytes", 0),
        ("max_uncommitted_bytes", -5),
    ],
)
def test_value_below_one_is_refused(field: str, value: int) -> None:
    with pytest.raises(ConfigError, match=f"^{field} is {value}; it must be at least 1"):
        RaftConfig(**{"node_id": 1, field: value})  # type: ignore[arg-type] # every field named here is a number


@pytest.mark.parametrize("node_id", [0, -1, 2**63])
def test_node_id_out_of_range_is_refused(node_id: int) -> None:
    with pytest.raises(
        ConfigError, match=f"node_id is {node_id}; it must be from 1 to {2**63 - 1}"
    ):
        RaftConfig(node_id)


def test_empty_range_of_election_timeouts_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"election_timeout_max_ms \(100\) is below"):
        RaftConfig(node_id=1, election_timeout_max_ms=100)


@pytest.mark.parametrize("heartbeat", [150, 151])
def test_heartbeat_as_slow_as_the_election_timeout_is_refused(heartbeat: int) -> None:
    with pytest.raises(ConfigError, match="would campaign against a live leader"):
        RaftConfig(node_id=1, heartbeat_ms=heartbeat)


def test_limit_values_are_allowed() -> None:
    RaftConfig(
        node_id=1, election_timeout_min_ms=2, election_timeout_max_ms=2, heartbeat_ms=1,
        max_inflight_messages=1, max_inflight_bytes=1, max_batch_bytes=1, max_uncommitted_bytes=1,
    )  # fmt: skip


def test_a_configuration_cannot_change_under_a_running_server() -> None:
    config = RaftConfig(node_id=1)
    with pytest.raises(FrozenInstanceError):
        config.pre_vote = False  # type: ignore[misc] # the test needs the forbidden assignment


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"priority": -1}, r"priority is -1; it must be at least 0"),
        ({"max_clock_drift_percent": -1}, "max_clock_drift_percent is -1; it must be from 0 to 99"),
        ({"max_clock_drift_percent": 100}, "max_clock_drift_percent is 100; it must be from 0"),
        ({"lease_reads": True, "check_quorum": False}, "lease_reads needs check_quorum"),
    ],
)
def test_value_that_would_be_unsafe_is_refused(values: dict[str, int], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        RaftConfig(node_id=1, **values)  # type: ignore[arg-type] # every field named here is a number
