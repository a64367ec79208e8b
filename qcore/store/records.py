"""What the entity store remembers, and transactions on it.

Records are immutable: a write replaces the entity's record, never changes it. So a snapshot is a shallow
copy of one dictionary, and a transaction that fails is simply forgotten.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b
from typing import NamedTuple

from pydantic_core import to_json

from qcore.store.digest import StateDigest
from qcore.store.errors import EntityNotFound, FieldNotFound, quoted
from qcore.store.schema import EntitySchema, Schemas, schema_to_json
from qcore.store.values import EntityId, Value, id_to_json, value_to_json

#: Entities that `Records.dissolve` forgets before it yields.
_DISSOLVED_AT_A_TIME = 2000


class Field(NamedTuple):
    """A field's value, when it was written (nanoseconds since the Unix epoch) and by whom."""

    value: Value
    time_ns: int
    writer_id: EntityId | None


class Entity(NamedTuple):
    """An entity. `fields` must not be changed: make a new record.

    Attributes:
        entity_id: its name.
        fields: exactly those of its type's complete schema.
        created_under: the parent that it was created with; its type need not have a `Parent` field.
    """

    entity_id: EntityId
    fields: dict[str, Field]
    created_under: EntityId | None

    def field(self, field_type: str) -> Field:
        """The field of this name.

        Raises:
            FieldNotFound: its type does not have the field.
        """
        field = self.fields.get(field_type)
        if field is None:
            raise FieldNotFound(
                f"entity {quoted(str(self.entity_id))} has no field {quoted(field_type)}"
            )
        return field


class FieldChange(NamedTuple):
    """A field that a command wrote. `old` is None when it came into being, `new` when it went."""

    entity_id: EntityId
    field_type: str
    old: Field | None
    new: Field | None


class EntityChange(NamedTuple):
    """One step of a command: an entity before (None: created) and after (None: deleted)."""

    old: Entity | None
    new: Entity | None

    def fields(self) -> Iterator[FieldChange]:
        """The fields that were written, also those written with an equal value, by name."""
        before = {} if self.old is None else self.old.fields
        after = {} if self.new is None else self.new.fields
        entity = self.old or self.new
        for name in sorted({**before, **after}):
            old, new = before.get(name), after.get(name)
            if old is not new and entity is not None:
                yield FieldChange(entity.entity_id, name, old, new)


class Records:
    """The committed state. Changed only by `Transaction.commit`."""

    def __init__(self) -> None:
        self.entities: dict[int, Entity] = {}
        #: Ids by exact type, oldest first (a dictionary as an ordered set).
        self.by_type: dict[str, dict[int, None]] = {}
        self.schemas = Schemas()
        #: The last id given out. Part of the state: it decides the next one.
        self.last_id = 0
        #: Whether a topology was loaded.
        self.loaded = False
        self._entity_digest: StateDigest[int] = StateDigest()
        self._schema_digest: StateDigest[str] = StateDigest()

    def put(self, entity: Entity) -> None:
        """Add or replace an entity."""
        number = entity.entity_id.id
        self.entities[number] = entity
        self.by_type.setdefault(entity.entity_id.typ, {})[number] = None
        self._entity_digest.touch(number)

    def remove(self, entity: Entity) -> None:
        """Take an entity away."""
        number = entity.entity_id.id
        del self.entities[number]
        of_type = self.by_type[entity.entity_id.typ]
        del of_type[number]
        if not of_type:
            del self.by_type[entity.entity_id.typ]
        self._entity_digest.drop(number)

    def set_schemas(self, schemas: Schemas) -> None:
        """Replace the schemas."""
        for name, schema in schemas.own.items():
            if self.schemas.own.get(name) is not schema:
                self._schema_digest.touch(name)
        self.schemas = schemas

    def dissolve(self) -> Iterator[None]:
        """Forget the entities, a bounded number before each item. For records that nobody uses any more."""
        while self.entities:
            for _ in range(min(len(self.entities), _DISSOLVED_AT_A_TIME)):
                self.entities.popitem()
            yield

    def state_hash(self) -> str:
        """A digest of all of it as 64 hexadecimal digits."""
        entities = self._entity_digest.hexdigest(lambda number: entity_text(self.entities[number]))
        schemas = self._schema_digest.hexdigest(lambda name: schema_text(self.schemas.get(name)))
        parts = f"{entities} {schemas} {self.last_id} {self.loaded}"
        return blake2b(parts.encode(), digest_size=32).hexdigest()


