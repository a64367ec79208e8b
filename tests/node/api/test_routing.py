"""Which kind of request the options of `Perform` make of an operation."""

from __future__ import annotations

import json

import pytest

from qcore.errors import RemoteProtocolError
from qcore.node.api.perform_routing import Route, counted_as, route
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
    assert route(READ, consistency, None) == Route(kind, "query", limit)
    assert counted_as(kind) == "read"


def test_a_write_goes_through_the_log_and_in_a_session_once() -> None:
    assert route(WRITE, "linearizable", None) == Route("write", "command")
    once = route(WRITE, "linearizable", SessionUse(42, 7, 5))
    assert once.kind == "session"
    assert json.loads(once.payload) == ["run", 42, 7, 5, "command"]
    assert counted_as("write") == counted_as("session") == "write"


def test_invalid_request_options_are_rejected() -> None:
    for consistency in ("lease", "follower"):
        with pytest.raises(RemoteProtocolError, match="consistency"):
            route(WRITE, consistency, None)
    with pytest.raises(RemoteProtocolError, match="consistency"):
        route(WRITE, Stale(1), None)
    with pytest.raises(RemoteProtocolError, match="session"):
        route(READ, "linearizable", SessionUse(42, 1))
