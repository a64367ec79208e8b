"""Every message that a client can send, and every field of it, with every hostile value.

No message is listed by hand. Messages come from the registry of the wire protocol, and fields from the JSON schemas of
their classes, so a new message or field is attacked automatically.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

from pydantic import TypeAdapter

from qcore.node.application import EntityPerform, TextPerform
from qcore.transport.wire import PEER_RESPONSES, REGISTRY
from tests.process.attacks.amplification import AttackContext
from tests.process.attacks.attacker import Attacker, Json

#: The placeholder of the hostile value.
HOLE: Final = "@@@"
_HOLE_TEXT: Final = json.dumps(HOLE)

#: Values of fields that keep a message from effects that any client may cause: a leadership transfer or a smaller
#: cluster.
HARMLESS: Final[dict[str, Json]] = {
    "ChangeMembership": {"expected_index": 2**62},
    "TransferLeader": {"to": 2**62},
}


def messages(perform: type) -> dict[str, type]:
    """The messages that any client may send, by name: requests of clients, and of peers, which a node must reject.

    Args:
        perform: the class of the application's requests.
    """
    names = {name: cls for name, cls in REGISTRY.items() if not name.endswith("Response")}
    assert not set(names.values()) & set(PEER_RESPONSES)
    return {**names, "Perform": perform}


def hostile_values(size: int) -> dict[str, str]:
    """JSON texts of about this many bytes, by name."""
    depth = size // 2
    return {
        "long text": f'"{"x" * size}"',
        "NUL": '"' + "\\u0000" * (size // 6) + '"',
        "quotes": '"' + '\\"' * (size // 2) + '"',
        "backslashes": '"' + "\\\\" * (size // 2) + '"',
        "astral": '"' + "\U0001d518" * (size // 4) + '"',
        "astral, escaped": '"' + "\\ud835\\udd18" * (size // 12) + '"',
        "half characters": '"' + "\\ud835" * (size // 6) + '"',
        "separators": '"' + "->" * (size // 2) + '"',
        "digits": "9" * size,
        "fraction": "0." + "9" * size,
        "exponent": "1e" + "9" * (size // 100),
        "largest of 64 bits": str(2**63 - 1),
        "beyond 64 bits": str(2**64),
        "negative": str(-(2**63)),
        "infinite": "1e999",
        "numbers": f"[{'0,' * (size // 2)}0]",
        "objects": f"[{'{},' * (size // 3)}{{}}]",
        "deep list": "[" * depth + "]" * depth,
        "deep object": '{"a":' * (size // 6) + "0" + "}" * (size // 6),
        "unclosed": "[" * size,
        "wide object": "{" + ",".join(f'"{n}":0' for n in range(size // 10)) + "}",
        "one key": "{" + ",".join(['"a":0'] * (size // 6)) + "}",
    }


class Shapes:
    """Valid JSON values of a class, and the same with a hole at each place.

    Args:
        cls: a message.
    """

    def __init__(self, cls: type) -> None:
        adapter: TypeAdapter[object] = TypeAdapter(cls)
        self._schema: Json = adapter.json_schema()
        self._definitions: Json = self._schema.get("$defs", {})

    def holes(self, fixed: Json) -> Iterator[tuple[str, Any, Any]]:
        """The path of each place, the message with a hole there, and a valid value for the hole.

        Args:
            fixed: values of fields that must not vary.
        """
        for path, message, valid in self._holes(self._schema, ""):
            if isinstance(message, dict) and path.split(".")[1] not in fixed:
                yield path, {**message, **fixed}, valid
            elif path:
                yield path, message, valid

    def _valid(self, schema: Json) -> Any:
        schema = self._resolved(schema)
        for key in ("const", "default"):
            if key in schema:
                return schema[key]
        if "enum" in schema:
            return schema["enum"][0]
        if "anyOf" in schema:
            return self._valid(schema["anyOf"][0])
        match schema.get("type"):
            case "object":
                required = schema.get("required", list(schema.get("properties", {}))[:1])
                return {name: self._valid(schema["properties"][name]) for name in required}
            case "array" if "prefixItems" in schema:
                return [self._valid(item) for item in schema["prefixItems"]]
            case "array":
                return [self._valid(schema["items"])] if schema.get("items") else []
            case "integer" | "number":
                return max(schema.get("minimum", 1), 1)
            case "boolean":
                return True
            case "string":
                return "x"
        return None

    def _holes(self, schema: Json, path: str) -> Iterator[tuple[str, Any, Any]]:
        schema = self._resolved(schema)
        if "anyOf" in schema:
            if path:
                yield path, HOLE, self._valid(schema)
            for variant in schema["anyOf"]:
                yield from (found for found in self._holes(variant, path) if found[0] != path)
            return
        yield path, HOLE, self._valid(schema)
        if schema.get("type") == "object":
            yield from self._holes_of_object(schema, path)
        elif schema.get("type") == "array":
            parts = schema.get("prefixItems") or [schema["items"]] * bool(schema.get("items"))
            for number, part in enumerate(parts):
                for inner, value, valid in self._holes(part, f"{path}[{number}]"):
                    yield (
                        inner,
                        [
                            *map(self._valid, parts[:number]),
                            value,
                            *map(self._valid, parts[number + 1 :]),
                        ],
                        valid,
                    )

    def _holes_of_object(self, schema: Json, path: str) -> Iterator[tuple[str, Any, Any]]:
        properties: Json = schema.get("properties", {})
        # Without required fields, the object holds exactly one of several tags.
        rest = self._valid(schema) if schema.get("required") else {}
        for name, part in properties.items():
            for inner, value, valid in self._holes(part, f"{path}.{name}"):
                yield inner, {**rest, name: value}, valid
        others = schema.get("additionalProperties")
        if isinstance(others, dict):
            for inner, value, valid in self._holes(others, f"{path}.*"):
                yield inner, {"x": value}, valid
        yield f"{path}.(unknown)", {**rest, "unknown": HOLE}, None
        yield f"{path}.(key)", {**rest, HOLE: 0}, None

    def _resolved(self, schema: Json) -> Json:
        while "$ref" in schema:
            schema = self._definitions[schema["$ref"].rpartition("/")[2]]
        return schema


def places(perform: type) -> Iterator[tuple[str, str, Any]]:
    """Every place in every message: its name, the text of the frame with a hole, and a valid value."""
    for name, cls in messages(perform).items():
        for path, message, valid in Shapes(cls).holes(HARMLESS.get(name, {})):
            yield f"{name}{path}", json.dumps({name: message}), valid
    yield "(frame)", _HOLE_TEXT, None
    yield "(name)", f"{{{_HOLE_TEXT}:{{}}}}", None
    yield "(envelopes)", f"[{_HOLE_TEXT},{_HOLE_TEXT}]", None


def hostile_frames(perform: type, size: int, *, every: bool) -> Iterator[str]:
    """Frames with a hostile value at each place.

    Args:
        perform: see `messages`.
        size: the approximate size of each frame in bytes.
        every: combine each place with each value, and with many copies of a valid one; else with one of them, in turn.
    """
    values = list(hostile_values(size).values())
    for number, (_, text, valid) in enumerate(places(perform)):
        copy = json.dumps(valid)
        copies = f"[{','.join([copy] * (size // (len(copy) + 1) + 1))}]"
        chosen = [*values, copies]
        for value in chosen if every else (chosen[number % len(chosen)],):
            if f"{_HOLE_TEXT}:" in text and not value.startswith('"'):
                value = json.dumps(value)  # a key must be text
            yield text.replace(_HOLE_TEXT, value)


def attack_every_field(context: AttackContext, perform: type) -> None:
    """Send all frames, to the leader and a follower in turn, and wait for each reply."""
    frames = hostile_frames(perform, context.scale(30_000, 400_000), every=context.full)
    nodes = [context.leader, context.follower]
    attackers = [Attacker(node.address) for node in nodes]
    for number, frame in enumerate(frames):
        at = number % len(nodes)
        if attackers[at].closed:  # a message of peers ends the connection
            attackers[at] = Attacker(nodes[at].address)
        attackers[at].replies.clear()
        attackers[at].send(frame)
        # An `Error` is never answered.
        expected = 0 if frame.startswith('{"Error"') else 1
        context.replies["no reply"] += not attackers[at].run(expected, 30)
        context.count(attackers[at].replies)
    for attacker in attackers:
        attacker.close()


def every_field_of_every_message(context: AttackContext) -> None:
    """Attack with the requests of the entity store."""
    attack_every_field(context, EntityPerform)


def every_field_of_text_requests(context: AttackContext) -> None:
    """Attack with the requests of a machine whose commands are text."""
    attack_every_field(context, TextPerform)
