"""Drives an entity store like a node, with requests as Python values."""

from __future__ import annotations

import json
from typing import Any  # requests and results are JSON, compared without a type

from qcore.core.version import LATEST_RULES
from qcore.errors import BadRequest
from qcore.machines.entity.entity_store import EntityStore
from qcore.machines.entity.requests.perform_requests import parse_request
from qcore.machines.interface import ApplyContext

#: The time of log entry i is this plus i microseconds.
EPOCH_US = 1_700_000_000_000_000


def field(kind: str, name: str, default: object, **more: object) -> dict[str, Any]:
    body = {
        "field_type": name,
        "default_value": default,
        "rank": 0,
        "read_permission": None,
        "write_permission": None,
        **more,
    }
    return {name: {kind: body}}


def schema(entity_type: str, inherit: str | None, *fields: dict[str, Any]) -> dict[str, Any]:
    merged = {name: body for one in fields for name, body in one.items()}
    return {"entity_type": entity_type, "inherit": inherit, "fields": merged}


OBJECT = schema(
    "Object",
    None,
    field("String", "Name", ""),
    field("EntityReference", "Parent", None),
    field("EntityList", "Children", []),
)
FOLDER = schema("Folder", "Object")
USER = schema(
    "User",
    "Object",
    field("Blob", "Key", [1]),
    field("Bool", "Active", True),
    field("Choice", "Role", 0, choices=["Guest", "Admin"]),
    field("EntityList", "Friends", []),
    field("EntityReference", "Manager", None),
    field("Float", "Score", 0.5),
    field("Int", "Age", 18),
    field("String", "Email", "?"),
    field("Timestamp", "Joined", {"secs_since_epoch": 1, "nanos_since_epoch": 5}),
)


def read(entity_id: object, path: str) -> dict[str, Any]:
    return {
        "Read": {
            "entity_id": entity_id,
            "field_type": path,
            "value": None,
            "write_time": None,
            "writer_id": None,
        }
    }


def write(entity_id: object, path: str, value: object, **more: object) -> dict[str, Any]:
    body = {
        "entity_id": entity_id,
        "field_type": path,
        "value": value,
        "push_condition": "Always",
        "adjust_behavior": "Set",
        "write_time": None,
        "writer_id": None,
        **more,
    }
    return {"Write": body}


class StoreHarness:
    """A store and the last index of its log."""

    def __init__(self, *schemas: dict[str, Any], rules: int = LATEST_RULES) -> None:
        self.store = EntityStore()
        self.index = 0
        self.rules = rules
        for one in schemas:
            assert self.set_schema(one) == {"error": None}

    def context(self) -> ApplyContext:
        """The context of the next log entry."""
        self.index += 1
        return ApplyContext(self.index, EPOCH_US + self.index, rules=self.rules)

    def send(self, kind: str, **fields: object) -> Any:
        """Send a request like a client. Returns the content of the response under its tag."""
        way, payload = parse_request(json.dumps({kind: fields}))
        store = self.store
        result = store.query(payload) if way == "read" else store.apply(payload, self.context())
        response = json.loads(result)
        assert list(response) == [kind]
        return response[kind]

    def store_request(self, request: str, **fields: object) -> Any:
        """Send a request of the store: as a query if it only reads. Returns the content of the response."""
        payload = json.dumps({request: fields})
        try:
            result = self.store.query(payload)
        except BadRequest:
            result = self.store.apply(payload, self.context())
        content = json.loads(result)
        assert list(content) in (["response"], ["response", "detail"])
        return content["response"]

    def ok(self, request: str, **fields: object) -> Any:
        """Like `store_request`, for a request that succeeds with `Ok`."""
        response = self.store_request(request, **fields)
        assert list(response) == ["Ok"], response
        return response["Ok"]

    def error(self, request: str, **fields: object) -> str:
        """Like `store_request`, for a request that fails. Returns the error's text."""
        response = self.store_request(request, **fields)
        assert list(response) == ["Err"], response
        text = response["Err"]
        assert isinstance(text, str)
        return text

    def set_schema(self, entity_schema: object) -> Any:
        return self.send("SetSchema", entity_schema=entity_schema)

    def create(self, entity_type: str, parent_id: object = None, name: str = "x") -> Any:
        response = self.send(
            "CreateEntity", entity_type=entity_type, parent_id=parent_id, name=name
        )
        assert response["error"] is None
        return response["response"]

    def update(self, *requests: object) -> Any:
        return self.send("UpdateEntity", request=list(requests))

    def value(self, entity_id: object, path: str) -> Any:
        response = self.update(read(entity_id, path))
        assert response["error"] is None
        return response["response"][0]["Read"]["value"]

    def exists(self, entity_id: object) -> bool:
        response = self.update(read(entity_id, "Name"))
        return response["error"] is None


def people(rules: int = LATEST_RULES) -> StoreHarness:
    """A harness with the schemas above."""
    return StoreHarness(OBJECT, FOLDER, USER, rules=rules)


def code(response: Any) -> str | None:
    """The code of a response's error."""
    assert ("detail" in response) == (response["error"] is not None)
    return response["detail"]["code"] if "detail" in response else None
