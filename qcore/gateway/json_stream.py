"""The bodies of etcd's streams: JSON objects, one after the other, read as they arrive."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, MutableMapping
from typing import Any, Final  # Any: messages of ASGI

from qcore.gateway.etcd_errors import REQUEST_TOO_LARGE, EtcdError, InvalidRequest
from qcore.gateway.json_forms import Value, read_json

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
_SPACE: Final = b" \t\r\n"
_NO_OBJECT: Final = "json: cannot unmarshal array into Go value of type map[string]json.RawMessage"


class Disconnected(Exception):
    """The client has closed the connection."""


class ObjectSplitter:
    """Splits bytes into JSON objects.

    Args:
        most: the largest object, bytes.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._held = bytearray()
        self._depth = 0
        self._in_text = self._escaped = False

    @property
    def is_between(self) -> bool:
        """Whether no object has begun that has not ended."""
        return not self._held

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The objects that these bytes complete, those before an error, too.

        Raises:
            EtcdError: something else than an object comes next, or an object is too large.
        """
        for byte in data:
            if not self._held:
                if byte in _SPACE:
                    continue
                if byte != ord("{"):
                    raise InvalidRequest(
                        _NO_OBJECT
                        if byte == ord("[")
                        else f"invalid character {chr(byte)!r} looking for beginning of value",
                    )
            self._held.append(byte)
            if len(self._held) > self._most:
                raise EtcdError(*REQUEST_TOO_LARGE)
            if self._ends(byte):
                yield bytes(self._held)
                self._held.clear()

    def _ends(self, byte: int) -> bool:
        """Whether the object ends with this byte."""
        if self._in_text:
            if self._escaped:
                self._escaped = False
            elif byte == ord("\\"):
                self._escaped = True
            elif byte == ord('"'):
                self._in_text = False
            return False
        if byte == ord('"'):
            self._in_text = True
        elif byte in b"{[":
            self._depth += 1
        elif byte in b"}]":
            self._depth -= 1
            return self._depth == 0
        return False


async def objects_of(receive: Receive, most: int) -> AsyncIterator[Value]:
    """The objects of a body, each as soon as it has arrived.

    Args:
        receive: of ASGI.
        most: the largest object, bytes.

    Raises:
        EtcdError: the body is something else.
        Disconnected: the client has closed the connection.
    """
    splitter = ObjectSplitter(most)
    more = True
    while more:
        event = await receive()
        if event["type"] == "http.disconnect":
            raise Disconnected
        more = event.get("more_body", False)
        for text in splitter.feed(event.get("body", b"")):
            yield read_object(text)
            await asyncio.sleep(
                0
            )  # a body of many small messages must not keep other requests waiting
    if not splitter.is_between:
        raise InvalidRequest("unexpected EOF")


def read_object(text: bytes) -> Value:
    """An object of a stream.

    Raises:
        InvalidRequest: it is no JSON.
    """
    try:
        return read_json(text.decode())
    except UnicodeDecodeError:
        raise InvalidRequest("the body is not UTF-8") from None
