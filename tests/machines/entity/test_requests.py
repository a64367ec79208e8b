"""Conversion of a client's `Perform.request` to a command or query, and errors that name the field."""

from __future__ import annotations

import json
from typing import Any  # requests are JSON

import pytest
from pydantic import TypeAdapter, ValidationError

from qcore.errors import BadRequest
from qcore.machines.entity.requests.perform_requests import (
    PerformRequest,
    encode_request,
    parse_command,
    parse_request,
)
from tests.machines.entity.harness import USER, field, read, schema, write

ID = {"typ": "User", "id": 1}
CREATE = {"entity_type": "User", "parent_id": ID, "name": "Ada"}

VALID: list[tuple[str, dict[str, Any]]] = [
    ("write", {"CreateEntity": CREATE}),
    ("write", {"CreateEntity": {**CREATE, "parent_id": None}}),
    ("write", {"DeleteEntity": {"entity_id": ID}}),
    ("write", {"SetSchema": {"entity_schema": USER}}),
    ("write", {"SetSchema": {"entity_schema": {**USER, "_marker": None}}}),
    ("read", {"GetSchema": {"entity_type": "User"}}),
    ("read", {"GetCompleteSchema": {"entity_type": "User"}}),
    ("read", {"UpdateEntity": {"request": []}}),
    ("read", {"UpdateEntity": {"request": [read(ID, "Name"), read(ID, "Age")]}}),
    ("write", {"UpdateEntity": {"request": [read(ID, "Name"), write(ID, "Age", {"Int": 1})]}}),
    ("write", {"UpdateEntity": {"request": [write(ID, "X", {"EntityReference": None})]}}),
]


@pytest.mark.parametrize(("kind", "request_"), VALID)
def test_a_valid_request_goes_to_the_log_or_to_a_read(kind: str, request_: dict[str, Any]) -> None:
    text = json.dumps(request_)
    assert parse_request(text) == parse_request(text.encode()) == parse_request(request_)
    way, payload = parse_request(text)
    assert way == kind
    assert json.loads(payload) == request_
    assert encode_request(TypeAdapter(PerformRequest).validate_json(text)) == (way, payload)
    assert encode_request(parse_command(payload)) == (way, payload)


def test_the_payload_is_canonical() -> None:
    shuffled = '{ "CreateEntity" : {"name":"\\u0041da", "parent_id":null, "entity_type":"User"} }'
    assert parse_request(shuffled)[1] == (
        '{"CreateEntity":{"entity_type":"User","parent_id":null,"name":"Ada"}}'
    )
    # An integer is valid as a Float.
    request = {"UpdateEntity": {"request": [write(ID, "Score", {"Float": 1})]}}
    assert '{"Float":1.0}' in parse_request(request)[1]


def without(body: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name != key}


def updating(**changes: object) -> dict[str, Any]:
    return {"UpdateEntity": {"request": [{"Write": {**write(ID, "X", None)["Write"], **changes}}]}}


def setting(kind: str, default: object, **more: object) -> dict[str, Any]:
    return {"SetSchema": {"entity_schema": schema("T", None, field(kind, "F", default, **more))}}


