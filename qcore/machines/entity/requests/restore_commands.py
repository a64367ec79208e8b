"""Turns a snapshot that a client sends into the commands that restore it, none larger than the log allows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NotRequired, cast

from pydantic import with_config
from pydantic_core import to_json
from typing_extensions import TypedDict

from qcore.errors import SnapshotInvalid
from qcore.machines.entity.quoted_text import quoted
from qcore.machines.entity.requests.staging_requests import StagedEntityJson
from qcore.machines.entity.state.entity_schema import EntitySchemaJson
from qcore.machines.entity.state.field_values import id_from_json
from qcore.machines.entity.state.snapshot.store_snapshot import (
    FORMAT_VERSION,
    FieldJson,
    SnapshotContent,
    snapshot_checksum,
)
from qcore.machines.entity.state.wire.value_json import STRICT, EntityIdJson
from qcore.release import unknown_format

#: Ids of a list that is too long for one command, in each part.
_IDS_PER_PIECE: Final = 1000
#: Bytes of a command around its schemas and entities, at most.
_FRAME_BYTES: Final = 256


@with_config(STRICT)
class RestoredSnapshot(TypedDict):
    """A snapshot as `StoreTakeSnapshot` returns it. `version` and `checksum` are checked if they are present."""

    types: list[str]
    schemas: dict[str, EntitySchemaJson]
    entities: dict[str, list[EntityIdJson]]
    fields: dict[str, dict[str, FieldJson]]
    version: NotRequired[int]
    checksum: NotRequired[str]


def restore_commands(snapshot: RestoredSnapshot, upload: str, max_bytes: int) -> list[str]:
    """Return the commands, in the order in which they are applied.

    Args:
        snapshot: validated.
        upload: an id that no other upload has.
        max_bytes: the largest command.

    Raises:
        SnapshotInvalid: the version is unknown, the checksum is wrong, or parts of the snapshot contradict each other.
            Names the place. The commands check the rest.
    """
    _check(snapshot)
    packer = _Packer(upload, max_bytes - _FRAME_BYTES)
    for schema in _parents_first(snapshot["schemas"]):
        text = to_json(schema).decode()
        packer.add("schemas", text, f"schema {quoted(schema['entity_type'])}")
    for entity in _entities(snapshot):
        where = f"entity {quoted(str(id_from_json(entity['entity_id'])))}"
        for number, text in enumerate(_pieces(entity, packer.room)):
            if number:
                packer.end_part()  # an entity continues in the next part
            packer.add("entities", text, where)
    packer.end_part()
    last = {"StoreUseStagedSnapshot": {"upload": upload, "parts": len(packer.commands)}}
    return [*packer.commands, to_json(last).decode()]


class _Packer:
    """Fills commands with pieces of JSON text."""

    def __init__(self, upload: str, room: int) -> None:
        self.room = room
        self.commands: list[str] = []
        self._upload = to_json(upload).decode()
        self._held: dict[str, list[str]] = {"schemas": [], "entities": []}
        self._size = 0

    def add(self, key: str, text: str, where: str) -> None:
        size = len(text.encode()) + 1
        if size > self.room:
            raise SnapshotInvalid(
                f"{where}: a part of it has {size} bytes, more than one command may"
            )
        if self._size + size > self.room:
            self.end_part()
        self._held[key].append(text)
        self._size += size

    def end_part(self) -> None:
        """Make a command of the pieces. There is at least one command."""
        if not self._size and self.commands:
            return
        schemas, entities = (",".join(self._held[key]) for key in ("schemas", "entities"))
        self.commands.append(
            f'{{"StoreStageSnapshot":{{"upload":{self._upload},"part":{len(self.commands)},'
            f'"schemas":[{schemas}],"entities":[{entities}]}}}}'
        )
        self._held = {"schemas": [], "entities": []}
        self._size = 0


def _check(snapshot: RestoredSnapshot) -> None:
    version = snapshot.get("version", FORMAT_VERSION)
    if version != FORMAT_VERSION:
        raise SnapshotInvalid(
            f"snapshot.version: the snapshot {unknown_format(version, FORMAT_VERSION)}"
        )
    checksum = snapshot.get("checksum")
    if checksum is not None:
        content = {key: value for key, value in snapshot.items() if key != "checksum"}
        content["version"] = version
        expected = snapshot_checksum(cast("SnapshotContent", content))
        if checksum != expected:
            raise SnapshotInvalid(
                f"snapshot.checksum is {quoted(checksum)}, and the content has {expected}: it was changed after it was "
                "taken"
            )
    schemas = snapshot["schemas"]
    for name in snapshot["types"]:
        if name not in schemas:
            raise SnapshotInvalid(f"snapshot.types: {quoted(name)} has no schema")
    listed = dict.fromkeys(snapshot["types"])
    for name, schema in schemas.items():
        if name not in listed:
            raise SnapshotInvalid(f"snapshot.schemas: {quoted(name)} is not in snapshot.types")
        if schema["entity_type"] != name:
            raise SnapshotInvalid(
                f"snapshot.schemas: the schema under {quoted(name)} is of {quoted(schema['entity_type'])}"
            )


def _parents_first(schemas: dict[str, EntitySchemaJson]) -> Iterator[EntitySchemaJson]:
    """Yield each schema after the one that it inherits from. An unknown parent or a cycle is left to the store."""
    done: dict[str, None] = {}
    for name in schemas:
        waiting: dict[str, None] = {}
        current: str | None = name
        while current in schemas and current not in done and current not in waiting:
            waiting[current] = None
            current = schemas[current]["inherit"]
        for each in reversed(waiting):
            done[each] = None
            yield schemas[each]


def _entities(snapshot: RestoredSnapshot) -> Iterator[StagedEntityJson]:
    parents = _parents(snapshot)
    seen: dict[str, None] = {}
    for name, ids in snapshot["entities"].items():
        for entity_id in ids:
            text = str(id_from_json(entity_id))
            if entity_id["typ"] != name:
                raise SnapshotInvalid(
                    f"snapshot.entities: {quoted(text)} is among those of {quoted(name)}"
                )
            if text in seen:
                raise SnapshotInvalid(f"snapshot.entities: {quoted(text)} occurs twice")
            seen[text] = None
            fields = snapshot["fields"].get(text)
            if fields is None:
                raise SnapshotInvalid(f"snapshot.fields: {quoted(text)} is missing")
            parent = parents.get(text)
            held = fields.get("Parent")
            if held is not None and "EntityReference" in held["value"]:
                parent = held["value"]["EntityReference"]
            yield {
                "entity_id": entity_id,
                "parent_id": parent,
                "fields": fields,
                "continued": False,
            }
    for text in snapshot["fields"]:
        if text not in seen:
            raise SnapshotInvalid(f"snapshot.fields: {quoted(text)} is not in snapshot.entities")


def _parents(snapshot: RestoredSnapshot) -> dict[str, EntityIdJson]:
    """By entity, the one that lists it as a child. Types without the field `Parent` need it."""
    parents: dict[str, EntityIdJson] = {}
    for ids in snapshot["entities"].values():
        for parent in ids:
            held = snapshot["fields"].get(str(id_from_json(parent)), {}).get("Children")
            if held is not None and "EntityList" in held["value"]:
                for child in held["value"]["EntityList"]:
                    parents.setdefault(str(id_from_json(child)), parent)
    return parents


def _pieces(entity: StagedEntityJson, room: int) -> Iterator[str]:
    """The JSON texts of an entity: one, or several if it is too large for a command."""
    whole = to_json(entity).decode()
    if len(whole.encode()) < room:
        yield whole
        return
    continued = False
    for name, field in entity["fields"].items():
        for part in _field_pieces(field, room):
            piece: StagedEntityJson = {**entity, "fields": {name: part}, "continued": continued}
            yield to_json(piece).decode()
            continued = True


def _field_pieces(field: FieldJson, room: int) -> Iterator[FieldJson]:
    value = field["value"]
    if "EntityList" not in value or len(to_json(value)) < room // 2:
        yield field
        return
    ids = value["EntityList"]
    for start in range(0, len(ids), _IDS_PER_PIECE):
        yield {**field, "value": {"EntityList": ids[start : start + _IDS_PER_PIECE]}}
