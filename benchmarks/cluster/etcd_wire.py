"""Requests to etcd, encoded before the load begins: JSON over HTTP/1.1, or gRPC over HTTP/2.

HTTP/1.1 has one request in flight on a connection. etcd translates its JSON for the gRPC server inside it. gRPC has
many requests in flight on a connection, and is what etcd's clients use.
"""

from __future__ import annotations

import base64
import json
import socket
from collections.abc import Iterable, Sequence

from benchmarks.cluster.wire import Load, LoadError, connect


class HttpWire:
    """One HTTP/1.1 connection that stays open, with one slot."""

    def __init__(self, load: Load, slots: int) -> None:
        if slots != 1:
            raise LoadError("HTTP/1.1 has one request in flight on a connection")
        self.answer = b""
        self.failure = b""
        self._buffer = b""
        body = {"key": _base64(load.target)}
        if load.operation == "write":
            body["value"] = _base64(load.value)
        path = "/v3/kv/put" if load.operation == "write" else "/v3/kv/range"
        content = json.dumps(body).encode()
        head = f"POST {path} HTTP/1.1\r\nHost: {load.endpoint}\r\nContent-Length: {len(content)}\r\n\r\n"
        self._request = head.encode() + content
        #: A put was decided at a revision; a range must return the value.
        self._sign = b'"revision":"'
        if load.operation == "read":
            self._sign = f'"value":"{_base64(load.value)}"'.encode()

    def open(self, address: tuple[str, int]) -> socket.socket:
        """Connect."""
        return connect(address)

    def request(self, slots: Sequence[int]) -> bytes:
        """The one request."""
        return self._request

    def receive(self, data: bytes) -> Iterable[tuple[int, bool]]:
        """A response is complete once as many bytes are there as its head says."""
        if self._buffer:
            data = self._buffer + data
        head = data.find(b"\r\n\r\n")
        at = data.find(b"Content-Length: ", 0, max(0, head))
        if head < 0 or (at < 0 and not data.endswith(b"\r\n\r\n")):
            self._buffer = data
            return ()
        if at < 0:  # etcd sends an error in chunks
            self._buffer, self.failure = b"", data[:600]
            return ((0, False),)
        length = int(data[at + 16 : data.index(b"\r", at)])
        if len(data) < head + 4 + length:
            self._buffer = data
            return ()
        self._buffer = b""
        right = data.startswith(b"HTTP/1.1 200 ") and self._sign in data
        if not right:
            self.failure = data[:600]
        return ((0, right),)


_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RESET, _SETTINGS, _PING, _GO_AWAY, _WINDOW = 0, 1, 3, 4, 6, 7, 8
_END_STREAM, _ACK, _END_HEADERS = 1, 1, 4


class GrpcWire:
    """One HTTP/2 connection. Each request is a new stream, so its number is written into the frames."""

    def __init__(self, load: Load, slots: int) -> None:
        self.answer = b""
        self.failure = b""
        self._buffer = b""
        self._next = 1
        self._slots: dict[int, int] = {}
        self._good: set[int] = set()
        message = _field(1, load.target.encode())
        method = "Range"
        #: A successful response has a message; that of a range holds the value.
        self._sign = b""
        if load.operation == "write":
            message += _field(2, load.value.encode())
            method = "Put"
        else:
            self._sign = load.value.encode()
        headers = (
            b"\x83\x86"  # POST, http
            + _literal(b"\x04", f"/etcdserverpb.KV/{method}")
            + _literal(b"\x01", load.endpoint)
            + _literal(b"\x0f\x10", "application/grpc")
            + _literal(b"\x00\x02te", "trailers")
        )
        body = b"\0" + len(message).to_bytes(4, "big") + message
        #: What stands before, between and after the two places of the number.
        self._first = _frame(_HEADERS, _END_HEADERS, 0, headers)[:5]
        self._second = headers + _frame(_DATA, _END_STREAM, 0, body)[:5]
        self._third = body

    def open(self, address: tuple[str, int]) -> socket.socket:
        """Connect, and allow the server to send as much as it wants."""
        opened = connect(address)
        window = (2**31 - 1 - 65_535).to_bytes(4, "big")
        settings = _frame(_SETTINGS, 0, 0, (4).to_bytes(2, "big") + (2**31 - 1).to_bytes(4, "big"))
        opened.sendall(_PREFACE + settings + _frame(_WINDOW, 0, 0, window))
        return opened

    def request(self, slots: Sequence[int]) -> bytes:
        """Headers and message of each."""
        parts: list[bytes] = []
        for slot in slots:
            number = self._next.to_bytes(4, "big")
            self._slots[self._next] = slot
            self._next += 2
            parts += (self._first, number, self._second, number, self._third)
        return b"".join(parts)

    def receive(self, data: bytes) -> Iterable[tuple[int, bool]]:
        """Read whole frames; what is left waits for more."""
        if self._buffer:
            data = self._buffer + data
        found: list[tuple[int, bool]] = []
        at, end = 0, len(data)
        while end - at >= 9:
            finish = at + 9 + int.from_bytes(data[at : at + 3], "big")
            if finish > end:
                break
            kind, flags = data[at + 3], data[at + 4]
            stream = int.from_bytes(data[at + 5 : at + 9], "big")
            content = data[at + 9 : finish]
            at = finish
            if kind == _DATA:
                if content and self._sign in content:
                    self._good.add(stream)
            elif kind == _RESET:
                # A server may also reset a stream that has ended.
                slot = self._slots.pop(stream, None)
                if slot is not None:
                    found.append((slot, False))
                continue
            elif kind == _SETTINGS and not flags & _ACK:
                self.answer += _frame(_SETTINGS, _ACK, 0, b"")
                continue
            elif kind == _PING and not flags & _ACK:
                self.answer += _frame(_PING, _ACK, 0, content)
                continue
            elif kind == _GO_AWAY:
                raise LoadError(f"etcd closed the connection: {content[8:]!r}")
            if flags & _END_STREAM and kind in (_DATA, _HEADERS):
                found.append((self._slots.pop(stream), stream in self._good))
                self._good.discard(stream)
        self._buffer = data[at:]
        return found


def _frame(kind: int, flags: int, stream: int, content: bytes) -> bytes:
    head = len(content).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big")
    return head + content


def _literal(name: bytes, value: str) -> bytes:
    """A header that is not remembered (HPACK, RFC 7541, 6.2.2), of less than 127 characters."""
    return name + bytes([len(value)]) + value.encode()


def _field(number: int, content: bytes) -> bytes:
    """A field of bytes of a protocol buffer."""
    length, size = len(content), b""
    while length > 127:
        size += bytes([length & 127 | 128])
        length >>= 7
    return bytes([number << 3 | 2]) + size + bytes([length]) + content


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
