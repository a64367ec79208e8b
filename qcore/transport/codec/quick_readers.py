"""Reads the messages that a write or a read costs, in a fraction of the time of the general validators.

Each reader gets a parsed envelope, and makes the same message of it as the validators do. If the content is not exactly
what it knows, it makes none: the validators then read the frame, and find the error if there is one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, get_args

from qcore.core.entry import Entry, EntryKind
from qcore.core.messages import AppendEntries, AppendEntriesResponse
from qcore.replica import messages as replica_messages
from qcore.replica.messages import RequestKind
from qcore.transport.wire import (
    INT_LIMIT,
    MAX_ID_LENGTH,
    Forward,
    ForwardResponse,
    Ok,
    RaftAppend,
    RaftAppendResponse,
    RaftReadIndex,
    RaftReadIndexResponse,
)

#: Makes a message of the content of an envelope; None if it cannot. `Any`: what a JSON parser returns. It also returns
#: the number of texts (keys and values) in the content of a client's message, so that a key that occurs twice is found
#: by counting. So the reader of such a message accepts objects only with the keys that it counts.
Reader = Callable[[Any], tuple[object, int] | None]

#: In place of the number of texts in a message of a peer.
_NOT_COUNTED: Final = 0

_ENTRY_KINDS: Final[dict[str, EntryKind]] = {kind: kind for kind in get_args(EntryKind)}
_REQUEST_KINDS: Final[dict[str, RequestKind]] = {kind: kind for kind in get_args(RequestKind)}
_CONTENT: Final = ("id", "request")
_RESPONSE: Final = ("id", "response")
#: The numbers of fields that are always present.
_ENTRY_FIELDS: Final = 5
_APPEND_FIELDS: Final = 7
_RESPONSE_FIELDS: Final = 9
_FORWARD_FIELDS: Final = 4
# The bounds of several integers are checked together: combined by `|`, they are within 0 and a power of two if each is.
_OUTCOME: Final = (
    "result", "index", "error_code", "error_text", "leader_id", "leader_addr", "retry_after_ms",
)  # fmt: skip


def are_counts(values: Iterable[object]) -> bool:
    """Whether these are integers within the bounds of the wire, none of them negative."""
    for value in values:  # noqa: SIM110 - a generator takes twice as long
        if type(value) is not int or value < 0 or value >= INT_LIMIT:
            return False
    return True


def is_id(value: object) -> bool:
    """Whether this can be the `id` of a message."""
    return type(value) is str and len(value) <= MAX_ID_LENGTH


def _request(content: Any) -> dict[str, Any] | None:
    """The request in the content of a message."""
    if type(content) is not dict or tuple(content) != _CONTENT or not is_id(content["id"]):
        return None
    body = content["request"]
    return body if type(body) is dict else None


def _append(content: Any) -> tuple[object, int] | None:
    body = _request(content)
    if body is None:
        return None
    term = body.get("term")
    leader = body.get("leader_id")
    commit = body.get("leader_commit")
    entries = body.get("entries")
    previous = body.get("prev_log_index")
    previous_term = body.get("prev_log_term")
    round_number = body.get("round")
    echo, current, ago = (
        body.get("echo_us", 0),
        body.get("is_current", False),
        body.get("confirmed_ago_us", 0),
    )
    known = (
        _APPEND_FIELDS + ("echo_us" in body) + ("is_current" in body) + ("confirmed_ago_us" in body)
    )
    if len(body) != known or type(current) is not bool or type(entries) is not list:
        return None
    if not (
        type(term) is type(leader) is type(previous) is type(previous_term) is int
        and type(commit) is type(round_number) is type(echo) is type(ago) is int
        and 0
        <= term | leader | previous | previous_term | commit | round_number | echo | ago
        < INT_LIMIT
    ):
        return None
    read: list[Entry] = []
    for each in entries:
        entry = _entry(each)
        if entry is None:
            return None
        read.append(entry)
    append = AppendEntries(
        term, leader, previous, previous_term, commit, read, round_number, echo, current, ago
    )
    return RaftAppend(content["id"], append), _NOT_COUNTED


def _entry(body: Any) -> Entry | None:
    if type(body) is not dict:
        return None
    index = body.get("index")
    term = body.get("term")
    kind_text = body.get("kind")
    data = body.get("data")
    time = body.get("time_us")
    clock, user = body.get("clock_us", 0), body.get("user", "")
    if len(body) != _ENTRY_FIELDS + ("clock_us" in body) + ("user" in body):
        return None
    if not (
        type(index) is type(term) is type(time) is type(clock) is int
        and 0 <= index | term | time | clock < INT_LIMIT
    ):
        return None
    if type(data) is not str or type(user) is not str:
        return None
    kind = _ENTRY_KINDS.get(kind_text) if type(kind_text) is str else None
    if kind is None:
        return None
    return Entry(index, term, kind, data, time, clock, user)


def _ok(content: Any) -> dict[str, Any] | None:
    """The result in the content of a response without a detail."""
    if type(content) is not dict or tuple(content) != _RESPONSE or not is_id(content["id"]):
        return None
    response = content["response"]
    if type(response) is not dict or len(response) != 1:
        return None
    body = response.get("Ok")
    return body if type(body) is dict else None


def _append_response(content: Any) -> tuple[object, int] | None:
    body = _ok(content)
    if body is None:
        return None
    term = body.get("term")
    success = body.get("success")
    match = body.get("match_index")
    previous = body.get("prev_log_index")
    hint, hint_term = body.get("hint_index"), body.get("hint_term")
    round_number, priority, promise = (
        body.get("round"),
        body.get("priority"),
        body.get("promise_ms"),
    )
    sent, wall = body.get("sent_us", 0), body.get("wall_us", 0)
    if len(body) != _RESPONSE_FIELDS + ("sent_us" in body) + ("wall_us" in body):
        return None
    if type(success) is not bool:
        return None
    if not (
        type(term) is type(match) is type(previous) is type(hint) is type(hint_term) is int
        and type(round_number) is type(priority) is type(promise) is type(sent) is type(wall) is int
        and 0
        <= term
        | match
        | previous
        | hint
        | hint_term
        | round_number
        | priority
        | promise
        | sent
        | wall
        < INT_LIMIT
    ):
        return None
    response = AppendEntriesResponse(
        term, success, match, previous, hint, hint_term, round_number, priority, promise, sent, wall
    )
    return RaftAppendResponse(content["id"], Ok(response)), _NOT_COUNTED


def _forward(content: Any) -> tuple[object, int] | None:
    body = _request(content)
    if body is None:
        return None
    number: Any = body.get("forward_id")
    kind_text = body.get("kind")
    payload = body.get("payload")
    timeout: Any = body.get("timeout_ms")
    user = body.get("user", "")
    if len(body) != _FORWARD_FIELDS + ("user" in body) or not are_counts((number, timeout)):
        return None
    if type(payload) is not str or type(user) is not str:
        return None
    kind = _REQUEST_KINDS.get(kind_text) if type(kind_text) is str else None
    if kind is None:
        return None
    request = replica_messages.Forward(number, kind, payload, timeout, user)
    return Forward(content["id"], request), _NOT_COUNTED


def _forward_response(content: Any) -> tuple[object, int] | None:
    body = _ok(content)
    if body is None or tuple(body) != ("forward_id", *_OUTCOME):
        return None
    number, result, index, *rejection = body.values()
    if rejection != [None] * len(rejection) or not are_counts((number, index)):
        return None
    if result is not None and type(result) is not str:
        return None
    response = replica_messages.ForwardResponse(number, result, index)
    return ForwardResponse(content["id"], Ok(response)), _NOT_COUNTED


def _read_index(content: Any) -> tuple[object, int] | None:
    body = _request(content)
    if body is None or tuple(body) != ("read_id", "timeout_ms"):
        return None
    number, timeout = body["read_id"], body["timeout_ms"]
    if not are_counts((number, timeout)):
        return None
    return RaftReadIndex(content["id"], replica_messages.ReadIndex(number, timeout)), _NOT_COUNTED


def _read_index_response(content: Any) -> tuple[object, int] | None:
    body = _ok(content)
    if body is None or tuple(body) != ("read_id", *_OUTCOME[1:]):
        return None
    number, index, *rejection = body.values()
    if rejection != [None] * len(rejection) or not are_counts((number, index)):
        return None
    response = replica_messages.ReadIndexResponse(number, index)
    return RaftReadIndexResponse(content["id"], Ok(response)), _NOT_COUNTED


#: The readers of peers' messages, by the name on the wire.
PEER_READERS: Final[dict[str, Reader]] = {
    "RaftAppend": _append,
    "RaftAppendResponse": _append_response,
    "Forward": _forward,
    "ForwardResponse": _forward_response,
    "RaftReadIndex": _read_index,
    "RaftReadIndexResponse": _read_index_response,
}
