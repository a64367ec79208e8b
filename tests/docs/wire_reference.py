"""Writes docs/wire.schema.json and docs/reference/messages.md from the messages: `python -m tests.docs.wire_reference`.

It needs the pure build (`QCORE_PURE=1`). `make fix` runs it, and a test compares both with the messages.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter

from qcore import BUILD
from qcore.node.application import EntityPerform
from qcore.store_api.message_table import STORE_MESSAGES
from qcore.store_api.perform_response import PerformResponse
from qcore.store_api.watch_messages import WATCH_MESSAGES
from qcore.store_api.watch_responses import NOTIFICATIONS, WATCH_RESPONSES
from qcore.transport.wire import FOUNDING_REQUESTS, PEER_REQUESTS, REGISTRY, USER_REQUESTS
from tests.checkout import DOCS

SCHEMA = DOCS / "wire.schema.json"
PAGE = DOCS / "reference" / "messages.md"

#: Objects with exactly one of their keys.
TAGGED = {
    "ValueTags",
    "_FieldRequest",
    "_FieldSchemaJson",
    "_PerformRequest",
    "_PerformOutcome",
    "_BulkRequest",
    "_BulkValueTags",
    "_NotificationConfig",
}

#: Definitions that the page explains in other words.
UNSHOWN = {"Err", "JsonValue"}

PEERS = "Between nodes"

TYPES_TEXT = (
    "What the messages of clients hold. A Blob is a list of bytes, each an integer from 0 to 255."
)

INTRODUCTION = """# Messages

Every message of the [wire protocol](wire.md), with its fields. `python -m tests.docs.wire_reference` writes this page
from the code. The same as a JSON Schema (draft 2020-12) is in `docs/wire.schema.json`.

