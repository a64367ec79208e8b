"""The indexes over the records: equal to a recomputation after any commands, and never the cause of a wrong answer."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from sortedcontainers import SortedList

from qcore.machines.entity.entity_store import EntityStore
from qcore.machines.entity.state.entity import Entity
from qcore.machines.entity.state.entity_id import EntityId
from qcore.machines.entity.state.entity_records import Records
from qcore.machines.entity.state.name_index import NameIndex
from tests.machines.entity.harness import StoreHarness, field, schema, write

NAMES = ("a", "b")
TYPES = ("A", "B")
OWN_FIELDS = {
    "Name": field("String", "Name", ""),
    "Parent": field("EntityReference", "Parent", None),
}
PLACE = st.integers(0, 30)
COMMANDS = st.lists(
    st.one_of(
        st.tuples(st.just("create"), st.sampled_from(TYPES), PLACE, st.sampled_from(NAMES)),
        st.tuples(st.sampled_from(["delete", "restore", "page", "fail"]), PLACE),
        st.tuples(st.just("rename"), PLACE, st.sampled_from(NAMES)),
        st.tuples(st.sampled_from(["move", "parent"]), PLACE, PLACE),
        st.tuples(
            st.just("schema"), st.sampled_from(TYPES), st.sets(st.sampled_from(["Name", "Parent"]))
        ),
    ),
    max_size=25,
)


class Walked(StoreHarness):
    """A store, its living entities, and a walk over the pages of all of them."""

    def __init__(self) -> None:
        super().__init__(
            schema("Base", None, field("EntityList", "Children", [])),
            *(schema(typ, "Base", *OWN_FIELDS.values()) for typ in TYPES),
        )
        self.fields = {typ: set(OWN_FIELDS) for typ in TYPES}
        self.cursor: str | None = None
        self.begun = False
        self.seen: list[int] = []

    @property
    def records(self) -> Records:
        return self.store._records

    def pick(self, place: int) -> Any:
        """One of the entities, or None for the top level."""
        ids = [None, *sorted(one.entity_id for one in self.records.entities.frozen().values())]
        found = ids[place % len(ids)]
        return None if found is None else {"typ": found.typ, "id": found.id}

    def do(self, command: tuple[Any, ...]) -> None:
        """Execute a command. It may fail, and then must change nothing."""
        kind, *rest = command
        if kind == "create":
            typ, parent, name = rest
            self.store_request(
                "StoreCreateEntity", entity_type=typ, parent_id=self.pick(parent), name=name
            )
        elif kind == "schema":
            typ, names = rest
            self.set_schema(schema(typ, "Base", *(OWN_FIELDS[name] for name in sorted(names))))
            self.fields[typ] = names
        elif kind == "restore":
            chunks = list(self.store.snapshot())
            self.store = EntityStore()
            self.store.restore(chunks)
        elif kind == "page":
            self.page(1 + rest[0] % 3)
        elif (one := self.pick(rest[0])) is not None:
            if kind == "delete":
                self.ok("StoreDeleteEntity", entity_id=one)
            elif kind == "rename":
                self.store_request("StoreRenameEntity", entity_id=one, name=rest[1])
            elif kind == "move":
                self.store_request("StoreMoveEntity", entity_id=one, parent_id=self.pick(rest[1]))
            elif kind == "parent":
                self.update(write(one, "Parent", {"EntityReference": self.pick(rest[1])}))
            else:  # the first write is rolled back with the second
                before = self.store.state_hash()
                name = write(one, "Name", {"String": "c"})
                assert self.update(name, write(one, "None", {"Int": 1}))["error"] is not None
                assert self.store.state_hash() == before

    def page(self, limit: int) -> None:
        if self.begun and self.cursor is None:
            return
        options = {"limit": limit, "cursor": self.cursor}
        page = self.ok("StoreFindEntities", entity_type="Base", page_opts=options)
        self.begun, self.cursor = True, page["next_cursor"]
        self.seen += [one["id"] for one in page["items"]]

    def placed(self, entity: Entity) -> tuple[EntityId | None, str | None]:
        """The parent and the name, computed from the fields alone."""
        typ = entity.entity_id.typ
        slots = self.records.schemas.slots(typ)
        parent: object = entity.created_under
        name: object = None
        written = entity.fields.get("Parent")
        slot = slots.get("Parent")
        if slot is not None and written is not None and written.generation == slot.generation:
            parent = written.value.data
        if "Name" in self.fields[typ]:
            name = entity.field("Name", slots["Name"]).value.data or None
        assert parent is None or isinstance(parent, EntityId)
        assert name is None or isinstance(name, str)
        return parent, name

    def check(self) -> None:
        """Compare the indexes and the answers with a recomputation."""
        records = self.records
        entities = list(records.entities.frozen().values())
        fresh = NameIndex()
        by_type: dict[str, list[int]] = {}
        for entity in entities:
            fresh.replace(None, entity)
            by_type.setdefault(entity.entity_id.typ, []).append(entity.entity_id.id)
        held = {typ: list(numbers) for typ, numbers in records.by_type.items()}
        assert held == {typ: sorted(numbers) for typ, numbers in by_type.items()}
        assert contents(records.names) == contents(fresh)
        places = {one.entity_id: self.placed(one) for one in entities}
        top = self.ok("StoreGetChildren", entity_id=None, page_opts=None)["items"]
        assert [one["id"] for one in top] == sorted(
            one.id for one, (parent, _) in places.items() if parent is None
        )
        for first in NAMES:
            at_top = [one for one, place in places.items() if place == (None, first)]
            self.check_path([first], at_top)
            if len(at_top) == 1:
                for second in NAMES:
                    below = [one for one, place in places.items() if place == (at_top[0], second)]
                    self.check_path([first, second], below)

    def check_path(self, path: list[str], expected: list[EntityId]) -> None:
        response = self.store_request("StoreFindByPath", path=path)
        if len(expected) == 1:
            assert response == {"Ok": {"typ": expected[0].typ, "id": expected[0].id}}
        else:
            assert ("several" if expected else "no entity") in response["Err"]


def contents(index: NameIndex) -> tuple[list[int], dict[tuple[int, str], list[int]]]:
    """The top level, and the numbers by parent and name."""
    keys = [key for part in index._parts for key in part]
    return list(index.top), {key: list(index.find(*key)) for key in keys}


@settings(max_examples=150)
@given(COMMANDS, COMMANDS)
def test_indexes_equal_a_recomputation(first: list[Any], second: list[Any]) -> None:
    harness = Walked()
    for command in first:
        if command[0] != "page":
            harness.do(command)
            harness.check()
    start = {one.entity_id.id for one in harness.records.entities.frozen().values()}
    for command in second:
        harness.do(command)
        harness.check()
    while harness.cursor is not None or not harness.begun:
        harness.page(2)
    survivors = {one.entity_id.id for one in harness.records.entities.frozen().values()} & start
    assert len(harness.seen) == len(set(harness.seen))
    assert survivors <= set(harness.seen)


def test_a_parent_field_added_again_counts_once_written() -> None:
    harness = Walked()
    harness.do(("create", "A", 0, "a"))
    harness.do(("create", "B", 1, "b"))
    for fields in ((OWN_FIELDS["Name"],), tuple(OWN_FIELDS.values())):
        harness.set_schema(schema("B", "Base", *fields))
    harness.check()


def test_indexes_are_freed_gradually() -> None:
    records = Records()
    for number in range(5000):
        records.put(Entity(EntityId("A", number), {}, None, 0), None)
    indexes: list[SortedList[int]] = [records.names.top, records.by_type["A"]]
    before = sum(map(len, indexes))
    for _ in records.free_gradually():
        now = sum(map(len, indexes))
        assert before - now <= 2048
        before = now
    assert before == 0
