"""Requests to qcore: WebSocket frames that are masked once, before the load begins.

The key of the mask is one byte four times. So a masked text is the same at every place of a frame, and several requests
become one array frame by joining what is already masked. For a server it is a key like any other.

Ids must differ among the requests in flight, and may be used again later. So each slot has one id, and its request one
text for the whole run. Like the client library, it sends the requests of one turn in one array frame.
"""

from __future__ import annotations

import base64
import json
import os
import re
import socket
from collections.abc import Iterable, Sequence

from benchmarks.cluster.wire import Load, LoadError, connect

_MASK = 0x5A
_TABLE = bytes(byte ^ _MASK for byte in range(256))
_KEY = bytes([_MASK] * 4)
_TEXT, _CLOSE, _PING, _PONG = 0x81, 0x88, 0x89, 0x8A
_ID = re.compile(rb'"id":"(\d+)"')


class QcoreWire:
    """One WebSocket connection to a node."""

    def __init__(self, load: Load, slots: int) -> None:
        self.answer = b""
        self.failure = b""
        self._buffer = b""
        fields: dict[str, object] = {
            "entity_id": json.loads(load.target),
            "field_type": "Text",
            "value": None,
            "write_time": None,
            "writer_id": None,
        }
        if load.operation == "write":
            fields["value"] = {"String": load.value}
            fields["push_condition"] = "Always"
            fields["adjust_behavior"] = "Set"
        kind = load.operation.capitalize()
        #: A request has one answer of this kind, without an error and with the whole value.
        value = json.dumps({"String": load.value}, separators=(",", ":"))
        self._signs = (f'"{kind}":'.encode(), b'"error":null', f'"value":{value}'.encode())
        requests = [
            {
                "Perform": {
                    "id": str(slot),
                    "request": {"UpdateEntity": {"request": [{kind: fields}]}},
                }
            }
            for slot in range(slots)
        ]
        texts = [json.dumps(request, separators=(",", ":")).encode() for request in requests]
        self._masked = [text.translate(_TABLE) for text in texts]
        self._alone = [_frame(_TEXT, masked) for masked in self._masked]

    def open(self, address: tuple[str, int]) -> socket.socket:
        """Connect, and switch to WebSocket."""
        opened = connect(address)
        host, port = address
        key = base64.b64encode(os.urandom(16)).decode()
        opened.sendall(
            f"GET / HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        head = b""
        while b"\r\n\r\n" not in head:
            more = opened.recv(4096)
            if not more:
                raise LoadError(f"the node closed the connection: {head!r}")
            head += more
        head, _, self._buffer = head.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 101 "):
            raise LoadError(f"no WebSocket: {head!r}")
        return opened

    def request(self, slots: Sequence[int]) -> bytes:
        """One frame: an envelope, or an array of envelopes."""
        if len(slots) == 1:
            return self._alone[slots[0]]
        return _frame(_TEXT, _OPEN + _COMMA.join([self._masked[slot] for slot in slots]) + _SHUT)

    def receive(self, data: bytes) -> Iterable[tuple[int, bool]]:
        """Read whole frames; what is left waits for more."""
        if self._buffer:
            data = self._buffer + data
        found: list[tuple[int, bool]] = []
        at, end = 0, len(data)
        while end - at >= 2:
            length, begin = data[at + 1], at + 2
            if length == 126:
                length, begin = int.from_bytes(data[at + 2 : at + 4], "big"), at + 4
            elif length == 127:
                length, begin = int.from_bytes(data[at + 2 : at + 10], "big"), at + 10
            if begin + length > end:
                break
            kind, text = data[at], data[begin : begin + length]
            at = begin + length
            if kind == _TEXT:
                found += self._responses(text)
            elif kind == _PING:
                self.answer += _frame(_PONG, text.translate(_TABLE))
            elif kind == _CLOSE:
                raise LoadError(f"the node closed the connection: {text[2:]!r}")
        self._buffer = data[at:]
        return found

    def _responses(self, text: bytes) -> list[tuple[int, bool]]:
        ids = [int(number) for number in _ID.findall(text)]
        right = all(text.count(sign) == len(ids) for sign in self._signs)
        if right and ids:
            return [(slot, True) for slot in ids]
        return self._look_closely(text)

    def _look_closely(self, text: bytes) -> list[tuple[int, bool]]:
        """The responses one by one, if not all of a frame are right at the first look."""
        decoded = json.loads(text)
        found: list[tuple[int, bool]] = []
        for envelope in decoded if isinstance(decoded, list) else [decoded]:
            ((_, value),) = envelope.items()
            if not str(value.get("id", "")).isdecimal():
                raise LoadError(f"not a response: {json.dumps(envelope)[:300]}")
            one = json.dumps(envelope, separators=(",", ":")).encode()
            right = all(sign in one for sign in self._signs)
            found.append((int(value["id"]), right))
            if not right:
                self.failure = one if len(one) < 600 else one[:300] + b" ... " + one[-300:]
        return found


def _frame(kind: int, masked: bytes) -> bytes:
    length = len(masked)
    if length < 126:
        return bytes((kind, 0x80 | length)) + _KEY + masked
    if length < 65_536:
        return bytes((kind, 0x80 | 126)) + length.to_bytes(2, "big") + _KEY + masked
    return bytes((kind, 0x80 | 127)) + length.to_bytes(8, "big") + _KEY + masked


_OPEN, _COMMA, _SHUT = (mark.translate(_TABLE) for mark in (b"[", b",", b"]"))
