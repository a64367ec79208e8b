"""An attacker with raw sockets, which uses no client code of qcore, and the cluster that it attacks."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from qcore.client import Entity, SyncClient
from qcore.processes import NodeProcess, ProcessCluster

#: What no attacker may read: the value of a field, and the passwords of users.
SECRET = "the secret in the state"
ROOT_PASSWORD = "correct horse battery"
BOB_PASSWORD = "bobs own secret"

_REPLY_S = 5.0


class Wire:
    """One connection with raw bytes, over TLS if the target uses TLS.

    Attributes:
        received: all bytes that came, except those of the TLS layer.
    """

    def __init__(self, address: str, context: ssl.SSLContext | None) -> None:
        host, _, port = address.rpartition(":")
        plain = socket.create_connection((host, int(port)), timeout=_REPLY_S)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = plain if context is None else context.wrap_socket(plain, server_hostname=host)
        self.received = bytearray()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Send bytes. A connection that the node has closed takes them, too."""
        with contextlib.suppress(OSError):
            self.socket.sendall(data)

    def read_to_end(self, timeout_s: float = _REPLY_S) -> bytes:
        """Read until the other end closes, or until the timeout."""
        deadline = time.monotonic() + timeout_s
        with contextlib.suppress(OSError):
            while (left_s := deadline - time.monotonic()) > 0:
                self.socket.settimeout(left_s)
                data = self.socket.recv(1 << 16)
                if not data:
                    break
                self.received += data
        return bytes(self.received)


