"""Bugs in the transport, the client library and the driver, planted one at a time: whole nodes show them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import pytest
from pydantic_core import CoreSchema, core_schema

from qcore.client.endpoints import Endpoints
from qcore.errors import QcoreError, TransportError
from qcore.node.application import node_codec
from qcore.node.runtime.inbox import Inbox
from qcore.replica.events import ReplicaEvent
from qcore.runtime.interface import Runtime
from qcore.sim import RunResult, run_scenario
from qcore.sim.world.whole import whole_node
from qcore.transport.address import Address
from qcore.transport.codec import validators
from qcore.transport.codec.validators import UnknownFields
from qcore.transport.connection import outgoing
from qcore.transport.connection.outgoing import OutgoingConnection
from qcore.transport.peers.peer_connector import PeerConnector
from qcore.transport.wire.peers import RaftSnapshot, RaftTimeoutNow

Patch = pytest.MonkeyPatch


def stays_without_a_connection(patch: Patch) -> None:
    """The pool dials a peer until there is a connection. When that is lost, it does not dial again."""

    async def run(connector: PeerConnector) -> None:
        while not connector._stopped:
            try:
                await connector._connect_and_serve()
            except QcoreError as error:
                connector.last_error = str(error)
                connector._report_unreachable()
                if connector.sent:
                    await asyncio.Event().wait()
                await connector._pause(connector.context.limits.backoff_min_s)

    patch.setattr(PeerConnector, "_run", run)


def stays_at_a_dead_leader(patch: Patch) -> None:
    """A client sends to the node that it has chosen, whatever happens there."""
    patch.setattr(Endpoints, "prefer_another", lambda _self, _failed, _error: None)
    patch.setattr(Endpoints, "_is_suspected", lambda _self, _endpoint: False)


def waits_for_a_handshake_for_ever(patch: Patch) -> None:
    """A node or client that connects waits for the answer to its opening handshake without a timeout."""

    async def open_without_timeout(
        factory: Callable[[], OutgoingConnection],
        address: Address,
        ip: str,
        _timeout_s: float,
        runtime: Runtime,
        _tls: object,
    ) -> OutgoingConnection:
        try:
            made = cast(Callable[[], asyncio.Protocol], factory)
            connection = cast(OutgoingConnection, await runtime.connect(made, ip, address.port))
        except OSError as error:
            raise TransportError(f"cannot connect to {address}: {error}") from None
        await connection.opened
        return connection

    patch.setattr(outgoing, "_open", open_without_timeout)


def takes_all_requests_first(patch: Patch) -> None:
    """The inbox gives the replica all requests that wait in one step, and other events only if there are none."""

    def take(inbox: Inbox, now: int) -> list[ReplicaEvent]:
        queue = inbox._requests or inbox._events
        taken: list[ReplicaEvent] = []
        while queue:
            event, size = queue.popleft()
            taken.append(event)
            if size < 0:
                continue
            if queue is inbox._requests:
                inbox._forwards.release(size, now)
            else:
                inbox._messages -= 1
                inbox._message_bytes -= size
        inbox.waiting = bool(inbox._events)
        if inbox.waiting:
            inbox._wake()
        return taken

    patch.setattr(Inbox, "take", take)


def _reads_no_lists_in(patch: Patch, message: type) -> None:
    """The content of a message is read from Python values in place of JSON. There, a list is no tuple."""
    strict_schema = validators._strict_schema

    def read_as_python(
        cls: type, definitions: dict[str, CoreSchema], unknown: UnknownFields, *, union: bool
    ) -> CoreSchema:
        schema = strict_schema(cls, definitions, unknown, union=union)
        if not issubclass(cls, message):
            return schema
        return core_schema.no_info_before_validator_function(lambda values: values, schema)

    patch.setattr(validators, "_strict_schema", read_as_python)
    # Simulated nodes share a codec, also with the tests after this one.
    patch.setattr(whole_node, "shared_codec", node_codec)


def rejects_snapshots(patch: Patch) -> None:
    """A node cannot read the members in a snapshot."""
    _reads_no_lists_in(patch, RaftSnapshot)


def rejects_a_transfer_by_priority(patch: Patch) -> None:
    """A node cannot read the voters that a new leader must reach."""
    _reads_no_lists_in(patch, RaftTimeoutNow)


@dataclass(frozen=True)
class Planted:
    """A bug, the scenario that shows it, and the failed expectation or violation by which it is found."""

    plant: Callable[[Patch], None]
    scenario: str
    found: str


PLANTED = [
    Planted(stays_without_a_connection, "node_reconnects", "same_leader"),
    Planted(stays_at_a_dead_leader, "node_client_failover", "client_program"),
    Planted(waits_for_a_handshake_for_ever, "node_hung_handshake", "converges"),
    Planted(takes_all_requests_first, "node_request_burst", "no_election_after_first"),
    Planted(rejects_snapshots, "node_snapshot", "snapshots_installed"),
    Planted(rejects_a_transfer_by_priority, "node_snapshot", "leader_changes"),
]


def found_in(result: RunResult) -> set[str]:
    """The violated checks, and the expectations that did not hold."""
    failed = {expectation.name for expectation in result.expectations if not expectation.ok}
    return failed | {violation.check for violation in result.violations}


@pytest.mark.parametrize("planted", PLANTED, ids=lambda planted: planted.plant.__name__)
def test_a_planted_bug_is_caught(planted: Planted, monkeypatch: Patch) -> None:
    planted.plant(monkeypatch)
    assert planted.found in found_in(run_scenario(planted.scenario, 1))


@pytest.mark.long
@pytest.mark.parametrize("planted", PLANTED, ids=lambda planted: planted.plant.__name__)
def test_a_planted_bug_is_caught_on_most_seeds(planted: Planted, monkeypatch: Patch) -> None:
    seeds = range(1, 11)
    assert not any(found_in(run_scenario(planted.scenario, seed)) for seed in seeds)
    planted.plant(monkeypatch)
    assert sum(bool(found_in(run_scenario(planted.scenario, seed))) for seed in seeds) >= 8
