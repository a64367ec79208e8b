"""A client of etcd's JSON gateway for tests, which shows responses as they are."""

from __future__ import annotations

import base64
import http.client
import json
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple  # Any: JSON

#: Seconds that a response may take on a busy machine.
PATIENCE_S = 30


class Answer(NamedTuple):
    """A response: its status, and its JSON, or its text if it is none."""

    status: int
    body: Any


def b64(text: str | bytes) -> str:
    """A key or value as etcd's JSON has it."""
    data = text.encode() if isinstance(text, str) else text
    return base64.b64encode(data).decode()


def plain(text: str) -> str:
    """The inverse of `b64` for texts."""
    return base64.b64decode(text).decode()


class Stream:
    """A response whose lines arrive one after the other."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self._response = response

    def next(self) -> dict[str, Any]:
        """The next line."""
        line = self._response.readline()
        assert line, "the stream has ended"
        found: dict[str, Any] = json.loads(line)
        return found

    def result(self) -> dict[str, Any]:
        """`result` of the next line, without its header."""
        found: dict[str, Any] = self.next()["result"]
        del found["header"]
        return found

    def rest(self) -> bytes:
        """What follows until the response ends."""
        return self._response.read()


class EtcdClient:
    """Sends requests to one gateway.

    Args:
        address: of the gateway, host:port.
        tls: for https.
        token: of each request.
    """

    def __init__(
        self, address: str, tls: ssl.SSLContext | None = None, token: str | None = None
    ) -> None:
        self.address = address
        self._tls = tls
        self.token = token

    def _connect(self) -> http.client.HTTPConnection:
        if self._tls is None:
            return http.client.HTTPConnection(self.address, timeout=PATIENCE_S)
        return http.client.HTTPSConnection(self.address, timeout=PATIENCE_S, context=self._tls)

    def _headers(self) -> dict[str, str]:
        return {} if self.token is None else {"Authorization": self.token}

    def get(self, path: str) -> Answer:
        """The response to a GET."""
        return self._ask("GET", path, None)

    def post(self, path: str, body: object) -> Answer:
        """The response to a POST. A text or bytes are the body as it is."""
        return self._ask("POST", path, body)

    def ok(self, path: str, **body: object) -> dict[str, Any]:
        """The JSON of a response that must be 200, without its header."""
        answer = self.post(path, body)
        assert answer.status == 200, answer
        found: dict[str, Any] = dict(answer.body)
        del found["header"]
        return found

    def revision(self) -> int:
        """The newest revision."""
        return int(self.post("/v3/kv/range", {"key": b64("?")}).body["header"]["revision"])

    def put(self, key: str, value: str = "x", **more: object) -> int:
        """Set a key, and return the revision."""
        answer = self.post("/v3/kv/put", {"key": b64(key), "value": b64(value), **more})
        assert answer.status == 200, answer
        return int(answer.body["header"]["revision"])

    @contextmanager
    def stream(self, path: str, *bodies: object) -> Iterator[Stream]:
        """A streamed response to a body of several messages."""
        connection = self._connect()
        try:
            text = "".join(json.dumps(body) for body in bodies)
            connection.request("POST", path, text.encode(), self._headers())
            yield Stream(connection.getresponse())
        finally:
            if connection.sock is not None:
                connection.sock.shutdown(socket.SHUT_RDWR)
            connection.close()

    def _ask(self, method: str, path: str, body: object) -> Answer:
        connection = self._connect()
        try:
            raw = body if isinstance(body, str | bytes) or body is None else json.dumps(body)
            connection.request(method, path, raw, self._headers())
            response = connection.getresponse()
            text = response.read().decode()
            kind = response.headers.get_content_type()
            return Answer(response.status, json.loads(text) if kind == "application/json" else text)
        finally:
            connection.close()