A message travels as `{"Name": {"id": "...", fields}}`. Its response has the name with `Response` at the end, the same
`id`, and `response`, which is `{"Ok": value}` or `{"Err": "text"}` unless this page says otherwise. With an error comes
`detail`. The messages of the entity store have a second name without `Store`, with the same fields.
"""


@dataclass(slots=True, frozen=True)
class Section:
    title: str
    text: str
    names: tuple[str, ...]


def sections() -> list[Section]:
    """The messages in the order of the page. Every request of a client or node is in one of them."""
    added = tuple(
        name
        for name, entry in STORE_MESSAGES.items()
        if entry.cls.__module__.endswith("added_messages")
    )
    store = tuple(name for name in STORE_MESSAGES if name.startswith("Store") and name not in added)
    return [
        Section(
            "Cluster",
            "Membership, leader and versions of a cluster.",
            (
                "Init",
                "AddLearner",
                "ChangeMembership",
                "MoveMember",
                "TransferLeader",
                "ReinstallMember",
                "UpgradeMachine",
                "GetMetrics",
                "GetActivity",
            ),
        ),
        Section(
            "Users",
            "Who a client is, and who may do what. Where there are users, a message that its user may not send gets an "
            "`Error` with the code `Unauthenticated` or `PermissionDenied`.",
            tuple(cls.__name__ for cls in USER_REQUESTS),
        ),
        Section("Sessions", "Exactly-once writes.", ("OpenSession", "KeepSession", "CloseSession")),
        Section("State machine", "Requests for any state machine.", ("Perform",)),
        Section("Entity store", "The names of the followed system.", store),
        Section("Entity store, added by qcore", "These have one name only.", added),
        Section(
            "Watches",
            "A watch belongs to its connection. The response to a registration has `after`, too.",
            tuple(filter(_has_long_name, WATCH_MESSAGES)),
        ),
        Section(
            "Notifications",
            "A node sends these to watching clients. A watch that it ends gets an `Error` whose `id` is the token.",
            tuple(filter(_has_long_name, NOTIFICATIONS)),
        ),
        Section("Copies of the state", "In chunks, of any size.", ("SaveSnapshot", "ReadSnapshot")),
        Section(
            "Founders",
            "Nodes with [`--auto-init`](../operate/discovery.md) send these before they belong to a cluster.",
            tuple(cls.__name__ for cls in FOUNDING_REQUESTS),
        ),
        Section(
            PEERS,
            "A node accepts these from a member of its cluster only, after `Hello`.",
            ("Hello", "HelloProof", *(cls.__name__ for cls in PEER_REQUESTS)),
        ),
    ]


def _has_long_name(name: str) -> bool:
    return f"Store{name}" not in {**WATCH_MESSAGES, **NOTIFICATIONS}


def registry() -> dict[str, type]:
    """Every message of a node that runs the entity store, by name."""
    found = {**REGISTRY, "Perform": EntityPerform, "PerformResponse": PerformResponse}
    found |= {**WATCH_MESSAGES, **WATCH_RESPONSES}
    found |= NOTIFICATIONS
    for name, entry in STORE_MESSAGES.items():
        found[name] = entry.cls
        found[entry.response.__name__] = entry.response
    return found


def schema() -> dict[str, Any]:
    """The JSON Schema of a frame."""
    messages = registry()
    references, document = TypeAdapter.json_schemas(
        [(name, "validation", TypeAdapter(cls)) for name, cls in messages.items()]
    )
    definitions: dict[str, Any] = document["$defs"]
    for name, body in definitions.items():
        _tidy(body)
        if body.get("type") == "object" and name not in ("Hello", "HelloReply", "HelloProof"):
            body.setdefault("additionalProperties", False)
        if name in TAGGED:
            body |= {"minProperties": 1, "maxProperties": 1}
        if "description" in body:
            _set_descriptions(body, *_parsed(body["description"]))
    for name, cls in messages.items():
        key = references[name, "validation"]["$ref"].rpartition("/")[2]
        _explain(definitions[key], cls)
    envelopes = [
        {
            "type": "object",
            "properties": {name: references[name, "validation"]},
            "required": [name],
            "additionalProperties": False,
        }
        for name in messages
    ]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A frame of the qcore wire protocol",
        "description": "One envelope, or an array of envelopes. docs/reference/wire.md explains them.",
        "oneOf": [
            {"$ref": "#/$defs/Envelope"},
            {
                "type": "array",
                "items": {"$ref": "#/$defs/Envelope"},
                "minItems": 1,
                "maxItems": 4096,
            },
        ],
        "$defs": {"Envelope": {"oneOf": envelopes}, **definitions},
    }


def _tidy(node: Any) -> None:
    """Remove the titles that pydantic makes from names."""
    if isinstance(node, dict):
        if isinstance(node.get("title"), str):
            del node["title"]
        for part in node.values():
            _tidy(part)
    elif isinstance(node, list):
        for part in node:
            _tidy(part)


def _explain(body: dict[str, Any], cls: type) -> None:
    """Take the descriptions of a message and its fields from its docstring."""
    _set_descriptions(body, *documentation(cls))


def _set_descriptions(body: dict[str, Any], text: str, fields: dict[str, str]) -> None:
    body.pop("description", None)
    if text:
        body["description"] = text
    for name, meaning in fields.items():
        if name in body["properties"]:
            body["properties"][name]["description"] = meaning


def documentation(cls: type) -> tuple[str, dict[str, str]]:
    """The text of a class's docstring, and the meanings of its attributes."""
    docstring = inspect.cleandoc(cls.__doc__ or "")
    if docstring.startswith(f"{cls.__name__}("):
        return "", {}  # made by dataclass
    return _parsed(docstring)


def _parsed(docstring: str) -> tuple[str, dict[str, str]]:
    # A client sends JSON.
    text, _, attributes = re.sub(r"\bNone\b", "null", docstring).partition("\nAttributes:\n")
    fields: dict[str, str] = {}
    names: list[str] = []
    for line in attributes.splitlines():
        entry = re.match(r"    (\w+(?:, \w+)*): (.*)", line)
        if entry is not None:
            names = entry[1].split(", ")
            fields.update(dict.fromkeys(names, entry[2]))
        elif line.strip():
            fields.update({name: f"{fields[name]} {line.strip()}" for name in names})
    return " ".join(text.split()), fields


def page() -> str:
    """The text of the page."""
    messages, document = registry(), schema()
    parts = [INTRODUCTION]
    for section in sections():
        parts.append(f"\n## {section.title}\n\n{section.text}\n")
        for name in section.names:
            parts += _message(name, messages, document["$defs"])
    parts.append(f"\n## Types\n\n{TYPES_TEXT}\n")
    for name in _types(messages, document["$defs"]):
        parts += _type(name, document["$defs"])
    return "".join(parts)


