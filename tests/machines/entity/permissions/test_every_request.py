"""Every command and query of the entity store needs what it touches, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from qcore.machines.entity.requests import perform_requests, store_requests
from tests.machines.entity.harness import field, read, schema
from tests.machines.entity.permissions.granted import (
    DENIED,
    READERS,
    WRITERS,
    Company,
    code,
    user,
)

EVERYTHING_READ, EVERYTHING_WRITTEN = "*.*:r", "*.*:w"


class Case(NamedTuple):
    """A request, and what it needs: not one of these may be missing."""

    request: str
    body: Callable[[Company], dict[str, Any]]
    needed: tuple[str, ...]
    label: str = ""


def _page(**more: object) -> dict[str, Any]:
    return {"page_opts": None, **more}


def _field_requests(*requests: Callable[[Company], Any]) -> Callable[[Company], dict[str, Any]]:
    return lambda store: {"requests": [make(store) for make in requests]}


_age = {"Int": 3}
_new_field = schema("Folder", "Object", field("Int", "Size", 1))
_create = ("User.*:w", "Folder.Children:w")

CASES = [
    Case("StoreCreateEntity", lambda s: _creation(s), _create),
    Case("CreateEntity", lambda s: _creation(s), _create),
    Case("StoreDeleteEntity", lambda s: {"entity_id": s.bob}, _create),
    Case("DeleteEntity", lambda s: {"entity_id": s.bob}, _create),
    Case(
        "StoreDeleteEntity",
        lambda s: {"entity_id": s.ann},
        ("Employee.*:w", WRITERS, "Folder.Children:w"),
        "with a protected field",
    ),
    Case(
        "StoreDeleteEntity",
        lambda s: {"entity_id": s.top},
        ("Folder.*:w", "User.*:w", WRITERS),
        "with descendants",
    ),
    Case(
        "StoreSetEntitySchema",
        lambda s: {"schema": _new_field},
        (EVERYTHING_READ, EVERYTHING_WRITTEN),
    ),
    Case(
        "SetSchema",
        lambda s: {"entity_schema": schema("Employee", "User")},
        (EVERYTHING_READ, EVERYTHING_WRITTEN, READERS, WRITERS),
    ),
    Case(
        "StoreSetFieldSchema",
        lambda s: {
            "entity_type": "Employee",
            "field_type": "Salary",
            "schema": field("Int", "Salary", 1)["Salary"],
        },
        (EVERYTHING_READ, EVERYTHING_WRITTEN, READERS, WRITERS),
    ),
    Case("StoreGetEntitySchema", lambda s: {"entity_type": "User"}, ("User.Age:r",)),
    Case("StoreGetCompleteEntitySchema", lambda s: {"entity_type": "User"}, ("User.Age:r",)),
    Case("GetSchema", lambda s: {"entity_type": "User"}, ("Object.Name:r",)),
    Case("GetCompleteSchema", lambda s: {"entity_type": "User"}, ("*.Name:r",)),
    Case(
        "StoreGetFieldSchema",
        lambda s: {"entity_type": "Employee", "field_type": "Salary"},
        ("User.Salary:r", READERS),
    ),
    Case("StoreEntityExists", lambda s: {"entity_id": s.bob}, ("User.Age:w",)),
    Case(
        "StoreFieldExists",
        lambda s: {"entity_id": s.ann, "field_type": "Manager->Age"},
        ("Employee.Manager:r", "User.Email:r"),
    ),
    Case(
        "StorePerform",
        _field_requests(lambda s: read(s.ann, "Salary")),
        ("Employee.Salary:r", READERS),
        "read",
    ),
    Case(
        "StorePerform",
        _field_requests(lambda s: s.set(s.ann, "Salary", _age)),
        ("Employee.*:w", WRITERS),
        "write",
    ),
    Case(
        "StorePerform",
        _field_requests(lambda s: s.set(s.bob, "Age", _age, adjust_behavior="Add")),
        ("User.Age:w", "User.Age:r"),
        "add",
    ),
    Case(
        "StorePerform",
        _field_requests(lambda s: s.set(s.bob, "Age", _age, push_condition="Changes")),
        ("User.Age:w", "User.Age:r"),
        "write of a change",
    ),
    Case(
        "StorePerform",
        _field_requests(lambda s: s.set(s.bob, "Age", None)),
        ("User.Age:w", "User.Age:r"),
        "write of the default",
    ),
    Case(
        "StorePerform",
        _field_requests(lambda s: s.set(s.ann, "Manager->Age", _age)),
        ("Employee.Manager:r", "User.Age:w"),
        "write through a reference",
    ),
    Case(
        "StorePerform",
        _field_requests(lambda s: read(s.top, "Children->1->Manager->Email")),
        ("Folder.Children:r", "Employee.Manager:r", "User.Email:r"),
        "read through a list",
    ),
    Case(
        "StorePerform",
        _field_requests(lambda s: read(s.top, "Children->0:1")),
        ("Folder.Children:r",),
        "part of a list",
    ),
    Case(
        "StorePerform",
        _field_requests(lambda s: s.set(s.top, "Children", {"EntityList": [s.bob]})),
        ("Folder.Children:w",),
        "write of the children",
    ),
    Case(
        "UpdateEntity",
        lambda s: {"request": [read(s.bob, "Age"), s.set(s.bob, "Email", {"String": "b"})]},
        ("User.Age:r", "User.Email:w"),
    ),
    Case("StoreRenameEntity", lambda s: {"entity_id": s.bob, "name": "b"}, ("User.Name:w",)),
    Case(
        "StoreMoveEntity",
        lambda s: {"entity_id": s.bob, "parent_id": s.other},
        ("User.Parent:w", "Folder.Children:w"),
    ),
    Case(
        "StoreBulk",
        lambda s: {
            "requests": [
                {"CreateEntity": _creation(s)},
                {"Write": s.set({"created": 0}, "Age", _age)["Write"]},
                {"Read": read(s.ann, "Email")["Read"]},
                {"RenameEntity": {"entity_id": s.other, "name": "o"}},
                {"MoveEntity": {"entity_id": s.bob, "parent_id": None}},
                {"DeleteEntity": {"entity_id": s.ann}},
            ]
        },
        ("User.*:w", "Folder.Children:w", "Employee.Email:r", "Folder.Name:w", WRITERS),
    ),
    Case("StoreFindEntities", lambda s: _page(entity_type="User"), ("Object.Age:r",)),
    Case("StoreFindEntitiesExact", lambda s: _page(entity_type="User"), ("User.Age:r",)),
    Case(
        "StoreFindEntities",
        lambda s: _page(entity_type="Employee", filter="Salary > 10"),
        ("Employee.Salary:r", READERS),
        "with a filter",
    ),
    Case(
        "StoreFindEntities",
        lambda s: _page(entity_type="Employee", filter="Manager->Age > 10"),
        ("Employee.Manager:r", "User.Age:r"),
        "with a filter on a path",
    ),
    Case(
        "StoreGetChildren",
        lambda s: _page(entity_id=s.top),
        ("Folder.Children:r",),
    ),
    Case("StoreTakeSnapshot", lambda s: {}, (EVERYTHING_READ, READERS)),
    Case(
        "StoreStageSnapshot",
        lambda s: {"upload": "u", "part": 0, "schemas": [], "entities": []},
        (EVERYTHING_READ, EVERYTHING_WRITTEN, READERS, WRITERS),
    ),
    Case(
        "LoadTopology",
        lambda s: {"schemas": [], "entities": []},
        (EVERYTHING_READ, EVERYTHING_WRITTEN, READERS, WRITERS),
    ),
]
#: Requests whose result depends on the user: nothing of them is denied. Their tests are in `test_visible_parts`.
FILTERED = {"StoreGetEntityTypes", "StoreFindByPath"}
#: Comes after `StoreStageSnapshot`: see `test_using_a_staged_snapshot_needs_everything`.
OTHERS = {"StoreUseStagedSnapshot"}


def _creation(store: Company) -> dict[str, Any]:
    return {"entity_type": "User", "parent_id": store.top, "name": "new"}


def _names() -> list[str]:
    return [f"{case.request} {case.label}".strip() for case in CASES]


@pytest.mark.parametrize("case", CASES, ids=_names())
def test_request_needs_just_what_it_touches(case: Case) -> None:
    store = Company()
    before = store.store.state_hash()
    for missing in case.needed:
        needed = [each for each in case.needed if each != missing]
        store.store.changes = ()
        result = store.do(user(needed), case.request, **case.body(store))
        assert code(result) == DENIED, f"without {missing}: {result}"
        assert store.store.state_hash() == before
        assert not store.store.changes
    assert code(store.do(user(case.needed), case.request, **case.body(store))) is None


def test_every_request_of_the_store_is_tested() -> None:
    tested = {case.request for case in CASES} | FILTERED | OTHERS
    known = set(store_requests._StoreRequest.__annotations__)
    for name in ("UpdateEntity", "CreateEntity", "DeleteEntity", "SetSchema", "GetSchema"):
        assert name in perform_requests._Command.__annotations__
    known |= set(perform_requests._Command.__annotations__)
    assert tested == known


def test_using_a_staged_snapshot_needs_everything() -> None:
    store = Company()
    whole = (EVERYTHING_READ, EVERYTHING_WRITTEN, READERS, WRITERS)
    part = {"upload": "u", "part": 0, "schemas": [], "entities": []}
    assert code(store.do(user(whole), "StoreStageSnapshot", **part)) is None
    before = store.store.state_hash()
    for missing in whole:
        needed = user([each for each in whole if each != missing])
        result = store.do(needed, "StoreUseStagedSnapshot", upload="u", parts=1)
        assert code(result) == DENIED
        assert store.store.state_hash() == before
    assert code(store.do(user(whole), "StoreUseStagedSnapshot", upload="u", parts=1)) is None
