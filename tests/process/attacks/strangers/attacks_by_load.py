"""Attacks that try to stop or exhaust: slow handshakes, floods, odd frames, sizes. An honest client works meanwhile."""

from __future__ import annotations

import json
import socket
from contextlib import ExitStack

from qcore.security.keys.node_key import NodeKey
from tests.process.attacks.strangers.stranger import Target, error_code, frame
from tests.process.support.raw_peer import hello_of

_OWN = NodeKey(b"a stranger's seed, 32 bytes long")
_SLOW_PEER = ("Qcore-Role: peer",)


def _open_sockets(target: Target, number: int, opening: bytes) -> None:
    """Open connections, send each a beginning, and hold all of them while an honest client works."""
    host, _, port = target.follower.address.rpartition(":")
    with ExitStack() as held:
        for _ in range(number):
            try:
                each = held.enter_context(socket.create_connection((host, int(port)), 5))
                each.sendall(opening)
            except OSError:
                continue  # refused: good
        target.write()


def slow_handshakes(target: Target) -> None:
    """Connections that send nothing, half a request line, or half a TLS record."""
    for opening in (b"", b"GET / HTTP/1.1\r\nHost: ", b"\x16\x03\x01\x02\x00\x01"):
        _open_sockets(target, 80, opening)


def slow_handshakes_by_the_thousand(target: Target) -> None:
    """The same with more connections than a node accepts, again and again: what they leave behind must not add up."""
    for opening in 4 * (b"", b"GET / HTTP/1.1\r\nHost: ", b"\x16\x03\x01\x02\x00\x01"):
        _open_sockets(target, 900, opening)


def announced_peers_without_hello(target: Target) -> None:
    """Connections that announce a peer and then wait, or say `Hello` and never prove it."""
    node, known = target.follower, target.cluster_id
    with ExitStack() as held:
        for number in range(60):
            stranger = held.enter_context(target.stranger(*_SLOW_PEER, node=node))
            if number % 2 and stranger.status == 101:
                stranger.say({"Hello": hello_of(1 + number % 3, known, _OWN)})
        target.write()


def flood_of_hellos(target: Target) -> None:
    """Handshakes one after the other: each would cost the node a signature."""
    node, known = target.follower, target.cluster_id
    for _ in range(60):
        with target.stranger(*_SLOW_PEER, node=node) as stranger:
            stranger.exchange({"Hello": hello_of(2, known, _OWN)})
    target.write()


def odd_frames(target: Target) -> None:
    """Frames that the protocol forbids, JSON of every bad shape, and ids and names that are far too large."""
    deep = b"[" * 100_000
    payloads = (
        b"",
        b"\xff\xfe",
        b"null",
        b"[]",
        b"{}",
        b'{"Perform":null}',
        b'{"a":1,"b":2}',
        b'{"__class__":{"id":"1"}}',
        b'{"Perform":{"id":"1","request":' + deep + b"}}",
        deep,
        b'{"a":' * 50_000,
        b'{"Perform":{"id":' + b"9" * 5000 + b"}}",
        b'{"WhoAmI":{"id":"1","x":NaN}}',
        b'{"WhoAmI":{"id":"1","x":1e999}}',
        b'{"WhoAmI":{"id":"1","id":"2"}}',
        json.dumps({"WhoAmI": {"id": "x" * 1_000_000}}).encode(),
        json.dumps({"x" * 1_000_000: {"id": "1"}}).encode(),
        b'{"WhoAmI":{"id":"\\ud800"}}',
        b'{"WhoAmI":{"id":"\\u0000\\r\\n"}}',
    )
    for payload in payloads:
        with target.stranger() as stranger:
            stranger.say(payload.decode("latin-1"))
            assert error_code(stranger.exchange(payload.decode("latin-1"))) in (
                *("closed", "RemoteProtocolError", "error", "FrameTooLarge"),
                *("ok",),  # a node that answers `WhoAmI` says nothing about other clients
            )
    forbidden = (
        frame(b"x", 0xC1),  # a reserved bit
        frame(b"x", 0x83),  # a reserved kind
        frame(b"x" * 126, 0x89),  # a large ping
        frame(b"x", 0x09),  # a ping in parts
        frame(b"x", 0x80),  # a continuation of nothing
        frame(b"x", 0x01) + frame(b"y", 0x01),  # a beginning within a message
        frame(b"\x03", 0x88),
        frame(b"\x03\xe8" + b"\xff" * 20, 0x88),
        b"\x81\x01x",  # without a mask
        b"\x81\xff" + (2**63).to_bytes(8) + bytes(4),
        b"\x81\xff" + (2**40).to_bytes(8) + bytes(4) + bytes(1000),
    )
    for data in forbidden:
        with target.stranger() as stranger:
            stranger.send(data)
            assert stranger.receive() is None


def floods(target: Target) -> None:
    """Thousands of small messages, of pings and of parts of a frame that never ends, without reading a reply."""
    many = json.dumps([{"WhoAmI": {"id": str(n)}} for n in range(2000)])
    unknown = json.dumps([{"Nonsense": {"id": str(n)}} for n in range(2000)])
    with ExitStack() as held:
        for data in (
            frame(many.encode()) * 5,
            frame(unknown.encode()) * 5,
            frame(b"x" * 100, 0x89) * 5000,
            frame(b"[", 0x01) + frame(b" ", 0x00) * 20_000,
            frame(b"\x00" * 4_000_000),
        ):
            stranger = held.enter_context(target.stranger())
            stranger.socket.settimeout(0.2)
            stranger.send(data)
        target.write()


def floods_by_the_million(target: Target) -> None:
    """The same for longer, on many connections."""
    for _ in range(20):
        floods(target)


ATTACKS = (
    slow_handshakes,
    slow_handshakes_by_the_thousand,
    announced_peers_without_hello,
    flood_of_hellos,
    odd_frames,
    floods,
    floods_by_the_million,
)
#: Too long for every run of the tests.
LONG = (slow_handshakes_by_the_thousand, floods_by_the_million)
