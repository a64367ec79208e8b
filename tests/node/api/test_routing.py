"""`Perform` becomes the right kind of request for the replica, for each operation and each option."""

from __future__ import annotations

import json

import pytest

from qcore.errors import RemoteProtocolError
from qcore.node.api.perform_routing import METRIC_KINDS, ReplicaRequest, replica_request
from qcore.node.application import Operation
from qcore.replica.messages import RequestKind
from qcore.transport.perform_options import Consistency, SessionUse, Stale

READ = Operation("Read", "read", "query")
WRITE = Operation("Write", "write", "command")


@pytest.mark.parametrize(
    ("consistency", "kind"),
    [
        ("linearizable", "read"),
        ("lease", "lease_read"),
        ("follower", "follower_read"),
        (Stale(500), "stale_read"),
    ],
)
def test_a_read_is_routed_by_its_consistency(consistency: Consistency, kind: RequestKind) -> None:
    limit = 500 if kind == "stale_read" else 0
    assert replica_request(READ, consistency, None) == ReplicaRequest(kind, "query", limit)
    assert METRIC_KINDS[kind] == "read"


def test_a_write_with_a_session_becomes_a_session_command() -> None:
    assert replica_request(WRITE, "linearizable", None) == ReplicaRequest("write", "command")
    once = replica_request(WRITE, "linearizable", SessionUse(42, 7, 5))
    assert once.kind == "session"
    assert json.loads(once.payload) == ["run", 42, 7, 5, "command"]
    assert METRIC_KINDS["write"] == METRIC_KINDS["session"] == "write"


def test_invalid_request_options_are_rejected() -> None:
    for consistency in ("lease", "follower"):
        with pytest.raises(RemoteProtocolError, match="consistency"):
            replica_request(WRITE, consistency, None)
    with pytest.raises(RemoteProtocolError, match="consistency"):
        replica_request(WRITE, Stale(1), None)
    with pytest.raises(RemoteProtocolError, match="session"):
        replica_request(READ, "linearizable", SessionUse(42, 1))
