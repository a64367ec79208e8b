"""What a user gets of results that are for several fields, types or entities, and what a watch receives."""

from __future__ import annotations

import json
from typing import Any  # results and notices are JSON, compared without a type

import pytest

from qcore.errors import PermissionDenied
from qcore.machines.permissions import Permissions
from qcore.replica.access.access_records import EntityRule, Role
from qcore.replica.access.grants import Grants
from tests.machines.entity.harness import OBJECT, field, read, schema
from tests.machines.entity.permissions.granted import (
    ADMIN,
    DENIED,
    EMPLOYEE,
    READERS,
    Company,
    code,
    user,
)


def ok(result: Any) -> Any:
    return result["response"]["Ok"]


class Watcher:
    """A watch whose user may get other permissions.

    Attributes:
        now: what the user may do.
    """

    def __init__(self, store: Company, now: Permissions | None, config: Any) -> None:
        self.now = now
        self._store = store.store
        self._filter = store.store.watch_filter_as(
            json.dumps(config), lambda: self.now, resumes=False
        )

    def received(self, *, live: bool = True) -> list[Any]:
        """What it receives of the last command."""
        found = [
            self._filter.notice(change, live=live)
            for change in self._store.last_changes()
            for topic in change.topics
            if topic == self._filter.topic
        ]
        return [json.loads(text) for text in found if text is not None]


def on_type(entity_type: str, name: str, *context: str) -> Any:
    body = {"entity_type": entity_type, "field_type": name, "trigger_on_change": False}
    return {"EntityType": {**body, "context": [*context]}}


def test_a_field_exists_only_for_users_who_may_read_it() -> None:
    """Else it would show what the schema hides."""
    store = Company()
    may_see = user(["Employee.Age:r"])
    for permissions, name, there in (
        (ADMIN, "Salary", True),
        (may_see, "Age", True),
        (may_see, "Salary", False),
        (may_see, "Email", False),
        (user(["Employee.*:r"]), "Salary", False),
        (user(["Employee.*:r", READERS]), "Salary", True),
    ):
        result = store.do(permissions, "StoreFieldExists", entity_id=store.ann, field_type=name)
        assert result["response"] is there, name


def test_types_without_a_rule_are_not_listed() -> None:
    store = Company()
    page = ok(store.do(user(["User.Age:r"]), "StoreGetEntityTypes", page_opts=None))
    assert page == {"items": ["Employee", "User"], "total": 2, "next_cursor": None}
    assert ok(store.do(user([]), "StoreGetEntityTypes", page_opts=None))["items"] == []


def test_a_schema_has_no_field_that_may_not_be_read() -> None:
    store = Company()
    for request in ("StoreGetEntitySchema", "StoreGetCompleteEntitySchema"):
        result = ok(store.do(user(["*.*:r"]), request, entity_type="Employee"))
        assert "Salary" not in result["fields"]
        result = ok(store.do(user(["*.*:r", READERS]), request, entity_type="Employee"))
        assert result["fields"]["Salary"] == EMPLOYEE["fields"]["Salary"]


def test_a_path_of_names_leads_over_readable_names() -> None:
    store = Company()
    may = user(["Folder.Name:r", "User.Name:r"])
    assert ok(store.do(may, "StoreFindByPath", path="top/ann")) == store.ann
    result = store.do(user(["Folder.Name:r", "User.Age:r"]), "StoreFindByPath", path="top/ann")
    assert code(result) == "PathNotFound"


def test_top_level_has_only_types_with_a_rule() -> None:
    store = Company()
    store.create("User", None, "loose")
    children = {"entity_id": None, "page_opts": None}
    found = ok(store.do(user(["Folder.Name:r"]), "StoreGetChildren", **children))["items"]
    assert found == [store.top, store.other]


def test_a_new_entity_shows_only_readable_fields() -> None:
    store = Company()
    may = user(["User.*:w", "Folder.Children:w", "User.Name:r"])
    made = {"entity_type": "Employee", "parent_id": store.top, "name": "new"}
    assert list(ok(store.do(may, "StoreCreateEntity", **made))["fields"]) == ["Name"]


def test_a_denial_does_not_reveal_whether_an_entity_exists() -> None:
    store = Company()
    for entity_id in (store.ann, {"typ": "Employee", "id": 999}, {"typ": "Nothing", "id": 1}):
        for request in ("StoreEntityExists", "StoreDeleteEntity"):
            result = store.do(user(["Folder.*:w"]), request, entity_id=entity_id)
            assert code(result) == DENIED
        result = store.do(user(["Folder.*:r"]), "StorePerform", requests=[read(entity_id, "Age")])
        assert code(result) == DENIED


def test_a_filter_on_a_secret_does_not_distinguish_entities() -> None:
    store = Company()
    body = {"entity_type": "Employee", "page_opts": None}
    for condition in ("Salary == 3000", "Salary == 1", "Salary > 1 || true"):
        result = store.do(user(["*.*:r"]), "StoreFindEntities", **body, filter=condition)
        assert code(result) == DENIED


def test_why_a_schema_is_not_valid_shows_nothing_to_others() -> None:
    """Else the error for another kind, or for an unknown type above, would show each field and type."""
    store = Company()
    wrong_kind = field("String", "Salary", "")
    invalid = {
        "StoreSetEntitySchema": {"schema": schema("Employee", "Ghost", wrong_kind)},
        "SetSchema": {"entity_schema": schema("Employee", "User", wrong_kind)},
        "StoreSetFieldSchema": {
            "entity_type": "Employee",
            "field_type": "Salary",
            "schema": wrong_kind["Salary"],
        },
    }
    for name, body in invalid.items():
        assert code(store.do(user([]), name, **body)) == DENIED
        assert code(store.do(user(["*.*:w", "User.*:r"]), name, **body)) == DENIED