def _types(messages: dict[str, type], definitions: dict[str, Any]) -> list[str]:
    """The definitions that messages of clients use, directly or through others, in the order of their names."""
    names = {name for section in sections() if section.title != PEERS for name in section.names}
    names |= {f"{name}Response" for name in names if f"{name}Response" in messages}
    to_visit: list[Any] = [_definition(messages[name], definitions) for name in names]
    found: dict[str, None] = {}
    while to_visit:
        node = to_visit.pop()
        if isinstance(node, list):
            to_visit += node
        elif isinstance(node, dict):
            name = str(node.get("$ref", "")).rpartition("/")[2]
            if name and name not in found:
                found[name] = None
                to_visit.append(definitions[name])
            to_visit += node.values()
    shown = (name for name in found if not name.startswith("Ok_") and name not in UNSHOWN)
    return sorted(shown, key=_shown_name)


def _type(name: str, definitions: dict[str, Any]) -> Iterator[str]:
    body = definitions[name]
    yield f"\n### {_shown_name(name)}\n"
    if body.get("description"):
        yield f"\n{' '.join(body['description'].split())}\n"
    if "properties" not in body:
        yield f"\n{type_text(body, definitions)}\n"
    elif name in TAGGED:
        yield "\nAn object with exactly one of these keys:\n\n| key | content |\n|---|---|\n"
        for key, part in body["properties"].items():
            yield f"| `{key}` | {type_text(part, definitions)} |\n"
    else:
        yield from _rows(body, body["properties"], definitions)


def _rows(
    body: dict[str, Any], properties: dict[str, Any], definitions: dict[str, Any]
) -> Iterator[str]:
    required = body.get("required", ())
    if properties:
        yield "\n| field | type | required | meaning |\n|---|---|---|---|\n"
    for field, part in properties.items():
        yield (
            f"| `{field}` | {type_text(part, definitions)} | {'yes' if field in required else 'no'} | "
            f"{_cell(part.get('description', ''))} |\n"
        )


def _shown_name(name: str) -> str:
    return name.rpartition("__")[2].lstrip("_").removesuffix("Json")


def _message(name: str, messages: dict[str, type], definitions: dict[str, Any]) -> Iterator[str]:
    body = _definition(messages[name], definitions)
    yield f"\n### {name}\n"
    short = name.removeprefix("Store")
    if short != name and short in messages:
        yield f"\nAlso `{short}`.\n"
    if body.get("description"):
        yield f"\n{body['description']}\n"
    fields = {field: part for field, part in body["properties"].items() if field != "id"}
    yield from _rows(body, fields, definitions)
    response = messages.get(f"{name}Response")
    if response is not None:
        part = _definition(response, definitions)["properties"]["response"]
        yield f"\nResponse: {type_text(part, definitions)}\n"


def _definition(cls: type, definitions: dict[str, Any]) -> dict[str, Any]:
    for name in (cls.__name__, f"{cls.__module__}.{cls.__qualname__}".replace(".", "__")):
        if name in definitions:
            found: dict[str, Any] = definitions[name]
            return found
    raise KeyError(cls)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def type_text(part: dict[str, Any], definitions: dict[str, Any]) -> str:
    """A type of the schema in words."""
    if "$ref" in part:
        name = part["$ref"].rpartition("/")[2]
        body = definitions[name]
        if name.startswith("Ok_"):
            return f"`Ok`: {type_text(body['properties']['Ok'], definitions)}"
        if name == "Err":
            return "`Err`"
        if name == "JsonValue":
            return "any JSON"
        return f"`{_shown_name(name)}`"
    if "anyOf" in part or "oneOf" in part:
        choices = [type_text(each, definitions) for each in part.get("anyOf") or part["oneOf"]]
        return " or ".join(dict.fromkeys(choices))
    if "enum" in part:
        return " or ".join(f"`{json.dumps(each)}`" for each in part["enum"])
    if "const" in part:
        return f"`{json.dumps(part['const'])}`"
    kind = part.get("type")
    if kind == "array":
        if "prefixItems" in part:
            inner = ", ".join(type_text(each, definitions) for each in part["prefixItems"])
            return f"[{inner}]"
        return f"list of {type_text(part.get('items', {}), definitions)}"
    if kind == "object":
        return "object"
    return {
        "string": "text",
        "integer": "integer",
        "number": "number",
        "boolean": "true or false",
    }.get(str(kind), str(kind or "any JSON"))


def main() -> None:
    """Write both files."""
    if BUILD == "compiled":
        raise SystemExit(
            "set QCORE_PURE=1: pydantic names the parts of compiled messages otherwise"
        )
    SCHEMA.write_text(schema_text(), encoding="utf-8")
    PAGE.write_text(page(), encoding="utf-8")


def schema_text() -> str:
    """The JSON Schema as text."""
    return json.dumps(schema(), indent=1) + "\n"


if __name__ == "__main__":
    main()
