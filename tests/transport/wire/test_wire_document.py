"""`docs/reference/wire.md` is correct: its examples are sent to a real node, and its shapes are those of the codec."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from qcore.processes import ProcessCluster
from qcore.transport.limits import TransportLimits
from qcore.transport.wire import (
    PEER_REQUESTS,
    PEER_RESPONSES,
    REGISTRY,
    HelloProof,
    HelloProofResponse,
)
from tests.docs.test_wire_reference import validator
from tests.transport.support.endpoints import CODEC
from tests.transport.support.wire_examples import WIRE_DOCUMENT, Block, blocks, fill_in, matches


class Reader:
    """Follows the document example by example, as a reader would.

    Args:
        address: the node's.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        self._stack = ExitStack()
        self._connections: dict[str, ClientConnection] = {}
        self._waiting: dict[str, list[object]] = {}
        self._names: dict[str, object] = {}

    def follow(self, block: Block) -> None:
        """Send the block, or receive a response and compare it."""
        if block.connection not in self._connections:
            connecting = connect(f"ws://{self._address}/", proxy=None)
            self._connections[block.connection] = self._stack.enter_context(connecting)
        connection = self._connections[block.connection]
        if block.kind == "send":
            connection.send(fill_in(block.text, self._names))
        elif block.language == "text":
            with pytest.raises(ConnectionClosed) as closed:
                connection.recv(timeout=10)
            assert closed.value.rcvd is not None, f"wire.md:{block.line}"
            assert f"closed {closed.value.rcvd.code}" == block.text, f"wire.md:{block.line}"
        else:
            seen = self._receive(block.connection)
            expected = json.loads(block.text)
            assert matches(expected, seen, self._names), f"wire.md:{block.line}: {seen}"
            assert validator().is_valid(seen), f"wire.md:{block.line}: not in the schema: {seen}"

    def close(self) -> None:
        self._stack.close()

    def _receive(self, name: str) -> object:
        waiting = self._waiting.setdefault(name, [])
        if not waiting:
            value = json.loads(self._connections[name].recv(timeout=10))
            waiting += value if isinstance(value, list) else [value]
        return waiting.pop(0)


@pytest.mark.process
def test_a_real_node_answers_every_example_as_written(tmp_path: Path) -> None:
    examples = [block for block in blocks() if block.kind != "shape"]
    assert len([block for block in examples if block.kind == "send"]) > 12
    with ProcessCluster(tmp_path, size=1) as cluster:
        cluster.start()
        reader = Reader(cluster.endpoints[0])
        try:
            for block in examples:
                reader.follow(block)
        finally:
            reader.close()
        assert "Traceback" not in cluster.nodes[1].log_text()


def test_the_shapes_are_exactly_what_the_codec_reads_and_writes() -> None:
    shown = set()
    for block in blocks():
        if block.kind == "shape":
            (message,) = CODEC.decode(block.text.encode())
            assert json.loads(CODEC.encode(message)) == json.loads(block.text), (
                f"wire.md:{block.line}"
            )
            shown.add(type(message))
    assert shown == {*PEER_REQUESTS, *PEER_RESPONSES, HelloProof, HelloProofResponse}


def test_every_message_is_mentioned() -> None:
    document = WIRE_DOCUMENT.read_text()
    for name in REGISTRY:
        assert f"`{name}`" in document or f'"{name}"' in document, name


def test_the_limits_are_the_real_ones() -> None:
    limits, document = TransportLimits(), WIRE_DOCUMENT.read_text()
    for text in (
        f"| {limits.max_client_frame_bytes >> 20} MiB + 64 KiB; after `Hello` "
        f"{limits.max_frame_bytes >> 20} MiB | closed with 1009 |",
        f"| {limits.ping_interval_s:g} s | the node pings; "
        f"{limits.dead_after_s - limits.ping_interval_s:g} s after",
        f"| {limits.send_stall_s:g} s, or {limits.max_queue_bytes >> 20} MiB | dropped |",
        f"| {limits.handshake_timeout_s:g} s; {limits.max_handshakes} of them",
        f"| clients | {limits.max_clients} | HTTP 503 |",
        f"| {limits.hello_timeout_s:g} s; {limits.reserved_for_peers} of them | closed with 1008",
        f"| the closing handshake | {limits.close_timeout_s:g} s | dropped |",
        f"after {limits.backoff_min_s * 1000:g} ms",
        f"after a refused `Hello`, {limits.refused_backoff_s:g} s",
    ):
        assert text in document, text


def test_patterns_match_what_they_should_and_no_more() -> None:
    names: dict[str, object] = {}
    assert matches({"a": "<x>", "b": ["<x>"]}, {"a": 1, "b": [1]}, names)
    assert not matches("<x>", 2, names)
    assert fill_in('{"id": "<x>"}', names) == '{"id": 1}'
    assert matches({"...": None, "a": 1}, {"a": 1, "c": 2}, names)
    for pattern, value in (
        ({"a": 1}, {"a": 1, "c": 2}),
        ({"a": 1, "b": 1}, {"a": 1}),
        ({"...": None, "a": 1}, {"c": 2}),
        ([1], [1, 2]),
        (1, True),
        ({}, []),
    ):
        assert not matches(pattern, value, names)