def test_inheriting_from_another_type_needs_everything() -> None:
    """Otherwise a rule for the other type would be one for this type, too."""
    store = Company()
    changed = schema("Folder", "User")
    result = store.do(
        user(["Folder.*:r", "Folder.*:w", "*.*:r"]), "StoreSetEntitySchema", schema=changed
    )
    assert code(result) == DENIED


def test_a_protected_field_is_not_unprotected_by_a_subtype() -> None:
    """A type that gets another parent loses the fields of the one before, and their values."""
    store = Company()
    store.set_schema(schema("Boss", "Employee"))
    store.do(ADMIN, "StoreCreateEntity", entity_type="Boss", parent_id=None, name="b")
    whole = user(["*.*:r", "*.*:w"])
    for changed in (schema("Boss", "User"), schema("Boss", "Employee", field("Int", "Salary", 0))):
        assert code(store.do(whole, "StoreSetEntitySchema", schema=changed)) == DENIED
    assert code(store.do(whole, "StoreSetEntitySchema", schema=schema("New", "Employee"))) is None


def test_watch_needs_read_access_to_its_field() -> None:
    store = Company()
    Watcher(store, user(["User.Age:r"]), on_type("Employee", "Age"))
    for needed, name in ((["User.Age:w"], "Age"), (["*.*:r"], "Salary")):
        with pytest.raises(PermissionDenied):
            Watcher(store, user(needed), on_type("Employee", name))
    body = {"field_type": "Age", "trigger_on_change": False, "context": []}
    with pytest.raises(PermissionDenied):
        Watcher(store, user(["Folder.*:r"]), {"EntityId": {"entity_id": store.bob, **body}})


def test_watch_ends_when_its_user_may_no_longer_read() -> None:
    store = Company()
    watcher = Watcher(store, user(["User.Age:r"]), on_type("User", "Age"))
    store.do(ADMIN, "StorePerform", requests=[store.set(store.bob, "Age", {"Int": 4})])
    assert len(watcher.received()) == 1
    watcher.now = user(["User.Name:r"])
    with pytest.raises(PermissionDenied):
        watcher.received()


def test_watch_of_a_type_skips_what_a_subtype_protects() -> None:
    store = Company()
    protected = {"read_permission": {"typ": "Permission", "id": 7}}
    store.set_schema(schema("Secret", "User", field("Int", "Age", 1, **protected)))
    secret = store.do(ADMIN, "StoreCreateEntity", entity_type="Secret", parent_id=None, name="s")
    entity_id = ok(secret)["entity_id"]
    some = Watcher(store, user(["User.Age:r"]), on_type("User", "Age"))
    every = Watcher(store, user(["User.Age:r", READERS]), on_type("User", "Age"))
    store.do(ADMIN, "StorePerform", requests=[store.set(entity_id, "Age", {"Int": 4})])
    assert (len(some.received()), len(every.received())) == (0, 1)
    store.do(ADMIN, "StoreDeleteEntity", entity_id=entity_id)
    assert (len(some.received()), len(every.received())) == (0, 1)


def test_a_change_of_a_removed_field_is_only_for_admins() -> None:
    store = Company()
    admin = Watcher(store, ADMIN, on_type("Employee", "Salary"))
    holder = Watcher(store, user(["*.*:r", READERS]), on_type("Employee", "Salary"))
    store.do(ADMIN, "StorePerform", requests=[store.set(store.ann, "Salary", {"Int": 4})])
    changes = store.store.changes
    for changed in (
        schema("Employee", "User"),
        schema("Employee", "User", field("Int", "Salary", 1)),
    ):
        store.set_schema(changed)
        store.store.changes = changes
        assert holder.received(live=False) == []
        assert len(admin.received(live=False)) == 1


def test_context_has_only_what_each_user_may_read() -> None:
    store = Company()
    config = on_type("Employee", "Age", "Manager->Email", "Salary", "Name")
    few = Watcher(store, user(["User.Age:r", "User.Name:r"]), config)
    most = Watcher(store, user(["User.*:r", READERS]), config)
    every = Watcher(store, ADMIN, config)
    store.do(ADMIN, "StorePerform", requests=[store.set(store.ann, "Age", {"Int": 4})])
    whole = {"Manager->Email": {"String": "?"}, "Salary": {"Int": 3000}, "Name": {"String": "ann"}}
    contexts = [watcher.received()[0]["context"] for watcher in (most, few, every, few, most)]
    hidden = {**whole, "Manager->Email": None, "Salary": None}
    assert contexts == [whole, hidden, whole, hidden, whole]


def test_without_users_nothing_is_checked() -> None:
    store = Company()
    assert code(store.do(None, "StorePerform", requests=[read(store.ann, "Salary")])) is None
    assert code(store.do(None, "StoreSetEntitySchema", schema=OBJECT)) is None


class _Counting(Grants):
    """A user; counts how often a rule is looked for."""

    looked_for = 0

    def may_read(self, entity_type: str, field: str) -> bool:
        self.looked_for += 1
        return super().may_read(entity_type, field)


def test_a_request_looks_for_each_rule_once() -> None:
    """With many types above a type, the checks of a long request would block the node."""
    store = Company()
    ann = _Counting("ann", [Role("role", ("read",), (EntityRule("Object", "*", "read"),))])
    reads = [read(store.ann, "Age")] * 200
    assert len(ok(store.do(ann, "StorePerform", requests=reads))) == 200
    assert 0 < ann.looked_for < 10
