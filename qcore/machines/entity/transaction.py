"""`Transaction`: a command's view of the records. The command sees its own changes; others see them after `commit`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from qcore.errors import EntityNotFound, FieldNotFound
from qcore.machines.entity.quoted_text import quoted
from qcore.machines.entity.state.child_list import ChildList
from qcore.machines.entity.state.complete_type import Moment, SchemaChange, Slot
from qcore.machines.entity.state.entity import Entity
from qcore.machines.entity.state.entity_id import EntityId
from qcore.machines.entity.state.entity_records import (
    Positions,
    Records,
    change_positions,
    positions_by_child,
    positions_of,
)
from qcore.machines.entity.state.field_values import Field, measured, same_value
from qcore.machines.entity.state.packed_fields import with_field
from qcore.machines.entity.state.value import Value
from qcore.machines.entity.too_many_steps import too_many_steps
from qcore.machines.entity.watches.field_changes import EntityChange, EntityDeleted, FieldChanged
from qcore.machines.limits import (
    FIELDS_COPIED_PER_STEP,
    IDS_PER_STEP,
    MAX_OPERATIONS,
    STEPS_PER_LIST,
)
from qcore.machines.permissions import Permissions

#: The fields that the store itself sets.
NAME, PARENT, CHILDREN = "Name", "Parent", "Children"
#: A list of older rules that is longer than this keeps its new form even if the command fails.
MAX_RECONVERTED_CHILDREN = 64


class Transaction:
    """A view of the records, and the changes of one command.

    Args:
        records: the committed state.
        index: position of the log entry; 0 for a query.
        time_ns: time of the log entry, nanoseconds since the Unix epoch.
        sparse: whether new records are sparse and the limits of `qcore.machines.limits` apply: from apply rules 3 on,
            and for a query.
        keeps_kinds: whether a field of existing entities keeps its kind: from apply rules 4 on.
        permissions: what the user may do (`permission_checks`); None: everything.
    """

    def __init__(
        self,
        records: Records,
        index: int,
        time_ns: int,
        *,
        sparse: bool,
        keeps_kinds: bool = False,
        permissions: Permissions | None = None,
    ) -> None:
        self.permissions = permissions
        #: What the user lacks, by type, field and access, as far as the request has asked; see `permission_checks`.
        self.known_checks: dict[tuple[str, str, str], str | None] = {}
        self.time_ns = time_ns
        self.sparse = sparse
        self.schemas = records.schemas
        self.loaded = records.loaded
        #: What the command changes, in order, for watches.
        self.changes: list[EntityChange] = []
        self._records = records
        self._index = index
        self._keeps_kinds = keeps_kinds
        self._last_id = records.last_id
        self._pending: dict[int, Entity | None] = {}  # None: deleted
        #: The names of the changed fields; "" is the head of the record.
        self._written: dict[int, dict[str, None]] = {}
        self._schema_change: SchemaChange | None = None
        #: By parent, the new positions of children whose positions have changed; None: no longer in the list.
        self._child_positions: dict[int, dict[EntityId, Positions | None]] = {}
        self._replaced_lists: dict[int, None] = {}  # parents whose list was replaced
        #: Committed records whose list of children has been converted, and the children's positions in it.
        self._converted: dict[int, tuple[Entity, dict[EntityId, Positions]]] = {}
        #: Steps of the request until now; see `MAX_OPERATIONS`.
        self.operations = 0
        #: Steps that do not count towards that limit, because they occur once in the life of an entity.
        self.uncounted = 0

    @property
    def store_rules(self) -> bool:
        """Whether what apply rules 4 brought holds: from those rules on, and for a query."""
        return self._keeps_kinds

    def count(self, operations: int) -> None:
        """Count steps of the request.

        Raises:
            TooManyOperations: it takes more than a request may.
        """
        self.operations += operations
        if self.sparse and self.operations > MAX_OPERATIONS:
            raise too_many_steps(MAX_OPERATIONS, store_rules=self.store_rules)

    # -- reading ---------------------------------------------------------------------------------

    def find(self, entity_id: EntityId) -> Entity | None:
        """Return the entity as this command sees it, or None."""
        number = entity_id.id
        entity = self._records.entities.get(number)
        if number in self._pending:
            entity = self._pending[number]
        # The same number with another type's name means another entity, which does not exist.
        return entity if entity is None or entity.entity_id.typ == entity_id.typ else None

    def get(self, entity_id: EntityId) -> Entity:
        """Return the entity as this command sees it.

        Raises:
            EntityNotFound: there is none.
        """
        entity = self.find(entity_id)
        if entity is None:
            raise EntityNotFound(f"entity {quoted(str(entity_id))} does not exist")
        return entity

    def slot(self, entity: Entity, name: str) -> Slot:
        """Return the slot of a field of the entity's type.

        Raises:
            FieldNotFound: the type does not have it.
        """
        slot = self.schemas.slots(entity.entity_id.typ).get(name)
        if slot is None:
            raise FieldNotFound(
                f"entity {quoted(str(entity.entity_id))} has no field {quoted(name)}"
            )
        return slot

    def field(self, entity: Entity, name: str) -> Field:
        """Return a field of an entity, whether it was written or not.

        Raises:
            FieldNotFound: its type does not have it.
        """
        return entity.field(name, self.slot(entity, name))

    def targets(self, entity: Entity, name: str) -> tuple[EntityId, ...] | ChildList:
        """The ids in a list of entities; none if the type has no such field or it is not a list."""
        slot = self.schemas.slots(entity.entity_id.typ).get(name)
        data = None if slot is None else entity.field(name, slot).value.data
        if isinstance(data, ChildList):
            return data
        # An EntityId is also a tuple.
        return data if isinstance(data, tuple) and not isinstance(data, EntityId) else ()

    def reference(self, entity: Entity, name: str) -> EntityId | None:
        """The id in a reference; None if the type has no such field, it is not a reference, or it is null."""
        slot = self.schemas.slots(entity.entity_id.typ).get(name)
        data = None if slot is None else entity.field(name, slot).value.data
        return data if isinstance(data, EntityId) else None

    def of_types(self, entity_types: Iterable[str]) -> list[Entity]:
        """All committed entities of exactly these types, by type, oldest first."""
        records = self._records
        return [records.entities[n] for typ in entity_types for n in records.by_type.get(typ, ())]

    # The methods below see committed entities only, so they are for queries.

    def ids_of_types(self, types: Iterable[str], after: EntityId | None) -> Iterator[EntityId]:
        """Yield the ids of entities of exactly these types, which are sorted, by type and number.

        Args:
            after: only ids behind this one in that order.
        """
        for typ in types:
            if after is not None and typ < after.typ:
                continue
            of_type = self._records.by_type.get(typ)
            if of_type is None:
                continue
            least = after.id if after is not None and typ == after.typ else None
            for number in of_type.irange(least, inclusive=(False, True)):
                yield EntityId(typ, number)

    def number_of(self, types: Iterable[str]) -> int:
        """How many entities there are of exactly these types."""
        return sum(len(self._records.by_type.get(typ, ())) for typ in types)

    def candidates(self, parent: int, name: str) -> Iterator[Entity]:
        """Yield the entities that may have this parent (0: none) and name; see `NameIndex`."""
        for number in self._records.names.find(parent, name):
            yield self._records.entities[number]

    def top_level_candidates(self, after: int) -> Iterator[Entity]:
        """Yield the entities above this number that may be at the top level, by number."""
        for number in self._records.names.top.irange(after, inclusive=(False, True)):
            yield self._records.entities[number]

    # -- writing ---------------------------------------------------------------------------------

    def new_id(self, entity_type: str) -> EntityId:
        """Return an id that no entity has ever had: at least the entry's index, and more than any before.

        Only the log decides it. It stays far below 2**53, the limit of JSON numbers in other languages.
        """
        self._last_id = max(self._last_id + 1, self._index)
        return EntityId(entity_type, self._last_id)

    def next_ids(self, entity_types: Iterable[str]) -> list[EntityId]:
        """The ids that `new_id` will return for these types, one after the other."""
        first = max(self._last_id + 1, self._index)
        return [EntityId(typ, number) for number, typ in enumerate(entity_types, start=first)]

    def change_schemas(self, change: SchemaChange) -> None:
        """Set new schemas. This command does not see them (see `use_new_schemas`)."""
        self._schema_change = change

    def use_new_schemas(self) -> None:
        """Make this command see the schemas that it has set. Costs a copy of the table of types."""
        if self._schema_change is not None:
            self.schemas = self.schemas.after(self._schema_change)
            self.known_checks.clear()

    @property
    def moment(self) -> Moment | None:
        """The moment of this command for `Schemas.plan_change`."""
        if not self.sparse:
            return None
        return Moment(self._index, self._last_id, self.time_ns, self._keeps_kinds)

    def oldest(self, entity_type: str) -> int | None:
        """The least number of a committed entity of exactly this type, or None."""
        return self._records.oldest(entity_type)

    def add(self, entity: Entity) -> None:
        """Add an entity."""
        entity_id = entity.entity_id
        self._pending[entity_id.id] = entity
        lineage = self.schemas.lineage(entity_id.typ)
        self.changes += [
            FieldChanged(entity_id, name, None, field, lineage)
            for name, field in entity.fields.items()
        ]

    def write(self, entity: Entity, name: str, slot: Slot, field: Field, old: Field) -> None:
        """Replace one field.

        Args:
            slot: the field's slot in the entity's type.
            old: the field before (`Entity.field`).
        """
        entity_id = entity.entity_id
        lineage = self.schemas.lineage(entity_id.typ)
        self.changes.append(FieldChanged(entity_id, name, old, field, lineage))
        if not self.sparse:
            self.reshape(entity, {**entity.fields, name: field})
            return
        if entity.created_ns is None:
            entity = self._pending.get(entity.entity_id.id) or self._made_sparse(entity)
        entity_id, fields, created_under, created_ns = entity
        if len(fields) > FIELDS_COPIED_PER_STEP:
            self.count(len(fields) // FIELDS_COPIED_PER_STEP)
        if len(fields) > len(self.schemas.slots(entity_id.typ)):
            fields = self._without_removed(entity)
        fields = with_field(fields, name, field)
        if (
            field.time_ns in (created_ns, slot.since_ns)
            # The index of names needs what was written. Under earlier rules no command can write it at that time.
            and not (self._keeps_kinds and name in (NAME, PARENT))
            and _is_default(entity, name, slot, field)
        ):
            fields = {**fields}
            del fields[name]
        changed = Entity(entity_id, fields, created_under, created_ns)
        written = self._written.get(entity_id.id)
        if written is None:
            written = self._written[entity_id.id] = {}
        written[name] = None
        self._pending[entity_id.id] = changed

    def set_parent(self, entity: Entity, parent: EntityId | None) -> Entity:
        """Record another parent, apart from the field `Parent`. Returns the new record."""
        if entity.created_ns is None:
            entity = self._made_sparse(entity)
        changed = entity._replace(created_under=parent)
        self._written.setdefault(entity.entity_id.id, {})[""] = None
        self._pending[entity.entity_id.id] = changed
        return changed

    def reshape(self, entity: Entity, fields: dict[str, Field]) -> None:
        """Replace all fields of a full record."""
        self._pending[entity.entity_id.id] = entity._replace(fields=fields)

    def delete(self, entity: Entity) -> None:
        """Delete an entity."""
        self._pending[entity.entity_id.id] = None
        typ = entity.entity_id.typ
        slots, lineage = self.schemas.slots(typ), self.schemas.lineage(typ)
        self.changes.append(EntityDeleted(entity, slots, lineage, self.schemas.size_bytes(typ)))

    def _made_sparse(self, entity: Entity) -> Entity:
        """Convert a full record to a sparse one. All its fields count as written."""
        fields = {
            name: field._replace(value=measured(field.value))
            for name, field in entity.fields.items()
        }
        # The time is never read, because the record holds every field of its creation.
        return entity._replace(fields=fields, created_ns=0)

    def _without_removed(self, entity: Entity) -> dict[str, Field]:
        """The fields that the type still has, in their current generation."""
        slots = self.schemas.slots(entity.entity_id.typ)
        written = self._written.setdefault(entity.entity_id.id, {})
        kept: dict[str, Field] = {}
        for name, field in entity.fields.items():
            slot = slots.get(name)
            if slot is not None and slot.generation == field.generation:
                kept[name] = field
            else:
                written[name] = None
        return kept

    # -- children --------------------------------------------------------------------------------

    def add_child(self, parent: Entity, child: EntityId) -> None:
        """Append to a parent's list of children."""
        self._count_list()
        children: tuple[EntityId, ...] | ChildList
        if self.sparse:
            held = self._child_list(parent)
            self._add_position(parent.entity_id.id, child, held.next_position)
            children = held.appended(child)
        else:
            children = (*self.targets(parent, CHILDREN), child)
        self.write_children(parent, children, self.time_ns, None)

    def append_children(self, parent: Entity, children: tuple[EntityId, ...]) -> ChildList:
        """Return a parent's list with more children. The caller writes it."""
        held = self._child_list(parent)
        for position, child in enumerate(children, start=held.next_position):
            self._add_position(parent.entity_id.id, child, position)
        return held.extended(children)

    def without_children(self, parent: Entity, children: Iterable[EntityId]) -> ChildList:
        """Return a parent's list without some ids, wherever they occur in it. The caller writes it."""
        made = self._child_list(parent)
        number = parent.entity_id.id
        for child in children:
            child_positions = self._positions_of(number, child)
            if child_positions is not None:
                self.count(len(positions_of(child_positions)) // IDS_PER_STEP)
                for position in positions_of(child_positions):
                    made = made.without(position)
                self._child_positions.setdefault(number, {})[child] = None
        return made

    def new_children(self, parent: Entity, children: tuple[EntityId, ...]) -> ChildList:
        """Return a list that replaces the parent's. The caller writes it."""
        number = parent.entity_id.id
        self._replaced_lists[number] = None
        self._child_positions[number] = {}
        for position, child in enumerate(children):
            self._add_position(number, child, position)
        return ChildList.of(children)

    def write_children(
        self,
        parent: Entity,
        children: tuple[EntityId, ...] | ChildList,
        time_ns: int,
        writer: EntityId | None,
    ) -> Field:
        """Write a parent's list of children. Returns the field."""
        slot = self.slot(parent, CHILDREN)
        field = Field(Value("EntityList", children), time_ns, writer, slot.generation)
        self.write(parent, CHILDREN, slot, field, parent.field(CHILDREN, slot))
        return field

    def drop_children(self, parent: Entity, doomed: Iterable[EntityId]) -> None:
        """Remove deleted entities from a parent's list, if they are in it."""
        self._count_list()
        held = self.targets(parent, CHILDREN)
        if isinstance(held, ChildList) or (self.sparse and held):
            left = self.without_children(parent, doomed)
            if len(left) < len(held):
                self.write_children(parent, left, self.time_ns, None)
            return
        gone = set(doomed)
        rest = tuple(child for child in held if child not in gone)
        if len(rest) < len(held):
            self.write_children(parent, rest, self.time_ns, None)

    def _count_list(self) -> None:
        if self.store_rules:
            self.count(STEPS_PER_LIST)

    def _child_list(self, parent: Entity) -> ChildList:
        held = self.targets(parent, CHILDREN)
        if isinstance(held, ChildList):
            return held
        written = parent.fields.get(CHILDREN)
        if written is not None and written.value.data is held:
            return self._convert(parent.entity_id.id, held)
        self.count(len(held) // IDS_PER_STEP)
        return self.new_children(parent, held)

    def _convert(self, number: int, held: tuple[EntityId, ...]) -> ChildList:
        """Convert a list from older rules to the new form, however long it is.

        A long list is converted once, whether the command succeeds or not. The committed record changes its form; what
        this command wrote to it is not part of that.
        """
        committed = self._records.entities[number]
        known = self._converted.get(number)
        if known is None:
            if len(held) > MAX_RECONVERTED_CHILDREN:
                self.uncounted += len(held) // IDS_PER_STEP
            else:
                self.count(len(held) // IDS_PER_STEP)
            value = Value("EntityList", ChildList.of(held))
            field = committed.fields[CHILDREN]._replace(value=value)
            converted = committed._replace(fields={**committed.fields, CHILDREN: field})
            if converted.created_ns is None:
                converted = self._made_sparse(converted)
            known = self._converted[number] = (converted, positions_by_child(held))
        field = known[0].fields[CHILDREN]
        pending = self._pending.setdefault(number, known[0])
        if pending is not None and pending.fields[CHILDREN].value.data is held:
            self._pending[number] = pending._replace(fields={**pending.fields, CHILDREN: field})
        children = field.value.data
        assert isinstance(children, ChildList), "the list has been converted to a ChildList"
        return children

    def _add_position(self, parent: int, child: EntityId, position: int) -> None:
        before = self._positions_of(parent, child)
        child_positions: Positions = position
        if before is not None:
            self.count(1 + len(positions_of(before)) // IDS_PER_STEP)
            child_positions = (*positions_of(before), position)
        self._child_positions.setdefault(parent, {})[child] = child_positions

    def _positions_of(self, parent: int, child: EntityId) -> Positions | None:
        changed = self._child_positions.get(parent)
        if changed is not None and child in changed:
            return changed[child]
        if parent in self._replaced_lists:
            return None
        if parent in self._converted:
            return self._converted[parent][1].get(child)
        return self._records.child_positions.get(parent, {}).get(child)

    # -- ending ----------------------------------------------------------------------------------

    def roll_back(self) -> None:
        """Drop the changes. A long list that was converted stays converted, because its meaning is the same."""
        self._keep_converted(MAX_RECONVERTED_CHILDREN)

    def _keep_converted(self, beyond: int) -> None:
        """Keep the converted form of lists with more than `beyond` children."""
        records = self._records
        for number, (entity, child_positions) in self._converted.items():
            old = records.entities.get(number)
            if (
                old is not None
                and sum(len(positions_of(at)) for at in child_positions.values()) > beyond
            ):
                records.put(entity, old, (CHILDREN,))
                records.child_positions[number] = child_positions
                records.sparse = True

    def commit(self) -> None:
        """Make the changes the committed state."""
        self._keep_converted(0)  # before the changes, which build on it
        records = self._records
        if self._schema_change is not None:
            records.adopt(self._schema_change)
        for number, entity in self._pending.items():
            old = records.entities.get(number)
            if entity is not None:
                records.put(entity, old, self._written.get(number, ()))
            elif old is not None:
                records.remove(old)
        for parent in self._replaced_lists:
            records.forget_positions(parent)
        for parent, changed in self._child_positions.items():
            if parent in records.entities:
                change_positions(records.child_positions.setdefault(parent, {}), changed)
        records.free_some()
        records.digest_some()
        records.last_id = self._last_id
        records.loaded = self.loaded
        records.sparse = records.sparse or self.sparse


def _is_default(entity: Entity, name: str, slot: Slot, field: Field) -> bool:
    """Whether the field would read the same if no client had written it. Then it need not be kept."""
    if field.writer_id is not None:
        return False
    default = entity._replace(fields={}).field(name, slot)
    return default.time_ns == field.time_ns and same_value(default.value, field.value)
