"""A hostile client: it sends frames without waiting, and reads responses only on demand.

It implements just enough of WebSocket. Every call ends: a server that accepts nothing more or drops the connection is a
result, not an error.
"""

from __future__ import annotations

import base64
import json
import os
import select
import socket
import time
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Self, TypeAlias

Json: TypeAlias = dict[str, Any]

_TEXT, _CLOSE, _PING = 1, 8, 9
_READ_BYTES = 1 << 20
#: The maximum number of envelopes in a frame of `requests`, and the approximate maximum of characters.
_BATCH, _BATCH_CHARS = 200, 500_000
#: The maximum number of requests in progress: fewer than make a node overloaded.
_WINDOW = 4_000


class Attacker:
    """One connection to one node.

    Args:
        address: `host:port`.

    Attributes:
        closed: the server ended the connection, with `close_code` if it sent one.
        replies: received envelopes that were not yet processed, in order.
    """

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._socket = socket.create_connection((host, int(port)), timeout=20)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._out: list[memoryview] = []
        self._in = bytearray()
        self.closed = False
        self.close_code: int | None = None
        self.replies: list[Json] = []
        key = base64.b64encode(os.urandom(16)).decode()
        self._socket.sendall(
            f"GET / HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        while b"\r\n\r\n" not in self._in:
            data = self._socket.recv(_READ_BYTES)
            if not data:
                break
            self._in += data
        head, _, rest = bytes(self._in).partition(b"\r\n\r\n")
        if b" 101 " not in head:
            self.close()
            raise ConnectionError(f"{address} did not accept a connection: {head[:100]!r}")
        self._in = bytearray(rest)
        self._socket.setblocking(False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the connection without a close frame. Idempotent."""
        self.closed = True
        self._socket.close()

    def send(self, text: str | bytes) -> None:
        """Queue a text frame, which `run` sends."""
        payload = text.encode() if isinstance(text, str) else text
        size = len(payload)
        if size < 126:
            head = bytes((0x80 | _TEXT, 0x80 | size))
        elif size < 1 << 16:
            head = bytes((0x80 | _TEXT, 0x80 | 126)) + size.to_bytes(2)
        else:
            head = bytes((0x80 | _TEXT, 0x80 | 127)) + size.to_bytes(8)
        # A mask of zeros leaves the payload as it is.
        self._out += [memoryview(head + bytes(4)), memoryview(payload)]

    def send_bytes(self, data: bytes) -> None:
        """Queue bytes as they are: frames of any kind, also forbidden ones."""
        self._out.append(memoryview(data))

    def run(self, replies: int, timeout_s: float, *, read: bool = True) -> bool:
        """Send the queued frames, and read until there are `replies` envelopes.

        Args:
            replies: the number of envelopes to wait for; 0 only sends.
            timeout_s: the timeout of the call.
            read: False reads nothing from the socket, so that replies accumulate at the server.

        Returns:
            whether everything was sent and enough replies arrived.
        """
        deadline = time.monotonic() + timeout_s
        while not self.closed:
            if not self._out and (not read or len(self.replies) >= replies):
                return len(self.replies) >= replies
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                return False
            waiting = [self._socket]
            readable, writable, _ = select.select(
                waiting if read else (), waiting if self._out else (), (), left_s
            )
            try:
                if readable:
                    self._receive()
                if writable and not self.closed:
                    self._transmit()
            except OSError:
                self.close()
        return not self._out and len(self.replies) >= replies

    def requests(self, requests: Iterable[Json], timeout_s: float) -> list[Json]:
        """Send `Perform`s with these fields in large frames, and return the responses that arrived.

        Args:
            requests: the fields of each, without `id`.
            timeout_s: the timeout for all of them together.
        """
        deadline = time.monotonic() + timeout_s
        self.replies.clear()
        count, chars, batch = 0, 0, list[str]()
        for fields in requests:
            text = json.dumps({"Perform": {"id": str(count), **fields}})
            if batch and (len(batch) == _BATCH or chars + len(text) > _BATCH_CHARS):
                self.send(f"[{','.join(batch)}]")
                self.run(count - _WINDOW, deadline - time.monotonic())
                chars, batch = 0, []
            count += 1
            batch.append(text)
            chars += len(text)
        if batch:
            self.send(f"[{','.join(batch)}]")
        self.run(count, deadline - time.monotonic())
        taken, self.replies = self.replies, []
        return taken

    def _transmit(self) -> None:
        while self._out:
            try:
                sent = self._socket.send(self._out[0])
            except BlockingIOError:
                return
            if sent < len(self._out[0]):
                self._out[0] = self._out[0][sent:]
            else:
                self._out.pop(0)

    def _receive(self) -> None:
        data = self._socket.recv(_READ_BYTES)
        if not data:
            self.close()
            return
        self._in += data
        while (frame := self._next_frame()) is not None:
            opcode, payload = frame
            if opcode == _CLOSE:
                self.close_code = int.from_bytes(payload[:2]) if payload else None
                self.close()
                return
            if opcode == _PING:
                head = bytes((0x80 | 10, 0x80 | len(payload)))
                self._out.append(memoryview(head + bytes(4) + payload))
            elif opcode == _TEXT:
                decoded = json.loads(payload)
                self.replies += decoded if isinstance(decoded, list) else [decoded]

    def _next_frame(self) -> tuple[int, bytes] | None:
        """The opcode and payload of the next frame. qcore sends every message in one frame."""
        if len(self._in) < 2:
            return None
        size, at = self._in[1] & 0x7F, 2
        if size == 126:
            size, at = int.from_bytes(self._in[2:4]), 4
        elif size == 127:
            size, at = int.from_bytes(self._in[2:10]), 10
        if len(self._in) < at + size:
            return None
        opcode, payload = self._in[0] & 0x0F, bytes(self._in[at : at + size])
        del self._in[: at + size]
        return opcode, payload
