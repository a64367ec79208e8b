"""What a stranger can make a node write to its log and audit log: thousands of attempts add a bounded number of bytes.

One cluster has the defaults, and one has TLS, users and an audit log.
"""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from qcore.testing import LocalCluster
from tests.process.attacks.strangers.attacked_clusters import AUDIT, secured_target
from tests.process.attacks.strangers.attacks_on_users import basic

pytestmark = [pytest.mark.process, pytest.mark.long, pytest.mark.timeout(900)]

ATTEMPTS = 2_000
#: A TLS handshake takes milliseconds. So many lines would still be too much for the lower bound.
ATTEMPTS_WITH_TLS = 300
#: 20 lines immediately, and one a minute after that, of at most 2 KiB; a few kinds of lines for one attack.
MOST_BYTES = 60_000
MOST_BYTES_WITH_TLS = 30_000

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


#: More attacks where there are users.
ATTACKS_ON_USERS: dict[str, Callable[[int], bytes]] = {
    "no user for a page": lambda n: page(),
    "refused change": lambda n: upgrade() + message("SetUser", name=f"eve{n}", roles=["admin"]),
    "wrong token": lambda n: page(f"Authorization: Bearer x{n}.y.z"),
    "wrong password": lambda n: page(basic(f"eve{n}", "wrong password")),
    "odd header": lambda n: page(f"Authorization: Scheme{n} x"),
    "token in a message": lambda n: upgrade() + message("Authenticate", token=f"x{n}.y.z"),
    "password in a message": lambda n: (
        upgrade() + message("Authenticate", user=f"eve{n}", password="wrong password")
    ),
}


def page(*headers: str) -> bytes:
    """A request for a page."""
    lines = "".join(f"{each}\r\n" for each in ("Host: localhost", *headers))
    return f"GET /status HTTP/1.1\r\n{lines}\r\n".encode()


def send(address: tuple[str, int], data: bytes, tls: ssl.SSLContext | None) -> None:
    """Send bytes, read the answer to its end, and leave."""
    with contextlib.suppress(OSError), socket.create_connection(address, timeout=5) as plain:
        if tls is None or data.startswith(b"\x16"):
            plain.sendall(data)
            plain.shutdown(socket.SHUT_WR)
            while plain.recv(1 << 16):
                pass
            return
        # TLS has no end of one direction alone.
        end = frame(b"", opcode=8) if b"Upgrade" in data else b""
        with tls.wrap_socket(plain, server_hostname=address[0]) as stream:
            stream.sendall(data + end)
            while stream.recv(1 << 16):
                pass


def growth(
    address: str,
    attacks: dict[str, Callable[[int], bytes]],
    attempts: int,
    files: list[Path],
    tls: ssl.SSLContext | None = None,
) -> dict[str, dict[str, int]]:
    """By attack and file, how many bytes the attempts added."""
    host, _, port = address.rpartition(":")
    grown: dict[str, dict[str, int]] = {}
    for name, attempt in attacks.items():
        before = {file.name: file.stat().st_size for file in files}
        for n in range(attempts):
            send((host, int(port)), attempt(n), tls)
        grown[name] = {file.name: file.stat().st_size - before[file.name] for file in files}
    return grown


def assert_bounded(
    grown: dict[str, dict[str, int]], bound: int, written: dict[str, tuple[str, ...]]
) -> None:
    """Fail if an attack added too much; or if one of `written`, by file, added nothing, so that nothing was tested."""
    sizes = [size for by_file in grown.values() for size in by_file.values()]
    assert all(size <= bound for size in sizes), grown
    for file, names in written.items():
        for name in names:
            assert grown[name][file], f"{name}: no line in {file}: {grown}"


def test_floods_of_a_stranger_do_not_fill_the_log(tmp_path: Path) -> None:
    directory = tmp_path / "cluster"
    with LocalCluster(1, directory=directory) as cluster:
        log = directory / "node1.log"
        grown = growth(cluster.endpoints[0], ATTACKS, ATTEMPTS, [log])
        assert_bounded(grown, MOST_BYTES, {log.name: ("host", "origin", "hello")})


def test_floods_do_not_fill_the_logs_of_a_secured_cluster(tmp_path: Path) -> None:
    with secured_target(tmp_path) as target:
        node = target.follower
        audit = tmp_path / AUDIT
        attacks = {**ATTACKS, **ATTACKS_ON_USERS}
        files = [node.log_path, audit]
        grown = growth(node.address, attacks, ATTEMPTS_WITH_TLS, files, target.tls)
        refused = ("no user for a page", "refused change", "wrong token", "token in a message")
        written = {
            node.log_path.name: ("host", "origin", "hello"),
            audit.name: (*refused, "wrong password"),
        }
        assert_bounded(grown, MOST_BYTES_WITH_TLS, written)
        target.write()
