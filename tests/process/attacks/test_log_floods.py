"""What a stranger can make a node write to its log: 10,000 attempts of each kind add a bounded number of bytes."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from qcore.testing import LocalCluster

pytestmark = [pytest.mark.process, pytest.mark.long]

ATTEMPTS = 10_000
#: 20 lines immediately, and one a minute after that, of at most 2 KiB; a few kinds of lines for one attack.
MOST_BYTES = 60_000

_HEAD = (
    "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
)


def frame(payload: bytes, opcode: int = 1) -> bytes:
    """A masked frame, with a mask of zeros."""
    size = len(payload)
    length = bytes((0x80 | size,)) if size < 126 else bytes((0xFE,)) + size.to_bytes(2)
    return bytes((0x80 | opcode,)) + length + bytes(4) + payload


def upgrade(*headers: str) -> bytes:
    """The request for a WebSocket connection."""
    return (_HEAD + "".join(f"{each}\r\n" for each in headers) + "\r\n").encode()


def message(kind: str, **fields: object) -> bytes:
    """A frame with one message."""
    return frame(json.dumps({kind: {"id": "1", **fields}}).encode())


#: For each attack, the bytes of attempt `n`. Names differ, so that lines are not alike by chance.
ATTACKS: dict[str, Callable[[int], bytes]] = {
    "bad http": lambda n: f"GET /{n} HTTP/9.{n}\r\n\r\n".encode(),
    "method": lambda n: f"POST{n} / HTTP/1.1\r\n\r\n".encode(),
    "tls": lambda n: b"\x16\x03\x01" + n.to_bytes(4),
    "host": lambda n: f"GET /status HTTP/1.1\r\nHost: h{n}.example\r\n\r\n".encode(),
    "origin": lambda n: upgrade(f"Origin: http://h{n}.example"),
    "bad frame": lambda n: upgrade() + frame(n.to_bytes(4), 3 + n % 5),
    "bad text": lambda n: upgrade() + frame(b"\xff" + n.to_bytes(4)),
    "bad json": lambda n: upgrade() + frame(f"{{{n}".encode()),
    "unknown": lambda n: upgrade() + message(f"Unknown{n}"),
    "hello": lambda n: (
        upgrade("Qcore-Role: peer")
        + message("Hello", protocol=1, node_id=n + 2, cluster_id=f"c{n}" * 100, role="peer")
    ),
    "hello of another version": lambda n: (
        upgrade() + message("Hello", protocol=n + 9, node_id=2, cluster_id="", role="peer")
    ),
    "no proof": lambda n: upgrade("Qcore-Role: peer") + message("GetMetrics"),
    "peer message": lambda n: upgrade() + message("RequestVote", term=n),
}


def send(address: tuple[str, int], data: bytes) -> None:
    """Send bytes, wait for the beginning of the answer, and leave."""
    with contextlib.suppress(OSError), socket.create_connection(address, timeout=5) as stream:
        stream.sendall(data)
        stream.shutdown(socket.SHUT_WR)
        while stream.recv(1 << 16):
            pass


def test_floods_of_a_stranger_do_not_fill_the_log(tmp_path: Path) -> None:
    directory = tmp_path / "cluster"
    with LocalCluster(1, directory=directory) as cluster:
        host, _, port = cluster.endpoints[0].rpartition(":")
        log = directory / "node1.log"
        grown: dict[str, int] = {}
        for name, attempt in ATTACKS.items():
            before = log.stat().st_size
            for n in range(ATTEMPTS):
                send((host, int(port)), attempt(n))
            grown[name] = log.stat().st_size - before
        assert all(size <= MOST_BYTES for size in grown.values()), grown
        for name in ("host", "origin", "hello"):
            assert grown[name], f"{name}: no line, so this test proves nothing"
