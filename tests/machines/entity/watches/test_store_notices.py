"""What a watch on the entity store receives, and how much memory the changes report."""

from __future__ import annotations

import json
from typing import Any  # notices are JSON, compared without a type

import pytest

from qcore.errors import BadRequest, EntityNotFound, FieldNotFound, TypeNotFound
from qcore.machines.entity.indirection import Target, resolve
from qcore.machines.entity.watches import field_changes, notice_texts
from qcore.machines.entity.watches.notification_config import EntityWatch
from tests.machines.entity.harness import StoreHarness, people, write


def config(kind: str, target: object, field: str, *context: str, on_change: bool = False) -> str:
    """The request of a watch on an entity or a type."""
    named = {"EntityId": "entity_id", "EntityType": "entity_type"}[kind]
    body = {named: target, "field_type": field, "trigger_on_change": on_change}
    return json.dumps({kind: {**body, "context": [*context]}})


def watching(store: StoreHarness, request: str, *, resumes: bool = False) -> EntityWatch:
    """A watch on the store."""
    return store.store.watch_filter(request, resumes=resumes)


def received(store: StoreHarness, watch: EntityWatch, *, live: bool = True) -> list[Any]:
    """What the watch receives of the last command."""
    found = [
        watch.notice(change, live=live)
        for change in store.store.last_changes()
        for topic in change.topics
        if topic == watch.topic
    ]
    return [json.loads(text) for text in found if text is not None]


def test_a_write_comes_with_both_values_and_the_context() -> None:
    store = people()
    folder = store.create("Folder", name="f")
    user = store.create("User", folder, "u")
    request = config("EntityId", user, "Score", "Parent->Name", "Name", "Manager->Name")
    watch = watching(store, request)
    store.update(write(user, "Score", {"Float": 2.0}))
    assert received(store, watch) == [
        {
            "entity_id": user,
            "field_type": "Score",
            "current_value": {"Float": 2.0},
            "previous_value": {"Float": 0.5},
            "context": {
                "Parent->Name": {"String": "f"},
                "Name": {"String": "u"},
                "Manager->Name": None,
            },
        }
    ]
    (old,) = received(store, watch, live=False)
    assert old["context"] is None


def test_an_equal_value_notifies_unless_only_changes_count() -> None:
    store = people()
    user = store.create("User")
    every = watching(store, config("EntityId", user, "Age"))
    changed = watching(store, config("EntityId", user, "Age", on_change=True))
    store.update(write(user, "Age", {"Int": 18}))
    assert (len(received(store, every)), len(received(store, changed))) == (1, 0)
    store.update(write(user, "Age", {"Int": 18}, push_condition="Changes"))
    assert received(store, every) == []
    store.update(write(user, "Age", {"Int": 19}), write(user, "Age", {"Int": 20}))
    values = [notice["current_value"] for notice in received(store, changed)]
    assert values == [{"Int": 19}, {"Int": 20}]


def test_a_type_includes_the_types_that_inherit_it() -> None:
    store = people()
    watch = watching(store, config("EntityType", "Object", "Name"))
    user, folder = store.create("User", name="u"), store.create("Folder", name="f")
    assert received(store, watch)[0]["entity_id"] == folder
    store.update(write(user, "Name", {"String": "v"}))
    (notice,) = received(store, watch)
    assert (notice["previous_value"], notice["current_value"]) == ({"String": "u"}, {"String": "v"})


def test_creation_and_deletion_notify_of_entity_and_parent() -> None:
    store = people()
    folder = store.create("Folder")
    children = watching(store, config("EntityId", folder, "Children"))
    names = watching(store, config("EntityType", "User", "Name"))
    ages = watching(store, config("EntityType", "User", "Age"))
    user = store.create("User", folder, "u")
    assert received(store, children)[0]["current_value"] == {"EntityList": [user]}
    assert received(store, names)[0]["previous_value"] is None
    assert received(store, ages) == [], "it only has the default"
    store.send("DeleteEntity", entity_id=user)
    assert received(store, children)[0]["current_value"] == {"EntityList": []}
    for watch, last in ((names, {"String": "u"}), (ages, {"Int": 18})):
        (notice,) = received(store, watch)
        assert (notice["previous_value"], notice["current_value"]) == (last, None)


