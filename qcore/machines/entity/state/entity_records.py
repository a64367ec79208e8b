"""The records of the entity store: entities, with indexes over them, and their digest.

Records are immutable: a write replaces the entity's record and never changes it. So a snapshot needs no copy of the
records, and a transaction that fails is simply dropped.

A record has one of two forms. Under apply rules 1 and 2 it is *full*: it holds every field of its type, and a new
schema rewrites all entities of the type. From rules 3 on it is *sparse*: it holds the fields that were written, and
the type knows the rest (`qcore.machines.entity.state.type_registry`). A full record becomes sparse when a command of
rules 3 writes to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from hashlib import blake2b
from typing import Final

from pydantic_core import to_json
from sortedcontainers import SortedList

from qcore.machines.entity.state.child_list import ChildList
from qcore.machines.entity.state.complete_type import SchemaChange
from qcore.machines.entity.state.entity import Entity, entity_bytes, field_bytes, head_bytes
from qcore.machines.entity.state.entity_id import EntityId
from qcore.machines.entity.state.entity_schema import EntitySchema, schema_to_json
from qcore.machines.entity.state.field_values import Field, data_to_json, id_to_json, value_to_json
from qcore.machines.entity.state.frozen_table import Table
from qcore.machines.entity.state.name_index import NameIndex, free_numbers
from qcore.machines.entity.state.packed_fields import PackedFields, packed
from qcore.machines.entity.state.type_registry import Schemas
from qcore.machines.entity.state.value import LargeValue, Value
from qcore.machines.state_digest import StateDigest, digest_term

#: How many positions of children are freed in one step.
_FREED_PER_STEP: Final = 2048
#: So many of one list at most: about a millisecond.
_MOST_FREED: Final = 16_384
#: How many changed parts of records may wait for the next digest.
MAX_DIRTY: Final = 8192
_MASK: Final = (1 << 256) - 1
#: The parts of a record that the index of names depends on.
_INDEXED: Final = frozenset(("", "Name", "Parent"))


#: The positions of an id in a list of children: one, or several if a client wrote the id more than once.
Positions = int | tuple[int, ...]


def add_positions(
    child_positions: dict[EntityId, Positions], entries: Iterable[tuple[int, EntityId]]
) -> None:
    """Record more positions, each with its child. Takes linear time even if one child occurs many times."""
    several: dict[EntityId, list[int]] = {}
    for position, child in entries:
        if child_positions.setdefault(child, position) != position:
            several.setdefault(child, []).append(position)
    for child, positions in several.items():
        child_positions[child] = (*positions_of(child_positions[child]), *positions)


def positions_by_child(children: Iterable[EntityId]) -> dict[EntityId, Positions]:
    """Return the positions of each child in a new list."""
    child_positions: dict[EntityId, Positions] = {}
    add_positions(child_positions, enumerate(children))
    return child_positions


def change_positions(
    child_positions: dict[EntityId, Positions], changed: Mapping[EntityId, Positions | None]
) -> None:
    """Replace the positions of some children; None: no longer in the list."""
    for child, positions in changed.items():
        if positions is None:
            child_positions.pop(child, None)
        else:
            child_positions[child] = positions


def positions_of(child_positions: Positions) -> tuple[int, ...]:
    """Return all positions as a tuple."""
    return (child_positions,) if isinstance(child_positions, int) else child_positions


class Records:
    """The committed state. Only `Transaction.commit` and the restore of a snapshot change it."""

    def __init__(self) -> None:
        self.entities: Table = Table()
        #: Ids by exact type, oldest first.
        self.by_type: dict[str, SortedList[int]] = {}
        self.names = NameIndex()
        self.schemas = Schemas()
        #: The last id assigned. It is part of the state, because it decides the next id.
        self.last_id = 0
        #: Whether a topology has been loaded.
        self.loaded = False
        #: Whether a command of rules 3 has been applied. If so, new records and the snapshot's text are sparse.
        self.sparse = False
        #: About the bytes of the entities in a snapshot.
        self.entity_bytes = 0
        #: By parent, the positions of each child in its list. Derived from the lists, for fast removal.
        self.child_positions: dict[int, dict[EntityId, Positions]] = {}
        self._discarded: list[dict[EntityId, Positions]] = []
        self._full_digest: StateDigest[int] = StateDigest()
        self._schema_digest: StateDigest[str] = StateDigest()
        self._sparse_sum = 0
        #: The parts of sparse records that changed since the last digest, as they were at that digest. "" is the head.
        self._dirty: dict[tuple[int, str], tuple[EntityId, Entity | Field | None]] = {}

    def put(self, entity: Entity, old: Entity | None, written: Iterable[str] = ()) -> None:
        """Add or replace an entity.

        Args:
            entity: the record.
            old: the record that it replaces.
            written: the names of the changed fields, and "" if the head of the record changed; used only
                if both records are sparse.
        """
        number = entity.entity_id.id
        if entity.created_ns is not None:
            entity = self._packed(entity, old)
        self.entities[number] = entity
        if (
            old is None
            or old.created_ns is None
            or entity.created_ns is None
            or not _INDEXED.isdisjoint(written)
        ):
            self.names.replace(old, entity)
        if old is None:
            typ = entity.entity_id.typ
            of_type = self.by_type.get(typ)
            if of_type is None:
                of_type = self.by_type[typ] = SortedList()
            of_type.add(number)
        if old is None or old.created_ns is None or entity.created_ns is None:
            self.entity_bytes += entity_bytes(entity) - (0 if old is None else entity_bytes(old))
        if entity.created_ns is None:
            self._full_digest.touch(number)
        elif old is None or old.created_ns is None:
            if old is not None:
                self._full_digest.drop(number)
            self._note(entity, "", None)
            for name in entity.fields:
                self._note(entity, name, None)
        else:
            dirty, size = self._dirty, 0
            for name in written:
                part: Entity | Field | None = old
                if name:
                    part = before = old.fields.get(name)
                    size += field_bytes(name, entity.fields.get(name)) - field_bytes(name, before)
                else:
                    size += head_bytes(entity) - head_bytes(old)
                if (number, name) not in dirty:
                    dirty[number, name] = (entity.entity_id, part)
            self.entity_bytes += size

    def put_field(self, entity: Entity, name: str, old: Field, new: Field) -> None:
        """Do what `put` and the end of a transaction do, if nothing but one field that the record held changes.

        Args:
            entity: a sparse record, packed.
            name: the field, which the index of names does not need.
            old, new: its content before and after.
        """
        entity_id = entity.entity_id
        number = entity_id.id
        self.entities[number] = entity
        self.entity_bytes += field_bytes(name, new) - field_bytes(name, old)
        if (number, name) not in self._dirty:
            self._dirty[number, name] = (entity_id, old)
        self.free_some()
        self.digest_some()
        self.sparse = True

    def _packed(self, entity: Entity, old: Entity | None) -> Entity:
        """A sparse record in the form that takes least memory."""
        entity_id, fields, under, created_ns = entity
        if old is None and under is not None:
            parent = self.entities.get(under.id)
            if parent is not None and parent.entity_id == under:
                under = parent.entity_id  # one object for all its children
        elif type(fields) is PackedFields:
            return entity
        return Entity(entity_id, packed(fields, under), under, created_ns)

    @property
    def size_bytes(self) -> int:
        """About the bytes of a snapshot of the records."""
        return self.entity_bytes + self.schemas.own_bytes

    def forget_positions(self, parent: int) -> None:
        """Forget the positions of a parent's children."""
        child_positions = self.child_positions.pop(parent, None)
        if child_positions:
            self._discarded.append(child_positions)

    def free_some(self) -> None:
        """Free some discarded objects. Freeing a long list in one step would take long."""
        if self._discarded:
            self._free_some()

    def _free_some(self) -> None:
        # Free more if there is more, so that it does not accumulate; this still costs far less than its creation.
        for _ in range(1 + len(self._discarded) // 4):
            child_positions = self._discarded[-1]
            count = min(_FREED_PER_STEP + len(child_positions) // 4, _MOST_FREED)
            for _ in range(min(len(child_positions), count)):
                child_positions.popitem()
            if not child_positions:
                self._discarded.pop()
                if not self._discarded:
                    return

    def remove(self, entity: Entity) -> None:
        """Delete an entity."""
        number = entity.entity_id.id
        self.entity_bytes -= entity_bytes(entity)
        del self.entities[number]
        self.forget_positions(number)
        of_type = self.by_type[entity.entity_id.typ]
        of_type.remove(number)
        self.names.replace(entity, None)
        if not of_type:
            del self.by_type[entity.entity_id.typ]
        if entity.created_ns is None:
            self._full_digest.drop(number)
            return
        self._note(entity, "", entity)
        for name, field in entity.fields.items():
            self._note(entity, name, field)

    def _note(self, entity: Entity, name: str, old: Entity | Field | None) -> None:
        """A part of a sparse record changes: remember its state at the last digest."""
        self._dirty.setdefault((entity.entity_id.id, name), (entity.entity_id, old))

    def adopt(self, change: SchemaChange) -> None:
        """Apply a change of schemas."""
        self.schemas.adopt(change)
        for name in change.complete:
            self._schema_digest.touch(name)

    def schemas_restored(self) -> None:
        """Record that the schemas were filled from a snapshot."""
        for name in self.schemas.own:
            self._schema_digest.touch(name)

    def oldest(self, entity_type: str) -> int | None:
        """The least number of an entity of exactly this type, or None."""
        of_type = self.by_type.get(entity_type)
        return of_type[0] if of_type else None

    def free_gradually(self) -> Iterator[None]:
        """Free the entities, a bounded number before each item. For records that are no longer used."""
        yield from self.entities.free_gradually()
        yield from self.names.free_gradually()
        for of_type in self.by_type.values():
            yield from free_numbers(of_type)
        self._discarded += self.child_positions.values()
        while self._discarded:
            self._free_some()
            yield

    def state_hash(self) -> str:
        """Return a digest of the whole state as 64 hexadecimal digits."""
        self._digest_dirty()
        entities = self._full_digest.hexdigest(lambda number: entity_text(self.entities[number]))
        schemas = self._schema_digest.hexdigest(lambda name: schema_text(self.schemas, name))
        parts = f"{entities} {schemas} {self.last_id} {self.loaded}"
        # Add nothing while there are no sparse records: a command that changes nothing must not change the digest.
        if self._sparse_sum:
            parts += f" {self._sparse_sum:064x}"
        return blake2b(parts.encode(), digest_size=32).hexdigest()

    def digest_some(self) -> None:
        """Digest what changed beyond `MAX_DIRTY` parts, so that the next digest of the state takes a bounded time."""
        if len(self._dirty) > MAX_DIRTY:
            self._digest_dirty(MAX_DIRTY)

    def _digest_dirty(self, left: int = 0) -> None:
        """Digest what changed, but for some parts."""
        total = self._sparse_sum
        while len(self._dirty) > left:
            (number, name), (entity_id, old) = self._dirty.popitem()
            if old is not None:
                total -= digest_term(part_text(entity_id, name, old))
            entity = self.entities.get(number)
            if entity is not None and entity.created_ns is not None:
                new = entity.fields.get(name) if name else entity
                if new is not None:
                    total += digest_term(part_text(entity_id, name, new))
        self._sparse_sum = total & _MASK


def entity_text(entity: Entity) -> str:
    """Return a full record as canonical JSON text: fields sorted by name."""
    fields = [
        (name, value_to_json(field.value), field.time_ns, id_to_json(field.writer_id))
        for name, field in sorted(entity.fields.items())
    ]
    return to_json(
        [id_to_json(entity.entity_id), id_to_json(entity.created_under), fields]
    ).decode()


def part_text(entity_id: EntityId, name: str, part: Entity | Field) -> bytes:
    """Return one field of a sparse record as canonical text, or its head for an empty name."""
    if isinstance(part, Entity):
        return to_json((entity_id, part.created_under, part.created_ns))
    value, time_ns, writer_id, generation = part
    return to_json(
        (entity_id, name, value.kind, digest_data(value), time_ns, writer_id, generation)
    )


def digest_data(value: Value) -> object:
    """Return the representation of a value in a digest: the value, or the digest of a large one."""
    if isinstance(value, LargeValue):
        return {"#": value.digest}
    if isinstance(value.data, ChildList):
        held = value.data
        return {"children": (len(held), held.next_position, f"{held.digest_sum:064x}")}
    return data_to_json(value)


def schema_text(schemas: Schemas, entity_type: str) -> str:
    """Return a type as JSON text: its own schema, and the slots of its complete schema that are not plain."""
    text = own_schema_text(schemas.get(entity_type))
    slots = [
        (
            name,
            *slot.history[:3],
            [(last_id, digest_data(value)) for last_id, value in slot.earlier],
        )
        for name, slot in schemas.slots(entity_type).items()
        if not slot.is_plain
    ]
    return text + to_json(slots).decode() if slots else text


def own_schema_text(schema: EntitySchema) -> str:
    """Return a schema as JSON text. The fields keep their order, which clients see."""
    return to_json(schema_to_json(schema)).decode()
