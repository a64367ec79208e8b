"""Names and the tree: rename, move, look-up by path, children in order."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from qcore.machines.entity.entity_store import EntityStore
from tests.machines.entity.harness import StoreHarness, field, people, read, schema, write


def path_of(harness: StoreHarness, path: str | list[str]) -> Any:
    return harness.ok("StoreFindByPath", path=path)


def children(harness: StoreHarness, parent: object) -> list[Any]:
    found: list[Any] = []
    cursor = None
    while True:
        page = harness.ok(
            "StoreGetChildren", entity_id=parent, page_opts={"limit": 2, "cursor": cursor}
        )
        found += page["items"]
        cursor = page["next_cursor"]
        if cursor is None:
            return found


def test_look_up_rename_and_move() -> None:
    harness = people()
    root = harness.create("Folder", None, "Root")
    users, other = harness.create("Folder", root, "Users"), harness.create("Folder", root, "a/b")
    admin = harness.create("User", users, "Admin")
    assert path_of(harness, "Root") == root
    assert path_of(harness, "Root/Users/Admin") == admin
    assert path_of(harness, ["Root", "a/b"]) == other
    harness.ok("StoreRenameEntity", entity_id=users, name="People")
    assert path_of(harness, "Root/People/Admin") == admin
    text = harness.error("StoreFindByPath", path="Root/Users/Admin")
    assert '"Root/Users": no entity is there' in text
    harness.ok("StoreMoveEntity", entity_id=admin, parent_id=other)
    assert path_of(harness, ["Root", "a/b", "Admin"]) == admin
    assert harness.error("StoreFindByPath", path="Root/People/Admin")
    assert harness.value(admin, "Parent->Name") == {"String": "a/b"}
    assert (children(harness, users), children(harness, other)) == ([], [admin])
    harness.ok("StoreMoveEntity", entity_id=admin, parent_id=None)
    assert path_of(harness, "Admin") == admin
    assert children(harness, None) == [root, admin]
    assert children(harness, other) == []
    harness.ok("StoreDeleteEntity", entity_id=root)
    assert children(harness, None) == [admin]


def test_a_path_must_be_whole_and_unambiguous() -> None:
    harness = people()
    for name in ("Root", "x", "x"):
        harness.create("Folder", None, name)
    for path in ("", "Root/", "/Root", "Root//x", ["Root", ""]):
        assert "empty segment" in harness.error("StoreFindByPath", path=path)
    assert "the list is empty" in harness.error("StoreFindByPath", path=[])
    text = harness.error("StoreFindByPath", path="x")
    assert "several entities are there, such as Folder$" in text


def test_no_entity_moves_below_itself() -> None:
    harness = people()
    top = harness.create("Folder", None, "a")
    middle = harness.create("Folder", top, "b")
    low = harness.create("Folder", middle, "c")
    before = harness.store.state_hash()
    for parent in (top, middle, low):
        assert "below it" in harness.error("StoreMoveEntity", entity_id=top, parent_id=parent)
    missing = {"typ": "Folder", "id": 99}
    assert harness.error("StoreMoveEntity", entity_id=top, parent_id=missing)
    assert harness.error("StoreMoveEntity", entity_id=missing, parent_id=None)
    assert harness.store.state_hash() == before
    # A cycle that a client wrote does not hang the walk.
    harness.update(write(top, "Parent", {"EntityReference": low}))
    harness.ok("StoreMoveEntity", entity_id=harness.create("User", None, "u"), parent_id=low)


def test_parents_need_children_and_renaming_needs_a_name() -> None:
    harness = StoreHarness(schema("Leaf", None, field("Int", "N", 0)))
    one, two = harness.create("Leaf"), harness.create("Leaf")
    assert "Children" in harness.error("StoreMoveEntity", entity_id=one, parent_id=two)
    assert "Name" in harness.error("StoreRenameEntity", entity_id=one, name="x")
    harness.ok("StoreMoveEntity", entity_id=one, parent_id=None)


def test_a_move_lists_a_child_once_whatever_clients_wrote() -> None:
    harness = people()
    folder, user = harness.create("Folder", None, "f"), harness.create("User", None, "u")
    harness.update(write(folder, "Children", {"EntityList": [user]}))
    harness.ok("StoreMoveEntity", entity_id=user, parent_id=folder)
    assert children(harness, folder) == [user]


def test_children_keep_their_order_and_a_moved_one_comes_last() -> None:
    harness = people()
    root = harness.create("Folder", None, "Root")
    made = [harness.create("User", root, str(number)) for number in range(5)]
    harness.ok("StoreMoveEntity", entity_id=made[1], parent_id=root)
    expected = [made[0], *made[2:], made[1]]
    assert children(harness, root) == expected
    # The list may be written in another order.
    harness.update(write(root, "Children", {"EntityList": expected[::-1]}))
    assert children(harness, root) == expected[::-1]


def test_without_a_parent_field_the_recorded_parent_counts() -> None:
    plain = schema("Plain", None, field("String", "Name", ""))
    harness = people()
    harness.set_schema(plain)
    root = harness.create("Folder", None, "Root")
    one = harness.create("Plain", root, "one")
    two = harness.create("Plain", None, "two")
    assert path_of(harness, "Root/one") == one
    assert children(harness, None) == [root, two]
    harness.ok("StoreMoveEntity", entity_id=two, parent_id=root)
    assert path_of(harness, "Root/two") == two
    assert children(harness, None) == [root]
    # A field Parent counts once it was written.
    plain["fields"].update(field("EntityReference", "Parent", None))
    harness.set_schema(plain)
    assert path_of(harness, "Root/one") == one
    assert children(harness, None) == [root]
    harness.update(write(one, "Parent", {"EntityReference": None}))
    assert path_of(harness, "one") == one
    assert children(harness, None) == [root, one]
    # Without a name, none has a path.
    del plain["fields"]["Name"]
    harness.set_schema(plain)
    assert harness.error("StoreFindByPath", path="one")
    assert children(harness, None) == [root, one]


NAMES = st.sampled_from(["a", "b", "c"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("create"), st.integers(0, 9), NAMES),
        st.tuples(st.just("rename"), st.integers(0, 9), NAMES),
        st.tuples(st.just("move"), st.integers(0, 9), st.integers(0, 9)),
        st.tuples(st.just("delete"), st.integers(0, 9)),
        st.tuples(st.just("write parent"), st.integers(0, 9), st.integers(0, 9)),
        st.tuples(st.just("restore")),
    ),
    max_size=30,
)


@settings(max_examples=60)
@given(STEPS)
def test_look_ups_agree_with_a_walk_over_all_entities(steps: list[tuple[Any, ...]]) -> None:
    harness = people()
    made: list[Any] = [harness.create("Folder", None, "a")]
    for kind, *arguments in steps:
        if kind == "restore":
            other = EntityStore()
            other.restore(harness.store.snapshot())
            assert other.state_hash() == harness.store.state_hash()
            harness.store = other
            continue
        one = made[arguments[0] % len(made)]
        if kind == "create":
            response = harness.send(
                "CreateEntity", entity_type="Folder", parent_id=one, name=arguments[1]
            )
            made += [response["response"]] if response["error"] is None else []
        elif kind == "rename":
            harness.store_request("StoreRenameEntity", entity_id=one, name=arguments[1])
        elif kind == "delete":
            if one is not made[0]:
                harness.store_request("StoreDeleteEntity", entity_id=one)
        else:
            target = made[arguments[1] % len(made)]
            if kind == "move":
                harness.store_request("StoreMoveEntity", entity_id=one, parent_id=target)
            else:
                harness.update(write(one, "Parent", {"EntityReference": target}))
        check_look_ups(harness, made)


def check_look_ups(harness: StoreHarness, made: list[Any]) -> None:
    """Each entity's name and parent, read field by field, against the index."""
    by_place: dict[tuple[str, str], list[Any]] = {}
    for one in made:
        response = harness.update(read(one, "Name"), read(one, "Parent"))
        if response["error"] is None:
            name, parent = (each["Read"]["value"] for each in response["response"])
            key = (json.dumps(parent["EntityReference"]), name["String"])
            by_place.setdefault(key, []).append(one)
    for name in "abc":
        found = by_place.get(("null", name), [])
        response = harness.store_request("StoreFindByPath", path=name)
        assert response.get("Ok") == (found[0] if len(found) == 1 else None)
        if len(found) == 1:
            for below in "abc":
                inner = by_place.get((json.dumps(found[0]), below), [])
                response = harness.store_request("StoreFindByPath", path=[name, below])
                assert response.get("Ok") == (inner[0] if len(inner) == 1 else None)
    top = [one for (parent, _), ones in by_place.items() if parent == "null" for one in ones]
    listed = children(harness, None)
    assert listed == sorted(top, key=lambda one: one["id"])


