"""StoreRestoreSnapshot: what is taken can be restored, in parts of any size, and a damaged one changes nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, cast  # snapshots are JSON, compared without a type

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qcore.errors import SnapshotInvalid
from qcore.machines.entity.entity_store import EntityStore
from qcore.machines.entity.operations import staged_snapshot
from qcore.machines.entity.requests.restore_commands import RestoredSnapshot, restore_commands
from qcore.machines.entity.state import entity_records
from qcore.machines.entity.state.entity_records import Positions
from qcore.machines.interface import StateReplaced
from tests.machines.entity.harness import FOLDER, OBJECT, USER, StoreHarness, field, schema, write

#: No field `Parent`: only the list of its parent names it.
PLAIN = schema("Plain", None, field("String", "Name", ""))


def filled(seed: int = 0, children: int = 3) -> StoreHarness:
    harness = StoreHarness(OBJECT, FOLDER, USER, PLAIN)
    folder = harness.create("Folder", None, "Users")
    harness.create("Plain", folder, "plain")
    for number in range(children):
        user = harness.create("User", folder, f"user {seed} {number} é")
        harness.ok(
            "StorePerform",
            requests=[
                write(user, "Score", {"Float": number / 3}, writer_id=folder),
                write(user, "Email", {"String": "x" * (number * 37 % 300)}),
                write(user, "Friends", {"EntityList": [user, folder]}),
                write(user, "Key", {"Blob": [0, 255, number % 256]}),
            ],
        )
    return harness


def commands(snapshot: Any, max_bytes: int = 1 << 20, upload: str = "a") -> list[str]:
    return restore_commands(cast(RestoredSnapshot, snapshot), upload, max_bytes)


def apply(harness: StoreHarness, command: str) -> Any:
    return json.loads(harness.store.apply(command, harness.context()))["response"]


def restore(harness: StoreHarness, parts: list[str]) -> None:
    for part in parts:
        assert apply(harness, part) == {"Ok": None}


def take(harness: StoreHarness) -> Any:
    return harness.store_request("StoreTakeSnapshot")


@settings(max_examples=15, deadline=None)
@given(max_bytes=st.integers(2500, 30_000), seed=st.integers(0, 9), children=st.integers(0, 60))
def test_a_snapshot_is_restored_whatever_the_size_of_the_parts(
    max_bytes: int, seed: int, children: int
) -> None:
    snapshot = take(filled(seed, children))
    parts = commands(snapshot, max_bytes)
    assert all(len(part.encode()) <= max_bytes for part in parts)
    other = filled(seed + 1)
    restore(other, parts)
    assert take(other) == snapshot
    whole = filled(seed + 1)
    restore(whole, commands(snapshot))
    last = whole.store.state_hash()
    # The same entry times, so the records are the same to the byte.
    again = filled(seed + 1)
    restore(again, parts)
    assert again.store.state_hash() == other.store.state_hash() == last


def test_a_restored_state_goes_on_like_the_one_that_was_taken() -> None:
    first, second = filled(), filled(1)
    restore(second, commands(take(first)))
    (plain,) = second.ok("StoreFindEntities", entity_type="Plain", page_opts=None)["items"]
    (folder,) = second.ok("StoreFindEntities", entity_type="Folder", page_opts=None)["items"]
    assert second.ok("StoreFindByPath", path="Users/plain") == plain
    harnesses = first, second
    index = first.index = second.index = max(first.index, second.index) + 10
    for harness in harnesses:
        harness.index = index
        user = harness.create("User", folder, "new")
        harness.ok("StoreDeleteEntity", entity_id=plain)
        harness.ok("StoreSetEntitySchema", schema=schema("Plain", None))
        assert user["id"] == index + 1
    assert take(first) == take(second)
    for harness in harnesses:
        harness.ok("StoreDeleteEntity", entity_id=folder)
    assert take(first) == take(second)
    assert take(first)["entities"] == {}


@settings(max_examples=10, deadline=None)
@given(at=st.integers(0, 1000), chunked=st.booleans())
def test_a_snapshot_of_the_machine_holds_what_is_staged(at: int, chunked: bool) -> None:
    parts = commands(take(filled(0, 20)), 4000)
    one = filled(1)
    at %= len(parts)
    restore(one, parts[:at])
    copy = EntityStore()
    copy.restore(list(one.store.snapshot()))
    assert copy.state_hash() == one.store.state_hash()
    two = filled(1)
    two.store, two.index = copy, one.index
    for harness in (one, two):
        if chunked:
            harness.create("User", None, "beside")
        restore(harness, parts[at:])
    assert one.store.state_hash() == two.store.state_hash()
    assert "".join(one.store.snapshot()) == "".join(two.store.snapshot())


def test_the_last_command_ends_all_watches_and_no_other_does() -> None:
    harness = filled(1)
    *parts, last = commands(take(filled()), 4000)
    assert len(parts) > 1
    hashes = [harness.store.state_hash()]
    for part in parts:
        assert apply(harness, part) == {"Ok": None}
        assert harness.store.last_changes() == ()
        hashes.append(harness.store.state_hash())
    assert len(dict.fromkeys(hashes)) == len(hashes)  # what is staged is part of the state
    assert apply(harness, last) == {"Ok": None}
    assert [type(change) for change in harness.store.last_changes()] == [StateReplaced]
    harness.create("User", None, "x")
    assert StateReplaced not in [type(change) for change in harness.store.last_changes()]


def test_the_last_id_never_falls() -> None:
    early = filled(0, 0)
    harness = filled(1, 30)
    before = max(entity["id"] for ids in take(harness)["entities"].values() for entity in ids)
    restore(harness, commands(take(early)))
    harness.index = 1
    assert harness.create("Folder", None, "later")["id"] > before


def test_parts_out_of_order_repeated_and_replaced() -> None:
    harness, snapshot = filled(1), take(filled(0, 20))
    one, two = commands(snapshot, 4000, "one"), commands(snapshot, 4000, "two")
    before = take(harness)
    assert "came before part 0" not in apply(harness, one[1]).get("Err", "")  # nothing is staged
    restore(harness, [one[0], one[0], one[1], one[0], one[1]])
    assert "came before part 2" in apply(harness, one[3])["Err"]
    assert "2 have arrived" in apply(harness, one[-1])["Err"]
    restore(harness, two[:2])
    for part in (one[2], one[-1]):
        assert "another restore has taken its place" in apply(harness, part)["Err"]
    assert take(harness) == before
    restore(harness, two[2:])
    assert take(harness) == snapshot
    assert "another restore has taken its place" in apply(harness, two[-1])["Err"]


def test_older_rules_do_not_know_the_commands() -> None:
    parts = commands(take(filled()))
    harness = StoreHarness(OBJECT, rules=3)
    before = harness.store.state_hash()
    for part in parts:
        result = json.loads(harness.store.apply(part, harness.context()))
        assert result["Error"]["detail"]["code"] == "BadRequest"
    assert harness.store.state_hash() == before


def text_of(entity_id: Any) -> str:
    return f"{entity_id['typ']}${entity_id['id']}"


def _user(snapshot: Any) -> Any:
    return snapshot["fields"][text_of(snapshot["entities"]["User"][0])]


def _drop_type(snapshot: Any) -> None:
    snapshot["types"].remove("Object")
    del snapshot["schemas"]["Object"]


def _other_type(snapshot: Any) -> None:
    folder = snapshot["entities"]["Folder"][0]
    twin = {"typ": "User", "id": folder["id"]}
    snapshot["entities"]["User"].append(twin)
    snapshot["fields"][text_of(twin)] = {}


def _zero(snapshot: Any) -> None:
    zero = {"typ": "User", "id": 0}
    snapshot["entities"]["User"].append(zero)
    snapshot["fields"][text_of(zero)] = {}


DAMAGES: list[tuple[Callable[[Any], object], str]] = [
    (lambda s: s.update(version=2), "snapshot.version: the snapshot was written by a newer qcore"),
    (lambda s: s.update(checksum="0" * 64), "snapshot.checksum"),
    (lambda s: s["types"].append("Ghost"), '"Ghost" has no schema'),
    (lambda s: s["types"].remove("Plain"), '"Plain" is not in snapshot.types'),
    (_drop_type, '"Object"'),
    (lambda s: s["schemas"]["Object"].update(inherit="User"), "inherits from"),
    (lambda s: s["entities"]["User"].append(s["entities"]["User"][0]), "occurs twice"),
    (lambda s: s["entities"]["User"].append(s["entities"]["Folder"][0]), "is among those"),
    (_other_type, "has the same number"),
    (_zero, "the number must be 1 to"),
    (lambda s: s["entities"]["User"].pop(), "is not in snapshot.entities"),
    (lambda s: s["fields"].popitem(), "is missing"),
    (lambda s: s["fields"].update({"User$77": {}}), "is not in snapshot.entities"),
    (lambda s: _user(s)["Age"].update(value={"String": "x"}), 'field "Age" of entity "User$'),
    (lambda s: _user(s)["Role"].update(value={"Choice": 2}), 'field "Role" of entity "User$'),
    (lambda s: _user(s)["Age"].update(field_type="Score"), "calls itself"),
    (lambda s: _user(s).update(Ghost={**_user(s)["Age"], "field_type": "Ghost"}), "no such field"),
]


@pytest.mark.parametrize(("damage", "place"), DAMAGES, ids=range(len(DAMAGES)))
def test_a_damaged_snapshot_changes_nothing(damage: Callable[[Any], object], place: str) -> None:
    harness, snapshot = filled(1), take(filled())
    del snapshot["checksum"]
    damage(snapshot)
    before = harness.store.state_hash()
    try:
        parts = commands(snapshot, 4000)
    except SnapshotInvalid as error:
        failed = str(error)
    else:
        results = [apply(harness, part) for part in parts]
        failed = next(result["Err"] for result in results if "Err" in result)
        assert "Err" in results[-1]
    assert place in failed
    assert harness.store.state_hash() == before


def test_a_snapshot_with_too_many_bytes_is_not_staged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staged_snapshot, "MAX_STAGED_BYTES", 9000)
    harness = filled(1)
    before = harness.store.state_hash()
    results = [apply(harness, part) for part in commands(take(filled(0, 30)), 4000)]
    assert "more than 9000 bytes" in next(result["Err"] for result in results if "Err" in result)
    assert harness.store.state_hash() == before


def test_a_child_that_occurs_many_times_takes_linear_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The positions of a child are copied once for each part, not once for each time that it occurs."""
    harness = StoreHarness(OBJECT, FOLDER)
    folder = harness.create("Folder")
    snapshot = take(harness)
    del snapshot["checksum"]
    many = {"EntityList": [folder] * 500}
    snapshot["fields"][f"Folder${folder['id']}"]["Children"]["value"] = many
    copied: list[int] = []

    def positions_of(held: Positions) -> tuple[int, ...]:
        copied.append(1)
        return real(held)

    real = entity_records.positions_of
    monkeypatch.setattr(entity_records, "positions_of", positions_of)
    parts = commands(snapshot)
    restore(harness, parts)
    assert len(copied) <= len(parts)
    assert harness.value(folder, "Children") == many
    copied.clear()
    again = EntityStore()
    again.restore(list(harness.store.snapshot()))
    assert len(copied) <= 10
    assert again.state_hash() == harness.store.state_hash()
