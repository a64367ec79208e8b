"""StoreTakeSnapshot: what it holds, its checksum, its order, and its limits."""

from __future__ import annotations

import hashlib
import json
import struct
from typing import Any  # snapshots are JSON, compared without a type

import pytest

from qcore.machines.entity.operations import take_snapshot
from qcore.machines.entity.state.snapshot.store_snapshot import snapshot_checksum
from tests.machines.entity.harness import FOLDER, OBJECT, USER, StoreHarness, field, schema, write


@pytest.fixture
def harness() -> StoreHarness:
    return StoreHarness(OBJECT, FOLDER, USER)


def create(harness: StoreHarness, entity_type: str, name: str, parent: object = None) -> Any:
    made = harness.ok("StoreCreateEntity", entity_type=entity_type, parent_id=parent, name=name)
    return made["entity_id"]


def take(harness: StoreHarness) -> Any:
    return harness.store_request("StoreTakeSnapshot")


def text_of(entity_id: Any) -> str:
    return f"{entity_id['typ']}${entity_id['id']}"


def checksum(snapshot: Any) -> str:
    """The checksum as docs/reference/wire.md defines it, from the JSON alone."""

    def bits(number: float) -> str:
        return struct.pack(">d", number or 0.0).hex()

    copy = json.loads(json.dumps(snapshot))
    del copy["checksum"]
    for one in copy["schemas"].values():
        one.pop("_marker", None)
        for body in one["fields"].values():
            if "Float" in body:
                body["Float"]["default_value"] = bits(body["Float"]["default_value"])
    for fields in copy["fields"].values():
        for held in fields.values():
            if "Float" in held["value"]:
                held["value"]["Float"] = bits(held["value"]["Float"])
    text = json.dumps(copy, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def test_a_snapshot_holds_types_schemas_ids_and_all_fields(harness: StoreHarness) -> None:
    folder = create(harness, "Folder", "Users")
    ann = create(harness, "User", 'Ann \u2028 "é" 𝄞', folder)
    harness.ok("StorePerform", requests=[write(ann, "Score", {"Float": 0.1}, writer_id=folder)])
    snapshot = take(harness)
    assert list(snapshot) == ["version", "types", "schemas", "entities", "fields", "checksum"]
    assert snapshot["version"] == 1
    assert snapshot["types"] == ["Folder", "Object", "User"]
    assert snapshot["schemas"]["Folder"] == {**FOLDER, "_marker": None}
    assert snapshot["entities"] == {"Folder": [folder], "User": [ann]}
    assert list(snapshot["fields"]) == [text_of(folder), text_of(ann)]
    held = snapshot["fields"][text_of(ann)]
    assert list(held) == sorted([*OBJECT["fields"], *USER["fields"]])
    assert held["Score"]["value"] == {"Float": 0.1}
    assert held["Score"]["writer_id"] == folder
    assert held["Age"]["value"] == {"Int": 18}  # never written
    assert held["Parent"]["value"] == {"EntityReference": folder}
    assert snapshot["fields"][text_of(folder)]["Children"]["value"] == {"EntityList": [ann]}


def test_the_checksum_can_be_computed_from_the_json(harness: StoreHarness) -> None:
    user = create(harness, "User", "\x01\x7f/\\\n é")
    numbers = [0.0, -0.0, 1.0, 5e-324, 1.7976931348623157e308, 0.1]
    for number in numbers:
        harness.ok("StorePerform", requests=[write(user, "Score", {"Float": number})])
        snapshot = take(harness)
        assert snapshot["checksum"] == checksum(snapshot)


def test_the_checksum_ignores_how_floats_are_written(
    harness: StoreHarness,
) -> None:
    user = create(harness, "User", "Ann")
    harness.ok("StorePerform", requests=[write(user, "Score", {"Float": -0.0})])
    snapshot = take(harness)
    # As JavaScript writes it: no negative zero, and no point in a whole number.
    snapshot["fields"][text_of(user)]["Score"]["value"] = {"Float": 0}
    assert snapshot_checksum(snapshot) == snapshot["checksum"]


def test_every_change_changes_the_checksum(harness: StoreHarness) -> None:
    user = create(harness, "User", "Ann")
    seen = [take(harness)["checksum"]]
    for path, value in [
        ("Score", {"Float": 0.25}),
        ("Age", {"Int": 2**63 - 1}),
        ("Key", {"Blob": [0, 255]}),
        ("Friends", {"EntityList": [user]}),
        ("Joined", {"Timestamp": {"secs_since_epoch": 1, "nanos_since_epoch": 999_999_999}}),
    ]:
        harness.ok("StorePerform", requests=[write(user, path, value)])
        seen.append(take(harness)["checksum"])
    harness.ok("StoreSetEntitySchema", schema=schema("Empty", None))
    seen.append(take(harness)["checksum"])
    assert len(dict.fromkeys(seen)) == len(seen)


def test_removed_fields_and_deleted_entities_are_not_in_it(harness: StoreHarness) -> None:
    user = create(harness, "User", "Ann")
    gone = create(harness, "User", "Bob")
    harness.ok("StorePerform", requests=[write(user, "Email", {"String": "a@b"})])
    harness.ok("StoreSetEntitySchema", schema=schema("User", "Object", field("Int", "Age", 1)))
    harness.ok("StoreDeleteEntity", entity_id=gone)
    snapshot = take(harness)
    assert snapshot["entities"] == {"User": [user]}
    assert list(snapshot["fields"][text_of(user)]) == ["Age", "Children", "Name", "Parent"]


def test_it_is_a_read_and_equal_after_a_restart(harness: StoreHarness) -> None:
    for name in ("b", "a", "c"):
        create(harness, "User", name)
    before = harness.store.state_hash()
    text = harness.store.query('{"StoreTakeSnapshot":{}}')
    assert harness.store.state_hash() == before
    chunks = list(harness.store.snapshot())
    harness.store.restore(chunks)
    assert harness.store.query('{"StoreTakeSnapshot":{}}') == text


def too_large(harness: StoreHarness) -> Any:
    result = json.loads(harness.store.query('{"StoreTakeSnapshot":{}}'))
    assert result["detail"]["code"] == "TooLarge"
    assert "qcore snapshot save" in result["response"]["Err"]
    return result["response"]["Err"]


def test_too_many_fields_are_found_before_any_entity_is_read(
    harness: StoreHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in range(20):
        create(harness, "User", str(name))
    monkeypatch.setattr(take_snapshot, "MAX_SNAPSHOT_FIELDS", 20 * 13 + 3 + 3 + 3 + 12)
    assert len(take(harness)["fields"]) == 20
    create(harness, "User", "one more")
    monkeypatch.setattr(take_snapshot, "field_json", None)  # calling it would fail
    assert "fields" in too_large(harness)


def test_too_many_bytes_are_found_before_the_value_is_built(
    harness: StoreHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = create(harness, "User", "Ann")
    monkeypatch.setattr(take_snapshot, "MAX_SNAPSHOT_BYTES", 64 * 1024)
    assert take(harness)["entities"] == {"User": [user]}
    for path, value in [
        ("Key", {"Blob": [200] * 20_000}),
        ("Email", {"String": "x" * 70_000}),
        ("Friends", {"EntityList": [user] * 3000}),
        ("Children", {"EntityList": [{"typ": "User", "id": 100 + n} for n in range(3000)]}),
    ]:
        harness.ok("StorePerform", requests=[write(user, path, value)])
        assert "bytes" in too_large(harness)
        harness.ok("StorePerform", requests=[write(user, path, None)])
        take(harness)


def test_the_limit_of_bytes_is_not_below_the_real_size(
    harness: StoreHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No snapshot is longer than the bytes that were counted for it, whatever the names and values."""
    odd = "\x05" * 40
    fields = [field("String", f"{n}", "") for n in range(40)]
    harness.ok("StoreSetEntitySchema", schema=schema(odd, "Object", *fields))
    for _ in range(5):
        user = create(harness, odd, "\x03" * 31)
        value = {"String": "\x04" * 32}
        writes = [write(user, f"{n}", value, writer_id=user) for n in range(40)]
        harness.ok("StorePerform", requests=writes)
    size = len(harness.store.query('{"StoreTakeSnapshot":{}}').encode())
    monkeypatch.setattr(take_snapshot, "MAX_SNAPSHOT_BYTES", size - 1)
    too_large(harness)


def test_its_cost_grows_with_fields_and_with_bytes(harness: StoreHarness) -> None:
    """The replica then does no other expensive work in the same step (`SupportsWorkCost`)."""
    user = create(harness, "User", "0")
    take(harness)
    small = harness.store.last_cost
    harness.ok("StorePerform", requests=[write(user, "Key", {"Blob": [200] * 100_000})])
    take(harness)
    assert harness.store.last_cost > small + 90
    harness.ok("StorePerform", requests=[write(user, "Key", None)])
    for number in range(100):
        create(harness, "User", str(number))
    take(harness)
    assert harness.store.last_cost > small + 80