@settings(max_examples=40)
@given(STEPS)
def test_moves_keep_parents_and_lists_in_agreement(steps: list[tuple[Any, ...]]) -> None:
    """Without writes to these fields, each entity is in exactly its parent's list, and no cycle exists."""
    harness = people()
    made: list[Any] = [harness.create("Folder", None, "a")]
    for kind, *arguments in steps:
        one = made[arguments[0] % len(made)] if arguments else made[0]
        if kind == "create":
            response = harness.send(
                "CreateEntity", entity_type="Folder", parent_id=one, name=arguments[1]
            )
            made += [response["response"]] if response["error"] is None else []
        elif kind == "move":
            target = made[arguments[1] % len(made)]
            harness.store_request("StoreMoveEntity", entity_id=one, parent_id=target)
        elif kind == "delete" and one is not made[0]:
            harness.store_request("StoreDeleteEntity", entity_id=one)
    living = [one for one in made if harness.exists(one)]
    reached: list[Any] = []
    to_visit: list[Any] = [(None, one) for one in children(harness, None)]
    while to_visit:
        parent, one = to_visit.pop()
        reached.append(one)
        assert harness.value(one, "Parent") == {"EntityReference": parent}
        to_visit += [(one, child) for child in children(harness, one)]
    assert sorted(reached, key=lambda one: one["id"]) == living