def test_a_watch_that_resumes_receives_a_missed_deletion() -> None:
    store = people()
    user = store.create("User", name="u")
    store.send("DeleteEntity", entity_id=user)
    watch = watching(store, config("EntityId", user, "Name"), resumes=True)
    (notice,) = received(store, watch, live=False)
    assert (notice["previous_value"], notice["current_value"]) == ({"String": "u"}, None)
    assert watching(store, config("EntityType", "User", "Gone"), resumes=True).topic


def test_a_command_that_fails_and_a_schema_change_nothing() -> None:
    store = people()
    user = store.create("User")
    failed = store.update(write(user, "Age", {"Int": 1}), write(user, "Ghost", {"Int": 1}))
    assert failed["error"] is not None
    assert list(store.store.last_changes()) == []
    store.set_schema(store.send("GetSchema", entity_type="User")["response"])
    assert list(store.store.last_changes()) == []


def test_a_large_value_is_omitted_and_named() -> None:
    store = people()
    user = store.create("User")
    watch = watching(store, config("EntityId", user, "Email"))
    store.update(write(user, "Email", {"String": "x" * (field_changes.MAX_SENT_BYTES + 1)}))
    (notice,) = received(store, watch)
    assert (notice["current_value"], notice["omitted"]) == (None, ["current_value"])
    assert notice["previous_value"] == {"String": "?"}


