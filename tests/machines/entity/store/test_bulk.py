"""StoreBulk: the steps that its requests take, its errors, and that it equals single commands."""

from __future__ import annotations

import json
from typing import Any  # requests and results are JSON, compared without a type

import pytest

from qcore.core.version import LATEST_RULES
from qcore.machines.entity.entity_store import EntityStore
from qcore.machines.limits import STORE_RULES
from tests.machines.entity.harness import people, read, write

STEPS = "qcore.machines.entity.transaction.MAX_OPERATIONS"


def create(parent: object = None, name: str = "x", entity_type: str = "User") -> dict[str, Any]:
    return {"CreateEntity": {"entity_type": entity_type, "parent_id": parent, "name": name}}


def delete(entity_id: object) -> dict[str, Any]:
    return {"DeleteEntity": {"entity_id": entity_id}}


def rename(entity_id: object, name: str) -> dict[str, Any]:
    return {"RenameEntity": {"entity_id": entity_id, "name": name}}


def move(entity_id: object, parent: object) -> dict[str, Any]:
    return {"MoveEntity": {"entity_id": entity_id, "parent_id": parent}}


def made(number: int) -> dict[str, int]:
    """The entity that a request of the list creates."""
    return {"created": number}


# --- steps ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "steps"),
    [
        ("read", 2),
        ("write", 2),
        ("rename", 2),
        ("create", 3),
        ("create below", 5),
        ("delete", 2),
        ("delete below", 4),
        ("move up", 3),
        ("move down", 6),
    ],
)
def test_the_steps_of_each_request(kind: str, steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    harness = people()
    folder, other = harness.create("Folder"), harness.create("Folder")
    users = [
        harness.create("User", folder if "below" in kind or kind == "move up" else None)
        for _ in range(10)
    ]
    requests = {
        "read": [read(user, "Age") for user in users],
        "write": [write(user, "Age", {"Int": 3}) for user in users],
        "rename": [rename(user, "new") for user in users],
        "create": [create()] * 10,
        "create below": [create(folder)] * 10,
        "delete": [delete(user) for user in users],
        "delete below": [delete(user) for user in users],
        "move up": [move(user, None) for user in users],
        "move down": [move(user, other) for user in users],
    }[kind]
    monkeypatch.setattr(STEPS, 10 * steps - 1)
    before = harness.store.state_hash()
    error = harness.error("StoreBulk", requests=requests)
    assert error.startswith("StoreBulk.requests.9.")
    assert f"{9 * steps} steps" in error
    assert "split the list into several StoreBulk" in error
    assert harness.store.state_hash() == before
    monkeypatch.setattr(STEPS, 10 * steps)
    harness.ok("StoreBulk", requests=requests)


def test_one_request_that_takes_too_many_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(STEPS, 10)
    harness = people()
    folder = harness.create("Folder")
    for _ in range(20):
        harness.create("User", folder)
    for error in (
        harness.error("StoreBulk", requests=[delete(folder)]),
        harness.error("StoreDeleteEntity", entity_id=folder),
    ):
        assert "delete what is below an entity before the entity itself" in error


def test_under_rules_3_a_create_counts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(STEPS, 1)
    harness = people(rules=STORE_RULES - 1)
    folder = harness.create("Folder")
    harness.create("User", folder)
    harness.rules = LATEST_RULES
    result = harness.send("CreateEntity", entity_type="User", parent_id=folder, name="x")
    assert result["detail"]["code"] == "TooManyOperations"


def test_a_bulk_reads_no_more_than_a_command_may(monkeypatch: pytest.MonkeyPatch) -> None:
    """The text of a long list is not built only to be rejected."""
    harness = people()
    user = harness.create("User")
    harness.update(write(user, "Email", {"String": "x" * 3000}))
    monkeypatch.setattr(
        "qcore.machines.entity.operations.update_fields.MAX_WRITE_RESPONSE_BYTES", 2000
    )
    error = harness.error("StoreBulk", requests=[read(user, "Email")])
    assert error.startswith("StoreBulk.requests.0.Read: the values read exceed 2000 bytes")


# --- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("requests", "error"),
    [
        (
            [{"CreateEntity": {"entity_type": "User", "parent_id": None}}],
            "StoreBulk.requests.0.CreateEntity.name: missing field",
        ),
        ([create(), create(), {"Frob": {}}], "StoreBulk.requests.2.Frob: unknown field"),
        ([{}], "StoreBulk.requests.0: expected an object with exactly one key"),
        (
            [create({"created": -1})],
            "StoreBulk.requests.0.CreateEntity.parent_id.created: input should be",
        ),
        (
            [create(None, "x", "Nope")],
            'StoreBulk.requests.0.CreateEntity: entity type "Nope" has no schema',
        ),
        (
            [create(made(0))],
            'StoreBulk.requests.0.CreateEntity: {"created":0}: request 0 is not an earlier',
        ),
        (
            [create(), rename(made(0), "y"), delete(made(1))],
            'StoreBulk.requests.2.DeleteEntity: {"created":1}',
        ),
    ],
)
def test_an_error_names_the_place_like_the_node(requests: list[Any], error: str) -> None:
    """A node describes an invalid message with the same path: docs/reference/wire.md."""
    assert people().error("StoreBulk", requests=requests).startswith(error)


def test_an_unknown_request_of_the_store() -> None:
    store = EntityStore()
    harness = people()
    result = json.loads(store.apply('{"StoreFrob":{}}', harness.context()))
    assert result["response"]["Err"].startswith(
        "StoreFrob: unknown request; it must be one of StoreCreateEntity, StoreDeleteEntity"
    )
    result = json.loads(store.apply('{"Store', harness.context()))
    assert result["response"]["Err"].startswith("request: invalid JSON")
