"""A raw WebSocket client that sends arbitrary frames and uses no code of qcore."""

from __future__ import annotations

import json
from contextlib import ExitStack
from itertools import count
from types import TracebackType
from typing import Any, Self

from websockets.sync.client import connect


class WireClient:
    """One connection that sends frames verbatim and reads responses.

    Args:
        address: `host:port`.
        timeout_s: how long to wait for a reply before the test fails.
    """

    def __init__(self, address: str, timeout_s: float = 20.0) -> None:
        self._stack = ExitStack()
        self.socket = self._stack.enter_context(
            connect(f"ws://{address}", proxy=None, max_size=None)
        )
        self.timeout_s = timeout_s
        self._ids = count(1)

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
        """Close the connection."""
        self._stack.close()

    def send(self, frame: str | bytes | object) -> None:
        """Send a text or binary frame; send anything else as JSON text."""
        self.socket.send(frame if isinstance(frame, str | bytes) else json.dumps(frame))

    def receive(self) -> Any:
        """The next frame, decoded."""
        return json.loads(self.socket.recv(self.timeout_s))

    def receive_all(self, number: int) -> list[dict[str, Any]]:
        """The next `number` envelopes, whatever their grouping into frames."""
        envelopes: list[dict[str, Any]] = []
        while len(envelopes) < number:
            frame = self.receive()
            envelopes += frame if isinstance(frame, list) else [frame]
        assert len(envelopes) == number
        return envelopes

    def exchange(self, frame: str | bytes | object) -> tuple[str, dict[str, Any]]:
        """Send one frame, and return the name and the value of the one envelope in reply."""
        self.send(frame)
        (envelope,) = self.receive_all(1)
        ((name, value),) = envelope.items()
        return name, value

    def ask(self, name: str, /, **fields: object) -> Any:
        """Send a request, and return `response` of its response, which must carry the same id."""
        request_id = f"test-{next(self._ids)}"
        reply, value = self.exchange({name: {"id": request_id, **fields}})
        assert (reply, value["id"]) == (f"{name}Response", request_id), (reply, value)
        return value["response"]

    def perform(self, command: str, /, **fields: object) -> Any:
        """Send one `Perform`, and return the value under the command's name in the response."""
        return self.ask("Perform", request={command: fields})[command]


def string_schema(entity_type: str, *fields: str, inherit: str | None = None) -> dict[str, Any]:
    """An entity schema with these fields of kind String."""
    return {
        "entity_type": entity_type,
        "inherit": inherit,
        "fields": {
            name: {
                "String": {
                    "field_type": name,
                    "default_value": "",
                    "rank": rank,
                    "read_permission": None,
                    "write_permission": None,
                }
            }
            for rank, name in enumerate(fields)
        },
    }


def write_field(entity_id: dict[str, Any], field_type: str, value: object) -> dict[str, Any]:
    """A `Write` that always sets the value."""
    return {
        "Write": {
            "entity_id": entity_id,
            "field_type": field_type,
            "value": value,
            "push_condition": "Always",
            "adjust_behavior": "Set",
            "write_time": None,
            "writer_id": None,
        }
    }


def read_field(entity_id: dict[str, Any], field_type: str) -> dict[str, Any]:
    """A `Read`."""
    return {
        "Read": {
            "entity_id": entity_id,
            "field_type": field_type,
            "value": None,
            "write_time": None,
            "writer_id": None,
        }
    }
