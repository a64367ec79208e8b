"""What happened in a step of a recording, as records that a query can find and a person can read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from itertools import chain
from typing import Any

from qcore.core.effects import Send
from qcore.core.events import MessageReceived
from qcore.replica.events import ReplicaEffect, ReplicaEvent
from qcore.replica.trace_recorder import ReplicaTracer, trace_fields
from qcore.sim.replay.life_replay import LifeReplay
from qcore.sim.replay.record_query import RecordQuery
from qcore.trace import RECORD_FIELDS, TraceWriter

#: The most characters of a value in a text.
_SHOWN = 60


def step_matches(replay: LifeReplay, query: RecordQuery) -> bool:
    """Whether the step that was replayed last has an event, an effect or a trace record that the query describes."""
    step, node = replay.step, replay.life.start.node_id
    if step is None:
        return False
    if query.kind in RECORD_FIELDS:
        found: Iterator[tuple[str, Mapping[str, Any]]] = _records(replay, node)
    else:
        found = _events_and_effects(replay)
    return any(query.matches(kind, node, values) for kind, values in found)


def step_kinds(replay: LifeReplay) -> Iterator[str]:
    """The kinds that a query finds in the step that was replayed last."""
    if replay.step is not None:
        node = replay.life.start.node_id
        for kind, _ in chain(_records(replay, node), _events_and_effects(replay)):
            yield kind


def event_text(event: ReplicaEvent) -> str:
    """An event in one line."""
    if isinstance(event, MessageReceived):
        name, term, note = trace_fields(event.message)
        words = (
            f"{name} from node {event.from_id}, term {term}"
            if term
            else f"{name} from node {event.from_id}"
        )
        return f"{words}, {note}" if note else words
    return _object_text(event)


def effect_text(effect: ReplicaEffect) -> str:
    """An effect in one line."""
    if isinstance(effect, Send):
        name, term, note = trace_fields(effect.message)
        words = (
            f"Send {name} to node {effect.to}, term {term}"
            if term
            else f"Send {name} to node {effect.to}"
        )
        words = f"{words}, {note}" if note else words
        return f"{words}, after write {effect.after}" if effect.after else words
    return _object_text(effect)


def _object_text(value: ReplicaEvent | ReplicaEffect) -> str:
    pairs = [f"{name}={_short(one)}" for name, one in _values(value).items()]
    return " ".join([type(value).__name__, *pairs])


def _short(value: object) -> str:
    if isinstance(value, list) and len(value) > 1:
        return f"{len(value)} items"
    text = str(value) if isinstance(value, str | int) else repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _values(value: Any) -> dict[str, Any]:
    return {each.name: getattr(value, each.name) for each in fields(value)}


def _events_and_effects(replay: LifeReplay) -> Iterator[tuple[str, Mapping[str, Any]]]:
    step = replay.step
    assert step is not None, "a step was replayed"
    for event in step.events:
        if isinstance(event, MessageReceived):
            yield type(event.message).__name__, {**_values(event.message), "from": event.from_id}
        else:
            yield type(event).__name__, _values(event)
    for effect in replay.effects:
        if isinstance(effect, Send):
            message = effect.message
            yield "Send", {**_values(message), "to": effect.to, "message": type(message).__name__}
        else:
            yield type(effect).__name__, _values(effect)


def _records(replay: LifeReplay, node: int) -> Iterator[tuple[str, Mapping[str, Any]]]:
    writer = TraceWriter(keep=True, hashed=False)
    ReplicaTracer(writer, node).effects(replay.now, replay.effects)
    if writer.count:
        for record in writer.trace().records():
            yield record.kind, record.fields
    for effect in replay.effects:
        if isinstance(effect, Send):
            name, term, note = trace_fields(effect.message)
            yield "send", {"to": effect.to, "message": name, "term": term, "note": note}
    step = replay.step
    assert step is not None, "a step was replayed"
    for event in step.events:
        if isinstance(event, MessageReceived):
            yield "recv", {"from": event.from_id, "message": type(event.message).__name__}
