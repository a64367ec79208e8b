"""Pages of entities and types: bounded, ordered, and right while entities come and go."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qcore.machines.entity.state import type_registry
from tests.machines.entity.harness import (
    FOLDER,
    OBJECT,
    StoreHarness,
    field,
    people,
    schema,
    write,
)


def pages(harness: StoreHarness, request: str, limit: int, **fields: object) -> list[Any]:
    found: list[Any] = []
    cursor = None
    while True:
        page = harness.ok(request, page_opts={"limit": limit, "cursor": cursor}, **fields)
        assert len(page["items"]) <= limit
        found += page["items"]
        cursor = page["next_cursor"]
        if cursor is None:
            return found


def test_types_that_inherit_are_found_too() -> None:
    harness = people()
    folder, user = harness.create("Folder"), harness.create("User")
    harness.set_schema(schema("Agent", "User"))
    agent = harness.create("Agent")
    page = harness.ok("StoreFindEntities", entity_type="Object", page_opts=None)
    assert page == {"items": [agent, folder, user], "total": 3, "next_cursor": None}
    page = harness.ok("StoreFindEntities", entity_type="User", page_opts=None)
    assert page == {"items": [agent, user], "total": 2, "next_cursor": None}
    page = harness.ok("StoreFindEntitiesExact", entity_type="User", page_opts=None)
    assert page == {"items": [user], "total": 1, "next_cursor": None}
    for request in ("StoreFindEntities", "StoreFindEntitiesExact"):
        assert "has no schema" in harness.error(request, entity_type="None", page_opts=None)
    page = harness.ok("StoreGetEntityTypes", page_opts={"limit": 3, "cursor": None})
    assert page == {"items": ["Agent", "Folder", "Object"], "total": 4, "next_cursor": "Object"}
    page = harness.ok("StoreGetEntityTypes", page_opts={"limit": 3, "cursor": "Object"})
    assert page == {"items": ["User"], "total": 4, "next_cursor": None}


def test_a_page_has_100_items_without_options_and_a_total() -> None:
    harness = StoreHarness(OBJECT)
    requests = [
        {"CreateEntity": {"entity_type": "Object", "parent_id": None, "name": str(n)}}
        for n in range(250)
    ]
    harness.ok("StoreBulk", requests=requests)
    page = harness.ok("StoreFindEntities", entity_type="Object", page_opts=None)
    assert (len(page["items"]), page["total"]) == (100, 250)
    assert len(pages(harness, "StoreFindEntities", 100, entity_type="Object")) == 250


@pytest.mark.parametrize(
    "cursor", ["", "x", "User", "User$", "User$-1", "User$x", "7", "User$" + 30 * "9"]
)
def test_a_cursor_must_come_from_a_page(cursor: str) -> None:
    harness = people()
    options = {"limit": 1, "cursor": cursor}
    assert "next_cursor" in harness.error(
        "StoreFindEntities", entity_type="User", page_opts=options
    )
    parent = harness.create("Folder")
    if cursor != "7":
        for entity_id in (parent, None):
            text = harness.error("StoreGetChildren", entity_id=entity_id, page_opts=options)
            assert "next_cursor" in text


def test_a_page_ends_early_at_its_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    harness = people()
    users = [harness.create("User") for _ in range(9)]
    where = "qcore.machines.entity.operations.pages"
    for name, bound, size in (("MAX_PAGE_ITEMS", 4, 4), ("MAX_PAGE_BYTES", 60, 3)):
        with monkeypatch.context() as patch:
            patch.setattr(f"{where}.{name}", bound)
            options = {"limit": 100, "cursor": None}
            page = harness.ok("StoreFindEntities", entity_type="User", page_opts=options)
            assert len(page["items"]) == size
            assert page["next_cursor"] is not None
            assert pages(harness, "StoreFindEntities", 100, entity_type="User") == users
            assert pages(harness, "StoreGetChildren", 100, entity_id=None) == users
    monkeypatch.setattr(f"{where}.MAX_SCANNED", 4)
    text = 'Name == "nothing"'
    page = harness.ok("StoreFindEntities", entity_type="User", page_opts=None, filter=text)
    assert (page["items"], page["total"]) == ([], None)
    assert page["next_cursor"] is not None
    assert pages(harness, "StoreFindEntities", 5, entity_type="User", filter=text) == []
    found = pages(harness, "StoreFindEntities", 5, entity_type="User", filter='Name == "x"')
    assert found == users


def test_a_filter_on_large_values_ends_the_page_early() -> None:
    """Reading them takes steps. A page that read all of them would be rejected, and so would the next try."""
    harness = people()
    users = [harness.create("User", None, str(number)) for number in range(20)]
    for user in users:
        harness.update(write(user, "Email", {"String": "x" * 1_000_000}))
    text = 'Email.startsWith("x")'
    options = {"limit": 100, "cursor": None}
    page = harness.ok("StoreFindEntities", entity_type="User", page_opts=options, filter=text)
    assert 10 < len(page["items"]) < 20
    assert harness.store.last_cost > 100
    assert pages(harness, "StoreFindEntities", 100, entity_type="User", filter=text) == users


def test_the_names_of_types_are_sorted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    harness = people()
    ordered: list[int] = []

    def counted(names: Iterable[str]) -> list[str]:
        ordered.append(1)
        return sorted(names)

    monkeypatch.setattr(type_registry, "sorted", counted, raising=False)
    assert pages(harness, "StoreGetEntityTypes", 1) == ["Folder", "Object", "User"]
    assert len(ordered) == 1
    harness.set_schema(FOLDER)
    assert pages(harness, "StoreGetEntityTypes", 2) == ["Folder", "Object", "User"]
    harness.set_schema(schema("A", "Object"))
    ordered.clear()
    assert pages(harness, "StoreGetEntityTypes", 3) == ["A", "Folder", "Object", "User"]
    assert len(ordered) == 1


TYPES = ("A", "B", "C")
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("create"), st.sampled_from(TYPES)),
        st.tuples(st.just("delete"), st.integers(0, 20)),
        st.tuples(st.just("page"), st.integers(1, 3)),
        st.tuples(st.just("type"), st.sampled_from(["D", "E"])),
    ),
    max_size=40,
)


@settings(max_examples=80)
@given(st.sampled_from(["StoreFindEntities", "StoreGetChildren"]), STEPS)
def test_what_exists_during_a_walk_is_seen_once(request_name: str, steps: list[Any]) -> None:
    harness = StoreHarness(OBJECT, *(schema(typ, "Object") for typ in TYPES))
    parent = harness.create("Object", None, "parent")
    start = [harness.create(TYPES[number % 3], parent) for number in range(8)]
    living = list(start)
    is_children = request_name == "StoreGetChildren"
    fields: dict[str, Any] = {"entity_id": parent} if is_children else {"entity_type": "Object"}
    seen: list[Any] = []
    cursor = None

    def page(limit: int) -> bool:
        nonlocal cursor
        options = {"limit": limit, "cursor": cursor}
        found = harness.ok(request_name, page_opts=options, **fields)
        seen.extend(found["items"])
        cursor = found["next_cursor"]
        return cursor is not None

    more = page(2)
    for kind, value in steps:
        if kind == "create":
            living.append(harness.create(value, parent))
        elif kind == "type":
            harness.set_schema(schema(value, "Object", field("Int", "N", 0)))
            living.append(harness.create(value, parent))
        elif kind == "delete" and living:
            harness.ok("StoreDeleteEntity", entity_id=living.pop(value % len(living)))
        elif kind == "page" and more:
            more = page(value)
    while more:
        more = page(3)
    texts = [json.dumps(one) for one in seen]
    assert len(texts) == len(set(texts))
    assert {json.dumps(one) for one in start if one in living} <= set(texts)