def entity_text(entity: Entity) -> str:
    """An entity as canonical JSON text: fields sorted by name."""
    fields = [
        (name, value_to_json(field.value), field.time_ns, id_to_json(field.writer_id))
        for name, field in sorted(entity.fields.items())
    ]
    return to_json(
        [id_to_json(entity.entity_id), id_to_json(entity.created_under), fields]
    ).decode()


def schema_text(schema: EntitySchema) -> str:
    """A schema as JSON text, fields in their order, which clients see."""
    return to_json(schema_to_json(schema)).decode()


class Transaction:
    """A command's view of the records: sees its own changes, which others see only after `commit`.

    Args:
        records: the committed state.
        index: position of the log entry; 0 for a query.
        time_ns: time of the log entry, nanoseconds since the Unix epoch.
    """

    def __init__(self, records: Records, index: int, time_ns: int) -> None:
        self.time_ns = time_ns
        self.schemas = records.schemas
        self.loaded = records.loaded
        #: What the command did so far, in order.
        self.changes: list[EntityChange] = []
        self._records = records
        self._index = index
        self._last_id = records.last_id
        self._pending: dict[int, Entity | None] = {}  # None: deleted

    def find(self, entity_id: EntityId) -> Entity | None:
        """The entity as this command sees it, or None."""
        number = entity_id.id
        entity = self._records.entities.get(number)
        if number in self._pending:
            entity = self._pending[number]
        # A number with another type's name is another entity, one that does not exist.
        return entity if entity is None or entity.entity_id.typ == entity_id.typ else None

    def get(self, entity_id: EntityId) -> Entity:
        """The entity as this command sees it.

        Raises:
            EntityNotFound: there is none.
        """
        entity = self.find(entity_id)
        if entity is None:
            raise EntityNotFound(f"entity {quoted(str(entity_id))} does not exist")
        return entity

    def of_types(self, entity_types: list[str]) -> list[Entity]:
        """All committed entities of exactly these types, by type, oldest first."""
        records = self._records
        return [records.entities[n] for typ in entity_types for n in records.by_type.get(typ, {})]

    def new_id(self, entity_type: str) -> EntityId:
        """An id that no entity ever had: at least the entry's index, and more than any before.

        It is decided by the log alone, and stays far below 2**53, the limit of JSON numbers elsewhere.
        """
        self._last_id = max(self._last_id + 1, self._index)
        return EntityId(entity_type, self._last_id)

    def add(self, entity: Entity) -> None:
        """A new entity."""
        self._pending[entity.entity_id.id] = entity
        self.changes.append(EntityChange(None, entity))

    def write(self, entity: Entity, field_type: str, field: Field) -> None:
        """Replace one field."""
        self.reshape(entity, {**entity.fields, field_type: field})

    def reshape(self, entity: Entity, fields: dict[str, Field]) -> None:
        """Replace all fields."""
        changed = entity._replace(fields=fields)
        self._pending[entity.entity_id.id] = changed
        self.changes.append(EntityChange(entity, changed))

    def delete(self, entity: Entity) -> None:
        """Take an entity away."""
        self._pending[entity.entity_id.id] = None
        self.changes.append(EntityChange(entity, None))

    def commit(self) -> None:
        """Make the changes the committed state."""
        records = self._records
        if self.schemas is not records.schemas:
            records.set_schemas(self.schemas)
        for number, entity in self._pending.items():
            if entity is not None:
                records.put(entity)
            elif number in records.entities:
                records.remove(records.entities[number])
        records.last_id = self._last_id
        records.loaded = self.loaded