WRITE = "request.UpdateEntity.request.0.Write"
FIELD = "request.SetSchema.entity_schema.fields.F"
INVALID: list[tuple[Any, str]] = [
    ({}, "request: expected an object with exactly one key"),
    ([], "request: input should be a"),
    ({"Frob": {}}, "request.Frob: unknown request; it must be one of UpdateEntity, CreateEntity"),
    (
        {"LoadTopology": {"schemas": [], "entities": []}},
        "request.LoadTopology: unknown request",
    ),
    (
        {"CreateEntity": CREATE, "DeleteEntity": {"entity_id": ID}},
        "request: expected an object with exactly one key",
    ),
    *(
        ({"CreateEntity": without(CREATE, key)}, f"request.CreateEntity.{key}: missing field")
        for key in CREATE
    ),
    ({"CreateEntity": {**CREATE, "id": 7}}, "request.CreateEntity.id: unknown field"),
    ({"CreateEntity": {**CREATE, "name": 7}}, "request.CreateEntity.name: input should be"),
    ({"CreateEntity": {**CREATE, "x y" * 50: 7}}, 'request.CreateEntity."x yx y'),
    (
        {"DeleteEntity": {"entity_id": "User$1"}},
        "request.DeleteEntity.entity_id: input should be",
    ),
    ({"DeleteEntity": {"entity_id": {"typ": "U", "id": -1}}}, "entity_id.id: input should be"),
    ({"DeleteEntity": {"entity_id": {"typ": "U", "id": 2**64}}}, "entity_id.id: input should be"),
    ({"DeleteEntity": {"entity_id": {"typ": "U", "id": True}}}, "entity_id.id: input should be"),
    ({"UpdateEntity": {"request": [{"Frob": {}}]}}, "UpdateEntity.request.0.Frob: unknown field"),
    ({"UpdateEntity": {"request": {}}}, "UpdateEntity.request: input should be"),
    (updating(push_condition="Never"), f"{WRITE}.push_condition: input should be 'Always' or"),
    (updating(adjust_behavior="set"), f"{WRITE}.adjust_behavior: input should be 'Set', 'Add' or"),
    (updating(write_time=5), f"{WRITE}.write_time: input should be"),
    (updating(writer_id=5), f"{WRITE}.writer_id: input should be"),
    (updating(value=5), f"{WRITE}.value: input should be"),
    (updating(value={}), f"{WRITE}.value: expected an object with exactly one key"),
    (updating(value={"Int": 1, "Bool": True}), f"{WRITE}.value: expected an object with exactly"),
    (updating(value={"Integer": 1}), f"{WRITE}.value.Integer: unknown field"),
    (updating(value={"Int": 1.5}), f"{WRITE}.value.Int: input should be"),
    (updating(value={"Int": "1"}), f"{WRITE}.value.Int: input should be"),
    (updating(value={"Int": 2**63}), f"{WRITE}.value.Int: input should be"),
    (updating(value={"Bool": 1}), f"{WRITE}.value.Bool: input should be"),
    (updating(value={"String": None}), f"{WRITE}.value.String: input should be"),
    (updating(value={"Choice": "Admin"}), f"{WRITE}.value.Choice: input should be"),
    (updating(value={"Float": float("nan")}), f"{WRITE}.value.Float: input should be a finite"),
    (updating(value={"Float": float("inf")}), f"{WRITE}.value.Float: input should be a finite"),
    (updating(value={"Blob": [1, 256]}), f"{WRITE}.value.Blob.1: input should be"),
    (updating(value={"EntityList": [None]}), f"{WRITE}.value.EntityList.0: input should be"),
    (
        updating(value={"Timestamp": {"secs_since_epoch": 1}}),
        f"{WRITE}.value.Timestamp.nanos_since_epoch: missing field",
    ),
    (
        updating(value={"Timestamp": {"secs_since_epoch": 1, "nanos_since_epoch": 10**9}}),
        f"{WRITE}.value.Timestamp.nanos_since_epoch: input should be",
    ),
    (setting("Number", 0), f"{FIELD}.Number: unknown field"),
    (setting("Int", "0"), f"{FIELD}.Int.default_value: input should be"),
    (setting("Int", 0, rank=1.5), f"{FIELD}.Int.rank: input should be"),
    (setting("Int", 0, choices=[]), f"{FIELD}.Int.choices: unknown field"),
    (setting("Choice", 0), f"{FIELD}.Choice.choices: missing field"),
    (setting("Int", 0, read_permission="x"), f"{FIELD}.Int.read_permission: input should be"),
    (
        {"SetSchema": {"entity_schema": {**USER, "_marker": 1}}},
        "request.SetSchema.entity_schema._marker: input should be",
    ),
]


@pytest.mark.parametrize(("request_", "expected"), INVALID)
def test_invalid_request_is_rejected_naming_the_field(request_: Any, expected: str) -> None:
    for form in (json.dumps(request_), request_):
        with pytest.raises(BadRequest) as caught:
            parse_request(form)
        assert expected in str(caught.value)
        assert len(str(caught.value)) < 400


@pytest.mark.parametrize("text", ["", "{", "\ud800", "[" * 100_000, '{"Get', b"\xff", "1e999"])
def test_invalid_json_is_rejected(text: str | bytes) -> None:
    with pytest.raises(BadRequest, match="request"):
        parse_request(text)


def test_lone_surrogate_from_a_lenient_parser_is_rejected() -> None:
    with pytest.raises(BadRequest, match="surrogate"):
        parse_request({"GetSchema": {"entity_type": "\ud800"}})


def test_the_type_locates_errors_in_one_pass() -> None:
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(PerformRequest).validate_json('{"CreateEntity": {"entity_type": 1}}')
    locations = [error["loc"] for error in caught.value.errors()]
    assert ("CreateEntity", "entity_type") in locations
    assert ("CreateEntity", "name") in locations


@pytest.mark.parametrize("value", [{"Blob": ["x"] * 1000}, {"EntityList": [None] * 1000}])
def test_only_the_first_of_several_mistakes_is_reported(value: object) -> None:
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(PerformRequest).validate_python(updating(value=value))
    assert caught.value.error_count() == 1
