"""The steps of a sequence: requests, and what is read from the streams that they open.

The body of a request may refer to an earlier answer: `<first.header.revision+1>` is the revision of the step named
`first`, plus one. Each server gets the numbers that it answered itself.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

#: What `json` decodes.
Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

_REFERENCE: Final = re.compile(r"<([a-z][a-z0-9_]*)\.([\w.]+?)([+-]\d+)?>")


@dataclass(frozen=True, slots=True)
class Call:
    """One request, whose answer is read to its end.

    Attributes:
        path: of the endpoint, such as `/v3/kv/put`.
        body: JSON as a rule, with references to earlier answers.
        name: by which later steps refer to the answer.
        method: of HTTP.
    """

    path: str
    body: str = ""
    name: str = ""
    method: str = "POST"


@dataclass(frozen=True, slots=True)
class Watch:
    """Opens a stream, and reads its first lines.

    Attributes:
        name: by which later steps refer to the stream, and to its first answer.
        body: one JSON object for each message of the stream.
        lines: how many messages are read.
    """

    name: str
    body: str
    lines: int = 1

    @property
    def path(self) -> str:
        """The endpoint."""
        return "/v3/watch"


@dataclass(frozen=True, slots=True)
class Read:
    """Reads from an open stream: events and other messages, each of which counts as one item.

    Attributes:
        stream: the name of the step that opened it.
        items: how many at most.
        until: the last one is the event of this type and key, and with the value `END`, if it is no deletion.
            A watch that ends has no more items, either.
    """

    stream: str
    items: int
    until: tuple[str, str] | None = None

    @property
    def path(self) -> str:
        """The endpoint."""
        return "/v3/watch"


#: The value that ends a `Read`.
END: Final = "end"

Step: TypeAlias = Call | Watch | Read


@dataclass(frozen=True, slots=True)
class Sequence:
    """Steps that begin with an empty store.

    Attributes:
        name: unique in the corpus.
        steps: in their order.
        slow: whether it waits for the end of a lease, so that only the long test runs it.
    """

    name: str
    steps: tuple[Step, ...]
    slow: bool = False


def b64(text: str | bytes) -> str:
    """A key or a value as the JSON forms have it."""
    return base64.b64encode(text.encode() if isinstance(text, str) else text).decode()


def resolve(body: str, answers: Mapping[str, Json]) -> str:
    """The body with the numbers of earlier answers. A number that an answer lacks is 0."""

    def number(match: re.Match[str]) -> str:
        found: Json = answers.get(match[1])
        for part in match[2].split("."):
            if isinstance(found, dict):
                found = found.get(part)
            elif isinstance(found, list) and int(part) < len(found):
                found = found[int(part)]
            else:
                found = None
        base = int(found) if isinstance(found, str | int) else 0
        return str(base + int(match[3] or 0))

    return _REFERENCE.sub(number, body)


def call(path: str, fields: Mapping[str, Json] | None = None, name: str = "") -> Call:
    """A request whose body is an object of these fields."""
    return Call(path, json.dumps(fields or {}), name)


def put(key: str, value: str | None = None, name: str = "", **fields: Json) -> Call:
    """Sets a key."""
    given: dict[str, Json] = {"key": b64(key)}
    if value is not None:
        given["value"] = b64(value)
    return call("/v3/kv/put", {**given, **fields}, name)


def get(key: str, end: str | None = None, name: str = "", **fields: Json) -> Call:
    """Reads a key, or the keys from it on and before `end`."""
    return call("/v3/kv/range", {**keys(key, end), **fields}, name)


def delete(key: str, end: str | None = None, name: str = "", **fields: Json) -> Call:
    """Deletes a key, or the keys from it on and before `end`."""
    return call("/v3/kv/deleterange", {**keys(key, end), **fields}, name)


def txn(
    compare: list[Json], success: list[Json], failure: list[Json] | None = None, name: str = ""
) -> Call:
    """A transaction."""
    fields: dict[str, Json] = {"compare": compare, "success": success, "failure": failure or []}
    return call("/v3/kv/txn", fields, name)


def keys(key: str, end: str | None = None) -> dict[str, Json]:
    """The fields of a range."""
    return {"key": b64(key)} if end is None else {"key": b64(key), "range_end": b64(end)}


def watch(name: str, key: str, end: str | None = None, lines: int = 1, **fields: Json) -> Watch:
    """A stream with one watch."""
    return Watch(name, json.dumps({"create_request": {**keys(key, end), **fields}}), lines)
