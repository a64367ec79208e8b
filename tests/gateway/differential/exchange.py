"""Sends steps to one server, and brings its answers into a form in which two servers can be compared."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle
from typing import Final

from tests.gateway.differential.steps import END, Call, Json, Read, Step, Watch, b64, resolve

#: Seconds after which a server counts as silent. No healthy one takes so long.
PATIENCE_S: Final = 15.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server answered.

    Attributes:
        status: of HTTP; 0 if the server stayed silent, or closed the connection.
        kind: the content type.
        documents: the JSON documents of the body; its text if it is no JSON; of a watch, its items.
    """

    status: int
    kind: str
    documents: tuple[Json, ...]

    def to_json(self) -> Json:
        """As the file of recorded answers has it."""
        return [self.status, self.kind, *self.documents]

    @staticmethod
    def from_json(form: Json) -> Answer:
        """The answer of a recorded line."""
        assert isinstance(form, list)
        status, kind, *documents = form
        assert isinstance(status, int)
        assert isinstance(kind, str)
        return Answer(status, kind, tuple(documents))


def documents_of(kind: str, body: bytes) -> tuple[Json, ...]:
    """The documents of a body, one after the other; its text if it is no JSON."""
    text = body.decode("utf-8", "replace")
    if not kind.startswith("application/json"):
        return (text,)
    found: list[Json] = []
    decoder, position = json.JSONDecoder(), 0
    while rest := text[position:].lstrip():
        position = len(text) - len(rest)
        try:
            document, position = decoder.raw_decode(text, position)
        except ValueError:
            return (*found, f"no JSON: {rest[:200]}")
        found.append(document)
    return tuple(found)


def items_of(message: Json) -> list[Json]:
    """The items of one message of a watch: each event by itself, since servers may send several in one message."""
    result = message.get("result") if isinstance(message, dict) else None
    if not isinstance(result, dict) or not isinstance(events := result.get("events"), list):
        return [message]
    about: dict[str, Json] = {
        name: value for name, value in result.items() if name not in ("events", "header")
    }
    return [{**about, "event": event, "header": _covers(result, event)} for event in events]


def _covers(result: dict[str, Json], event: Json) -> Json:
    """The header of an event, whose revision is as late as the event, or later: which one depends on the batches."""
    header, kv = result.get("header"), event.get("kv") if isinstance(event, dict) else None
    if not isinstance(header, dict) or not isinstance(kv, dict):
        return header
    shown = {name: value for name, value in header.items() if name != "revision"}
    return {**shown, "covers": _number(header, "revision") >= _number(kv, "mod_revision") > 0}


def _number(fields: dict[str, Json], name: str) -> int:
    value = fields.get(name)
    return int(value) if isinstance(value, str) else 0


def watch_of(item: Json) -> int:
    """The watch of an item."""
    result = item.get("result", item) if isinstance(item, dict) else None
    return _number(result, "watch_id") if isinstance(result, dict) else 0


def is_last(item: Json, kind: str, key: str) -> bool:
    """Whether an item ends a `Read` that goes on until such an event."""
    event = item.get("event") if isinstance(item, dict) else None
    if not isinstance(event, dict):
        result = item.get("result") if isinstance(item, dict) else None
        return not isinstance(result, dict) or bool(result.get("canceled"))
    kv = event.get("kv")
    if not isinstance(kv, dict) or event.get("type", "PUT") != kind or kv.get("key") != key:
        return False
    return kind == "DELETE" or kv.get("value") == b64(END)