class Stranger(Wire):
    """A WebSocket connection that is open, if `status` is 101.

    Args:
        address: the node.
        context: for TLS.
        headers: further lines of the HTTP request.
        path: what the request asks for.
    """

    def __init__(
        self,
        address: str,
        context: ssl.SSLContext | None,
        *headers: str,
        path: str = "/",
        host: str | None = None,
    ) -> None:
        super().__init__(address, context)
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [
            f"GET {path} HTTP/1.1",
            f"Host: {host or address}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Key: {key}",
            "Sec-WebSocket-Version: 13",
            *headers,
        ]
        self.send(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
        self.status, self._unread = 0, bytearray()
        while b"\r\n\r\n" not in self._unread and self._fill():
            pass
        head, found, rest = bytes(self._unread).partition(b"\r\n\r\n")
        if found:
            self.status = int(head.split(b" ", 2)[1])
        self._unread = bytearray(rest)

    def say(self, message: object) -> None:
        """Send one envelope, or text as it is."""
        text = message if isinstance(message, str) else json.dumps(message)
        self.send(frame(text.encode()))

    def receive(self) -> Any:
        """The next frame of text, decoded; None at the end of the connection, or after the timeout."""
        while True:
            found = self._frame()
            if found is None:
                if not self._fill():
                    return None
            elif found[0] == 8:
                self.socket.close()
                return None
            elif found[0] == 1:
                return json.loads(found[1])

    def exchange(self, frame: str | bytes | object) -> tuple[str, dict[str, Any]]:
        """Send one envelope; the name and the value of the answer, which are empty if there is none."""
        self.say(frame)
        answer = self.receive()
        if not isinstance(answer, dict):
            return "", {}
        ((name, value),) = answer.items()
        return name, value

    def _fill(self) -> bool:
        try:
            self.socket.settimeout(_REPLY_S)
            data = self.socket.recv(1 << 16)
        except OSError:
            return False
        self._unread += data
        self.received += data
        return bool(data)

    def _frame(self) -> tuple[int, bytes] | None:
        got = self._unread
        if len(got) < 2:
            return None
        size, at = got[1] & 0x7F, 2
        if size == 126:
            size, at = int.from_bytes(got[2:4]), 4
        elif size == 127:
            size, at = int.from_bytes(got[2:10]), 10
        if len(got) < at + size:
            return None
        kind, payload = got[0] & 0x0F, bytes(got[at : at + size])
        del got[: at + size]
        return kind, payload


def frame(payload: bytes, first: int = 0x81) -> bytes:
    """A frame of a client; its mask of zeros leaves the payload as it is. `first`: FIN and the kind."""
    size = len(payload)
    if size < 126:
        head = bytes((first, 0x80 | size))
    elif size < 1 << 16:
        head = bytes((first, 0x80 | 126)) + size.to_bytes(2)
    else:
        head = bytes((first, 0x80 | 127)) + size.to_bytes(8)
    return head + bytes(4) + payload


@dataclass(slots=True)
class Target:
    """The cluster under attack, and its honest client.

    Attributes:
        cluster: three nodes with a leader, whose state holds `SECRET`.
        honest: a client with every right.
        entity: what it writes to.
        leader_id: the leader.
        tls: the context of a stranger who has a certificate of the cluster's authority; None without TLS.
        has_users: whether there are the users `root` (admin) and `bob`, who may only observe.
        writes: the honest writes since the start.
        got: everything that the attacker has received.
    """

    cluster: ProcessCluster
    honest: SyncClient
    entity: Entity
    leader_id: int
    tls: ssl.SSLContext | None = None
    has_users: bool = False
    writes: int = 0
    got: list[bytes] = field(default_factory=list)

    @property
    def leader(self) -> NodeProcess:
        """The leader, which no attack may change."""
        return self.cluster.nodes[self.leader_id]

    @property
    def follower(self) -> NodeProcess:
        """A node that does not lead."""
        leader = self.leader
        return next(node for node in self.cluster.nodes.values() if node is not leader)

    @property
    def cluster_id(self) -> str:
        """The cluster's id, which is no secret."""
        found = self.honest.get_metrics()["qcore"]["cluster_id"]
        assert found is not None
        return found

    @contextmanager
    def wire(self, node: NodeProcess | None = None, *, tls: bool = True) -> Iterator[Wire]:
        """Raw bytes to a node; `tls=False`: without TLS, also where the node uses it."""
        with Wire((node or self.follower).address, self.tls if tls else None) as wire:
            try:
                yield wire
            finally:
                self.got.append(bytes(wire.received))

    @contextmanager
    def stranger(
        self,
        *headers: str,
        node: NodeProcess | None = None,
        path: str = "/",
        host: str | None = None,
    ) -> Iterator[Stranger]:
        """A WebSocket connection to a node."""
        address = (node or self.follower).address
        with Stranger(address, self.tls, *headers, path=path, host=host) as stranger:
            try:
                yield stranger
            finally:
                self.got.append(bytes(stranger.received))

    def http(
        self, request: str | bytes, node: NodeProcess | None = None, timeout_s: float = _REPLY_S
    ) -> bytes:
        """Send one HTTP request as it is, and return all that comes."""
        data = request if isinstance(request, bytes) else request.encode("latin-1")
        with self.wire(node) as wire:
            wire.send(data)
            return wire.read_to_end(timeout_s)

    def get(self, path: str, *headers: str, node: NodeProcess | None = None) -> int:
        """The status of the response to a GET; 0 without one."""
        lines = [f"GET {path} HTTP/1.1", "Host: 127.0.0.1", *headers]
        answer = self.http("\r\n".join(lines) + "\r\n\r\n", node)
        return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.") else 0

    def write(self) -> None:
        """An honest write and an honest read."""
        self.writes += 1
        text = f"honest {self.writes}"
        self.honest.write(self.entity, "Note", text)
        assert self.honest.read(self.entity, "Note") == text
        assert self.honest.read(self.entity, "Secret") == SECRET


def error_code(answer: tuple[str, dict[str, Any]]) -> str:
    """The code of the error in an answer; `closed` without an answer, `ok` for a success."""
    name, value = answer
    if not name:
        return "closed"
    detail = value.get("detail")
    if isinstance(detail, dict):
        return str(detail.get("code"))
    failed = "error" in value or "Err" in (value.get("response") or {})
    return "error" if failed else "ok"
