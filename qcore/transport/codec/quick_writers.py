"""Writes the messages that a write or a read costs, in a fraction of the time of the general serializer.

Each writer gives the same bytes as pydantic does. A message that it cannot write is left to the serializer, which
raises the error.
"""

from __future__ import annotations

from collections.abc import Callable
from json.encoder import encode_basestring
from typing import Any, Final

from pydantic_core import to_json

from qcore.core.entry import Entry
from qcore.core.messages import AppendEntries
from qcore.transport.wire import (
    Forward,
    ForwardResponse,
    Ok,
    RaftAppend,
    RaftAppendResponse,
    RaftReadIndex,
    RaftReadIndexResponse,
)

#: Writes a message as an envelope; None if it cannot. `Any`: each writer takes the class that it is listed under.
Writer = Callable[[Any], bytes | None]

#: pydantic is faster for longer texts, characters.
_LONG_TEXT: Final = 2048


def _text(text: str) -> str:
    """A text as JSON."""
    return encode_basestring(text) if len(text) < _LONG_TEXT else to_json(text).decode()


def _text_or_null(text: str | None) -> str:
    return "null" if text is None else _text(text)


def _number_or_null(number: int | None) -> str:
    return "null" if number is None else str(number)


def _entry(entry: Entry) -> str:
    clock = f',"clock_us":{entry.clock_us}' if entry.clock_us else ""
    user = f',"user":{_text(entry.user)}' if entry.user else ""
    return (
        f'{{"index":{entry.index},"term":{entry.term},"kind":"{entry.kind}","data":{_text(entry.data)},'
        f'"time_us":{entry.time_us}{clock}{user}}}'
    )


class AppendWriter:
    """Writes `RaftAppend`. The entries of a broadcast are the same for all followers, and are written once."""

    def __init__(self) -> None:
        self._entries: list[Entry] = []
        self._written = b""

    def write(self, message: RaftAppend) -> bytes | None:
        """See `Writer`."""
        append = message.request
        head = (
            f'{{"RaftAppend":{{"id":{_text(message.id)},"request":{{"term":{append.term},'
            f'"leader_id":{append.leader_id},"prev_log_index":{append.prev_log_index},'
            f'"prev_log_term":{append.prev_log_term},"leader_commit":{append.leader_commit},"entries":['
        )
        echo = f',"echo_us":{append.echo_us}' if append.echo_us else ""
        current = ',"is_current":true' if append.is_current else ""
        ago = f',"confirmed_ago_us":{append.confirmed_ago_us}' if append.confirmed_ago_us else ""
        tail = f'],"round":{append.round}{echo}{current}{ago}}}}}}}'
        return head.encode() + self._entries_of(append) + tail.encode()

    def _entries_of(self, append: AppendEntries) -> bytes:
        entries = append.entries
        if not entries:
            return b""
        if entries != self._entries:
            written = ",".join([_entry(entry) for entry in entries]).encode()
            self._entries, self._written = entries.copy(), written
        return self._written


def _append_response(message: RaftAppendResponse) -> bytes | None:
    outcome = message.response
    if not isinstance(outcome, Ok) or message.detail is not None:
        return None
    response = outcome.value
    sent = f',"sent_us":{response.sent_us}' if response.sent_us else ""
    wall = f',"wall_us":{response.wall_us}' if response.wall_us else ""
    return (
        f'{{"RaftAppendResponse":{{"id":{_text(message.id)},"response":{{"Ok":{{"term":{response.term},'
        f'"success":{"true" if response.success else "false"},"match_index":{response.match_index},'
        f'"prev_log_index":{response.prev_log_index},"hint_index":{response.hint_index},'
        f'"hint_term":{response.hint_term},"round":{response.round},"priority":{response.priority},'
        f'"promise_ms":{response.promise_ms}{sent}{wall}}}}}}}}}'
    ).encode()


def _forward(message: Forward) -> bytes | None:
    request = message.request
    user = f',"user":{_text(request.user)}' if request.user else ""
    return (
        f'{{"Forward":{{"id":{_text(message.id)},"request":{{"forward_id":{request.forward_id},'
        f'"kind":"{request.kind}","payload":{_text(request.payload)},"timeout_ms":{request.timeout_ms}{user}}}}}}}'
    ).encode()


def _forward_response(message: ForwardResponse) -> bytes | None:
    outcome = message.response
    if not isinstance(outcome, Ok) or message.detail is not None:
        return None
    response = outcome.value
    quota = "" if response.quota is None else f',"quota":{_text(response.quota)}'
    limit = "" if response.limit is None else f',"limit":{response.limit}'
    use = "" if response.use is None else f',"use":{response.use}'
    return (
        f'{{"ForwardResponse":{{"id":{_text(message.id)},"response":{{"Ok":{{"forward_id":{response.forward_id},'
        f'"result":{_text_or_null(response.result)},"index":{response.index},'
        f'"error_code":{_text_or_null(response.error_code)},"error_text":{_text_or_null(response.error_text)},'
        f'"leader_id":{_number_or_null(response.leader_id)},'
        f'"leader_addr":{_text_or_null(response.leader_addr)},'
        f'"retry_after_ms":{_number_or_null(response.retry_after_ms)}{quota}{limit}{use}}}}}}}}}'
    ).encode()


def _read_index(message: RaftReadIndex) -> bytes | None:
    request = message.request
    return (
        f'{{"RaftReadIndex":{{"id":{_text(message.id)},"request":{{"read_id":{request.read_id},'
        f'"timeout_ms":{request.timeout_ms}}}}}}}'
    ).encode()


def _read_index_response(message: RaftReadIndexResponse) -> bytes | None:
    outcome = message.response
    if not isinstance(outcome, Ok) or message.detail is not None:
        return None
    response = outcome.value
    return (
        f'{{"RaftReadIndexResponse":{{"id":{_text(message.id)},"response":{{"Ok":{{"read_id":{response.read_id},'
        f'"index":{_number_or_null(response.index)},"error_code":{_text_or_null(response.error_code)},'
        f'"error_text":{_text_or_null(response.error_text)},"leader_id":{_number_or_null(response.leader_id)},'
        f'"leader_addr":{_text_or_null(response.leader_addr)},'
        f'"retry_after_ms":{_number_or_null(response.retry_after_ms)}}}}}}}}}'
    ).encode()


def quick_writers() -> dict[type, Writer]:
    """The writers of one codec, by class."""
    return {
        RaftAppend: AppendWriter().write,
        RaftAppendResponse: _append_response,
        Forward: _forward,
        ForwardResponse: _forward_response,
        RaftReadIndex: _read_index,
        RaftReadIndexResponse: _read_index_response,
    }