class Stream:
    """The answers of one watch request, while it is open."""

    def __init__(self, address: str, path: str, body: bytes) -> None:
        self._connection = _connect(address)
        self._response: http.client.HTTPResponse | None = None
        self._pending: list[Json] = []
        self.status, self.kind = 0, ""
        try:
            self._connection.request("POST", path, body)
            self._response = self._connection.getresponse()
        except (OSError, http.client.HTTPException):
            return
        self.status = self._response.status
        self.kind = self._response.getheader("Content-Type", "")

    def messages(self, count: int) -> list[Json]:
        """The next messages; fewer if the stream ends or the server stays silent."""
        found: list[Json] = []
        while len(found) < count and (line := self._line()):
            found.extend(documents_of(self.kind, line))
        return found

    def items(self, count: int) -> list[Json]:
        """The next items, those of each watch together. Fewer if the stream ends or the server stays silent."""
        while len(self._pending) < count and (messages := self.messages(1)):
            self._pending += [item for message in messages for item in items_of(message)]
        found, self._pending = self._pending[:count], self._pending[count:]
        return sorted(found, key=watch_of)

    def items_until(self, kind: str, key: str) -> list[Json]:
        """The items up to an event: a deletion of the key, or a change to the value `END`. Or up to the watch's end."""
        found: list[Json] = []
        while items := self.items(1):
            found += items
            if is_last(items[0], kind, b64(key)):
                break
        return found

    def close(self) -> None:
        """End it."""
        if self._response is not None:
            self._response.close()
        self._connection.close()

    def _line(self) -> bytes:
        if self._response is None:
            return b""
        try:
            return self._response.readline()
        except (OSError, http.client.HTTPException):
            return b""


class Run:
    """One server takes the steps of one sequence.

    Args:
        addresses: `host:port`; several, separated by commas, if they serve one store: then they take turns.
    """

    def __init__(self, addresses: str) -> None:
        self._connections = [_connect(address) for address in addresses.split(",")]
        self._addresses = cycle(addresses.split(","))
        self._turns = cycle(self._connections)
        self._named: dict[str, Json] = {}
        self._streams: dict[str, Stream] = {}

    def perform(self, step: Step) -> Answer:
        """Take one step. A server that is silent or closes the connection has the status 0."""
        if isinstance(step, Read):
            stream = self._streams[step.stream]
            if step.until is not None:
                return Answer(stream.status, stream.kind, tuple(stream.items_until(*step.until)))
            return Answer(stream.status, stream.kind, tuple(stream.items(step.items)))
        body = resolve(step.body, self._named).encode("utf-8", "surrogateescape")
        if isinstance(step, Watch):
            stream = self._streams[step.name] = Stream(next(self._addresses), step.path, body)
            answer = Answer(stream.status, stream.kind, tuple(stream.messages(step.lines)))
        else:
            answer = self._call(step, body)
        if step.name and answer.documents:
            self._named[step.name] = answer.documents[0]
        return answer

    def empty_store(self) -> None:
        """Delete all keys and leases, and end the history, so that each sequence begins in the same way."""
        self.perform(Call("/v3/kv/put", '{"key": "AA=="}'))
        listed = self.perform(Call("/v3/lease/leases", "{}")).documents[0]
        leases = listed.get("leases", []) if isinstance(listed, dict) else []
        for lease in leases if isinstance(leases, list) else []:
            if isinstance(lease, dict):
                self.perform(Call("/v3/lease/revoke", json.dumps({"ID": lease["ID"]})))
        everything = '{"key": "AA==", "range_end": "AA=="}'
        deleted = self.perform(Call("/v3/kv/deleterange", everything, "emptied"))
        assert deleted.status == 200, f"the store cannot be emptied: {deleted}"
        compact = Call("/v3/kv/compaction", '{"revision": "<emptied.header.revision>"}')
        compacted = self.perform(compact)
        assert compacted.status == 200, f"the history cannot be ended: {compacted}"
        self._named.clear()

    def close(self) -> None:
        """End all connections."""
        for stream in self._streams.values():
            stream.close()
        for connection in self._connections:
            connection.close()

    def _call(self, step: Call, body: bytes) -> Answer:
        connection = next(self._turns)
        try:
            connection.request(step.method, step.path, body if step.method == "POST" else None)
            response = connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException):
            connection.close()
            return Answer(0, "", ())
        kind = response.getheader("Content-Type", "")
        return Answer(response.status, kind, documents_of(kind, content))


@contextmanager
def run_on(addresses: str) -> Iterator[Run]:
    """A run with an empty store, whose connections are closed at its end."""
    run = Run(addresses)
    try:
        run.empty_store()
        yield run
    finally:
        run.close()


def _connect(address: str) -> http.client.HTTPConnection:
    host, _, port = address.rpartition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=PATIENCE_S)
    connection.connect()
    connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection
