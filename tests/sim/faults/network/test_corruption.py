"""Corrupted messages: the receiver finds the damage, drops the message, and both ends lose their connection."""

from __future__ import annotations

import dataclasses
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qcore.core.entry import Entry
from qcore.core.messages import AppendEntries, RequestVoteResponse
from qcore.replica.messages import Forward, PeerMessage
from qcore.sim import World
from qcore.sim.world.closed_connections import close_connection
from qcore.sim.world.corruption import corrupt
from qcore.sim.world.network import Link
from qcore.trace import TraceRecord, TraceWriter, parse_trace
from tests.sim.support.message_nodes import message_nodes
from tests.sim.support.scenario_texts import failures, run, scenario

ENTRIES = [Entry(7, 2, "command", "set x 1", 5), Entry(8, 3, "noop", "", 6)]
MESSAGES: list[PeerMessage] = [
    RequestVoteResponse(1, True),
    AppendEntries(3, 1, 6, 2, 6, ENTRIES),
    Forward(1, "write", "set y 2", 100),
]


def trace(
    timeline: str, *, network: str = "{latency_ms: [1, 5]}", workload: str = "{clients: 2}"
) -> tuple[World, list[TraceRecord]]:
    writer = TraceWriter(keep=True)
    world = World(scenario(timeline, network=network, workload=workload), 1, writer)
    world.run()
    return world, list(parse_trace(writer.lines()))


@given(st.sampled_from(MESSAGES), st.integers(0, 2**32))
def test_a_damaged_message_differs_and_is_detected(message: PeerMessage, seed: int) -> None:
    before = repr(message)
    frame = corrupt(message, Random(seed), between_nodes=True)
    assert type(frame.payload) is type(message)
    assert frame.payload != message
    assert not frame.is_intact
    assert repr(message) == before, "the sender's copy stays as it is"
    assert dataclasses.replace(frame, payload=message).is_intact


def test_a_damaged_message_of_a_client_keeps_its_operation() -> None:
    message = RequestVoteResponse(1, True)
    frame = corrupt(message, Random(1), between_nodes=False)
    assert frame.payload is message
    assert not frame.is_intact


def test_each_corrupted_message_is_dropped_and_counted() -> None:
    world, records = trace("[{at_ms: 1000, corrupt: {rate: 0.3, between: [1, 2]}, for_ms: 1000}]")
    drops = [r for r in records if r.kind == "drop" and r.fields["note"] == "corrupt"]
    (fault,) = world.ledger
    assert fault.acted == len(drops) > 10
    assert {(r.node, r.fields["from"]) for r in drops} == {(1, 2), (2, 1)}
    assert all(1_000_000 <= r.t_us < 2_010_000 for r in drops)
    received = {r.fields["id"] for r in records if r.kind == "recv"}
    assert received.isdisjoint({r.fields["id"] for r in drops})


def test_a_corrupted_message_costs_the_connection() -> None:
    text = scenario("[{at_ms: 1000, corrupt: {rate: 1.0, from: 1, to: 2}, for_ms: 300}]")
    world = World(text, 1, TraceWriter())
    connected: list[bool] = []

    def is_connected(node: int, peer: int) -> bool:
        nodes = message_nodes(world)
        own, other = nodes[node].peer_connections, nodes[peer].peer_connections
        assert own is not None
        assert other is not None
        return own.is_connected(other)

    def on_close(link: Link, payload: object) -> None:
        close_connection(world.network, link, payload)
        connected.append(is_connected(link.target, link.source))

    world.network.on_close = on_close
    world.run()
    assert connected
    assert not any(connected), "the receiver closes it"
    assert is_connected(1, 2), "the next messages opened another one"
    assert is_connected(2, 1)


@pytest.mark.parametrize("watchers", [0, 2])
def test_clients_learn_that_their_connection_was_lost(watchers: int) -> None:
    world, records = trace(
        "[]",
        network="{latency_ms: 1, clients: {corrupt: 0.1}}",
        workload=f"{{clients: 3, rate_per_s: 100, start_ms: 1000, watchers: {watchers}}}",
    )
    assert [fault.name for fault in world.ledger] == ["network.clients.corrupt"]
    assert world.ledger.idle() == []
    lost = [op for op in world.history if op.note == "connection lost"]
    assert lost
    assert all(op.return_us - op.invoke_us < 50_000 for op in lost), "long before the timeout"
    if watchers:
        ended = [r.fields["note"] for r in records if r.kind == "watch"]
        assert "connection lost" in ended


def test_a_cluster_survives_heavy_corruption() -> None:
    result = run(
        "[{at_ms: 2000, corrupt: 0}]",
        "{safe: true, converges: true, acknowledged_writes_present: true}",
        network="{latency_ms: [1, 5], corrupt: 0.2, clients: {corrupt: 0.2}}",
        until_ms="4000",
    )
    assert result.ok, failures(result)
