"""What it costs to encode and decode typical messages: processor time in µs, the best of several runs."""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Callable
from dataclasses import dataclass

from qcore.core.entry import Entry
from qcore.core.messages import AppendEntries, AppendEntriesResponse
from qcore.transport.codec.codec import Codec
from qcore.transport.wire import REGISTRY, MessageId, wrap_request, wrap_response


@dataclass(slots=True)
class CreateEntity:
    """A request of a client."""

    entity_type: str
    parent_id: int | None
    name: str


@dataclass(slots=True)
class Perform:
    """The envelope of a request of a client."""

    id: MessageId
    request: dict[str, CreateEntity]


CODEC = Codec({**REGISTRY, "Perform": Perform})


def codec_costs(repeats: int = 7, calls: int = 5000) -> dict[str, float]:
    """What is measured -> its cost."""
    entry = Entry(11, 3, "command", json.dumps({"CreateEntity": {"name": "x" * 60}}), 17)
    messages = {
        "append with one entry": wrap_request("12", AppendEntries(3, 1, 10, 3, 9, [entry], 7)),
        "heartbeat": wrap_request("12", AppendEntries(3, 1, 10, 3, 9, [], 7)),
        "append response": wrap_response("12", AppendEntriesResponse(3, True, 11, 10, 0, 0, 7)),
        "perform": Perform("12", {"CreateEntity": CreateEntity("Folder", None, "Users")}),
    }
    costs = {}
    for name, message in messages.items():
        data = CODEC.encode(message)
        from_peer = name != "perform"
        decode = functools.partial(CODEC.decode, data, from_peer=from_peer)
        encode = functools.partial(CODEC.encode, message)
        costs[f"decode {name}"] = _best_us(decode, repeats, calls)
        costs[f"encode {name}"] = _best_us(encode, repeats, calls)
    return costs


def _best_us(step: Callable[[], object], repeats: int, calls: int) -> float:
    best = float("inf")
    for _ in range(repeats):
        started = time.process_time()
        for _ in range(calls):
            step()
        best = min(best, (time.process_time() - started) / calls)
    return best * 1e6