@pytest.mark.parametrize(
    ("request_text", "error", "text"),
    [
        ("{", BadRequest, "config"),
        ("{}", BadRequest, "one key"),
        (config("EntityType", "User", "Parent->Name"), BadRequest, "EntityType.field_type"),
        (config("EntityType", 7 * "x", "Name"), TypeNotFound, "xxxxxxx"),
        (config("EntityType", "User", "Ghost"), FieldNotFound, "Ghost"),
        (config("EntityId", {"typ": "User", "id": 999}, "Name"), EntityNotFound, "999"),
        (config("EntityType", "User", "Name").replace("false", "0"), BadRequest, "trigger_on"),
        (config("EntityType", "User", "Name", *["Name"] * 33), BadRequest, "context"),
        (config("EntityType", "User", "Name", "x" * 2000), BadRequest, "context"),
    ],
)
def test_an_invalid_config_is_rejected(
    request_text: str, error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        watching(people(), request_text)


def test_an_equal_list_of_children_is_no_change() -> None:
    """However it was written, and whatever the positions of its entries are."""
    store = people()
    folder = store.create("Folder")
    ids = [store.create("User", folder, str(number)) for number in range(3)]
    store.update(write(folder, "Children", {"EntityList": ids[:1]}, adjust_behavior="Subtract"))
    store.update(write(folder, "Children", {"EntityList": ids[:1]}, adjust_behavior="Add"))
    every = watching(store, config("EntityId", folder, "Children"))
    changed = watching(store, config("EntityId", folder, "Children", on_change=True))
    for written, behavior, differs in (
        ([*ids[1:], ids[0]], "Set", False),
        ([*ids[1:], ids[0]], "Set", False),
        ([], "Add", False),
        ([{"typ": "User", "id": 999}], "Subtract", False),
        (ids, "Set", True),
        (ids[:2], "Set", True),
        ([ids[1], ids[1]], "Set", True),
    ):
        store.update(write(folder, "Children", {"EntityList": written}, adjust_behavior=behavior))
        for live in (True, False):
            assert len(received(store, every, live=live)) == 1
            assert len(received(store, changed, live=live)) == differs, (written, behavior)


# -- context --------------------------------------------------------------------------------------


def test_a_context_has_a_bound_in_total() -> None:
    """The paths whose values do not fit are named, and come without a value."""
    store = people()
    folder = store.create("Folder", name="f")
    manager, user = store.create("User", folder), store.create("User", folder)
    third = {"String": "x" * (field_changes.MAX_SENT_BYTES // 3)}
    store.update(
        write(user, "Manager", {"EntityReference": manager}),
        write(user, "Email", third),
        write(manager, "Email", third),
        write(manager, "Name", third),
    )
    paths = ("Email", "Manager->Email", "Manager->Name", "Parent->Name", "Gone->Name")
    watch = watching(store, config("EntityId", user, "Age", *paths, "Email"))
    few = watching(store, config("EntityId", user, "Age", "Manager->Name"))
    store.update(write(user, "Age", {"Int": 3}))
    (notice,) = received(store, watch)
    assert notice["context"] == {
        "Email": third,
        "Manager->Email": third,
        "Manager->Name": None,
        "Parent->Name": {"String": "f"},
        "Gone->Name": None,
    }
    assert notice["context_omitted"] == ["Manager->Name"]
    (alone,) = received(store, few)
    assert alone["context"] == {"Manager->Name": third}
    assert "context_omitted" not in alone


def test_a_context_is_looked_up_once_for_all_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_up = 0

    def counted(*args: Any) -> Target:
        nonlocal looked_up
        looked_up += 1
        return resolve(*args)

    monkeypatch.setattr(notice_texts, "resolve", counted)
    store = people()
    user = store.create("User", name="u")
    paths = ["Name", "Age", "Gone", *(f"Manager->{number}" for number in range(20))]
    one = [watching(store, config("EntityId", user, "Age", *paths)) for _ in range(20)]
    other = watching(store, config("EntityId", user, "Age", *paths[::-1], "Email"))
    store.update(write(user, "Age", {"Int": 1}))
    (change,) = store.store.last_changes()
    costs = []
    for watch in (*one, other):
        text = watch.notice(change, live=True)
        assert text is not None
        assert json.loads(text)["context"]["Name"] == {"String": "u"}
        costs.append(watch.last_cost)
    assert looked_up == 24
    assert costs == [5, *[0] * 19, 1], (
        "in units of a small command: eight paths, or sixteen steps of them"
    )
    store.update(write(user, "Age", {"Int": 2}))
    (notice,) = received(store, other)
    assert notice["context"]["Age"] == {"Int": 2}, "the values are those after this command"


def test_each_reference_that_a_context_follows_costs_a_step() -> None:
    """When long paths cost as little as short ones, one command with many changes blocked a node for seconds."""
    store = people()
    user = store.create("User", name="u")
    store.update(write(user, "Manager", {"EntityReference": user}))
    paths = ["->".join([*["Manager"] * (100 - number), "Name"]) for number in range(32)]
    watch = watching(store, config("EntityId", user, "Age", *paths))
    store.update(write(user, "Age", {"Int": 1}))
    (change,) = store.store.last_changes()
    assert watch.notice(change, live=True) is not None
    assert watch.last_cost == -(-(2 * 32 + sum(range(69, 101))) // 16)


# -- memory ---------------------------------------------------------------------------------------


def test_the_text_is_made_once_and_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """The lists of children of two thousand creations would take gigabytes as text."""
    made = 0
    body_text = field_changes.body_text

    def counted(*args: Any) -> str:
        nonlocal made
        made += 1
        return body_text(*args)

    monkeypatch.setattr(field_changes, "body_text", counted)
    store = people()
    user = store.create("User")
    watches = [watching(store, config("EntityId", user, "Age")) for _ in range(50)]
    store.update(write(user, "Age", {"Int": 1}))
    texts = [received(store, watch)[0] for watch in watches]
    assert made == 1
    assert texts[0]["current_value"] == {"Int": 1}
    (change,) = store.store.last_changes()
    assert isinstance(change, field_changes.FieldChanged)
    held = [getattr(change, name) for name in field_changes.FieldChanged.__slots__]
    assert not any(isinstance(value, str) and "current_value" in value for value in held)
    store.send("DeleteEntity", entity_id=user)
    assert all(received(store, watch) for watch in watches)
    assert made == 2


def test_a_deletion_counts_the_schemas_that_it_keeps() -> None:
    """A client could change a large default before each deletion, and the history would keep them all."""
    store = people()
    schema = store.send("GetSchema", entity_type="User")["response"]
    email = schema["fields"]["Email"]["String"]
    for default in ("x" * 100_000, "y" * 100_000):
        email["default_value"] = default
        store.set_schema(schema)
        user = store.create("User")
        store.send("DeleteEntity", entity_id=user)
        (deleted, *_) = store.store.last_changes()
        assert deleted.size_bytes > 100_000


def test_a_replaced_list_counts_in_full() -> None:
    """An old list that nothing else holds stays in memory with the change."""
    store = people()
    folder = store.create("Folder")
    ids = [{"typ": "User", "id": 10**6 + n} for n in range(3000)]
    store.update(write(folder, "Children", {"EntityList": ids}))
    (first,) = store.store.last_changes()
    store.create("User", folder)
    appended = store.store.last_changes()[-1]
    store.update(write(folder, "Children", {"EntityList": ids[::-1]}))
    (replaced,) = store.store.last_changes()
    least = 3000 * 80  # an id takes about 100 bytes
    assert first.size_bytes > least
    assert appended.size_bytes < 10_000
    assert replaced.size_bytes > 2 * least
    store.send("DeleteEntity", entity_id=folder)
    assert max(change.size_bytes for change in store.store.last_changes()) > least
