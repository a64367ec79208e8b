"""The registry of all entity types: their inheritance, and from when on their entities have each field.

A new schema changes no entity. An entity keeps the fields that were written. Every other field reads as the default
that its type had when the entity got the field. So for each field of a type's complete schema, a `Slot` remembers when
the entities got the field, and the earlier defaults that older entities still read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final

from pydantic_core import to_json

from qcore.errors import (
    InheritanceCycle,
    KindChangeRejected,
    SchemaInvalid,
    SchemaTooLarge,
    TooManyOperations,
    TypeNotFound,
    UnknownParentType,
    ValueTooLarge,
)
from qcore.machines.entity.quoted_text import quoted
from qcore.machines.entity.state.complete_type import (
    CompleteType,
    Moment,
    SchemaChange,
    Slot,
    SlotHistory,
)
from qcore.machines.entity.state.entity_schema import (
    EntitySchema,
    FieldSchema,
    check_schema,
    field_to_json,
)
from qcore.machines.entity.state.field_values import same_value, value_bytes
from qcore.machines.entity.state.value import Value
from qcore.machines.limits import (
    MAX_COMPLETE_FIELDS,
    MAX_EARLIER_DEFAULTS,
    MAX_FIELDS,
    MAX_OPERATIONS,
    MAX_SCHEMA_BYTES,
    MAX_SCHEMAS_BYTES,
    MAX_TYPES,
    MAX_VALUE_BYTES,
    PLAIN_FIELDS_PER_STEP,
)

#: Maximum number of types above a type.
MAX_INHERITANCE_DEPTH: Final = 100
#: Bytes counted for a type besides its fields, and for an earlier default besides its value.
_TYPE_BYTES: Final = 128
_EARLIER_BYTES: Final = 128
#: How many complete types are built before an item of `Schemas.restore`.
_TYPES_PER_STEP: Final = 50


class Schemas:
    """The schemas of all types, own and complete. Only `adopt` and `restore` change them."""

    def __init__(self) -> None:
        self.own: dict[str, EntitySchema] = {}
        self._complete: dict[str, CompleteType] = {}
        self._subtypes: dict[str, dict[str, None]] = {}
        #: Derived from the types, for the types that were asked for.
        self._lineages: dict[str, tuple[str, ...]] = {}
        #: The sorted names, kept until a type is added.
        self._names: list[str] | None = None
        self._own_bytes = 0
        self._complete_fields = 0

    @property
    def own_bytes(self) -> int:
        """About the bytes of all schemas, with the defaults that older entities still read."""
        return self._own_bytes

    def after(self, change: SchemaChange) -> Schemas:
        """Return a read-only copy with a change. Copies the table of types."""
        seen = Schemas()
        seen.own = {**self.own, **change.own}
        seen._complete = {**self._complete, **change.complete}
        return seen

    def frozen(self) -> Schemas:
        """Return a read-only copy. Copies the table of types."""
        return self.after(SchemaChange({}, {}))

    def get(self, entity_type: str) -> EntitySchema:
        """Return the type's own schema.

        Raises:
            TypeNotFound: there is none.
        """
        schema = self.own.get(entity_type)
        if schema is None:
            raise _unknown(entity_type)
        return schema

    def names(self) -> Sequence[str]:
        """Return the names of all types, sorted."""
        if self._names is None:
            self._names = sorted(self.own)
        return self._names

    def slots(self, entity_type: str) -> Mapping[str, Slot]:
        """Return the fields of the complete schema.

        Raises:
            TypeNotFound: there is none.
        """
        found = self._complete.get(entity_type)
        if found is None:
            raise _unknown(entity_type)
        return found.slots

    def size_bytes(self, entity_type: str) -> int:
        """About the memory that the complete schema takes, bytes. Takes the same time for any number of fields.

        Raises:
            TypeNotFound: there is none.
        """
        found = self._complete.get(entity_type)
        if found is None:
            raise _unknown(entity_type)
        return found.size + found.own_bytes

    def complete(self, entity_type: str) -> EntitySchema:
        """Return the type's schema with all inherited fields, ancestors first. The type's own field wins.

        Raises:
            TypeNotFound: there is none.
        """
        slots = self.slots(entity_type)
        fields = {name: slot.schema for name, slot in slots.items()}
        return EntitySchema(entity_type, self.own[entity_type].inherit, fields)

    def lineage(self, entity_type: str) -> tuple[str, ...]:
        """Return the type and all types above it, the nearest first.

        Raises:
            TypeNotFound: there is none.
        """
        found = self._lineages.get(entity_type)
        if found is None:
            names: list[str] = []
            current: str | None = entity_type
            while current is not None:
                names.append(current)
                current = self.get(current).inherit
            found = self._lineages[entity_type] = tuple(names)
        return found

    def with_subtypes(self, entity_type: str) -> list[str]:
        """Return the type and all types that inherit from it, sorted by name.

        Raises:
            TypeNotFound: there is none.
        """
        self.get(entity_type)
        return sorted(self._affected({entity_type: self.own[entity_type]}))

    # -- changing --------------------------------------------------------------------------------

    def plan_change(
        self,
        changed: Iterable[EntitySchema],
        moment: Moment | None = None,
        oldest: Callable[[str], int | None] = lambda _: None,
        note_work: Callable[[int], None] = lambda _: None,
    ) -> SchemaChange:
        """Return the effect of adding or replacing some schemas. Nothing is changed yet.

        Args:
            changed: the schemas.
            moment: when they change. With it the limits apply; None for apply rules 1 and 2, under which all entities
                are rewritten immediately and nothing is limited.
            oldest: returns the least number of an entity of exactly this type, or None.
            note_work: receives the steps that the planning took, also if it fails.

        Raises:
            UnknownParentType: an ancestor has no schema.
            InheritanceCycle: a type is its own ancestor.
            SchemaInvalid: `check_schema` rejects a schema, or there are too many ancestors.
            SchemaTooLarge, ValueTooLarge, TooManyOperations: a limit is exceeded.
            KindChangeRejected: a field of existing entities would change its kind.
        """
        new = {schema.entity_type: schema for schema in changed}
        for schema in new.values():
            check_schema(schema)
        # Rules 1 and 2 checked all types and named the first invalid one.
        for name in new if moment is not None else {**self.own, **new}:
            self.check_lineage(name, new)
        planner = _Planner(self.own, self._complete, new, moment, oldest)
        try:
            complete = planner.complete_all(self._affected(new))
        finally:
            note_work(planner.operations)
        result = SchemaChange(new, complete)
        if moment is not None:
            self._check_totals(result)
        return result

    def adopt(self, change: SchemaChange) -> None:
        """Apply a planned change."""
        self._lineages.clear()
        if not change.own.keys() <= self.own.keys():
            self._names = None
        for name, schema in change.own.items():
            before = self.own.get(name)
            if before is not None and before.inherit is not None:
                self._subtypes[before.inherit].pop(name, None)
            if schema.inherit is not None:
                self._subtypes.setdefault(schema.inherit, {})[name] = None
            self.own[name] = schema
        for name, complete in change.complete.items():
            old = self._complete.get(name, _NOTHING)
            self._own_bytes += complete.own_bytes - old.own_bytes
            self._complete_fields += len(complete.slots) - len(old.slots)
            self._complete[name] = complete

    def restore(
        self,
        schemas: Iterable[EntitySchema],
        histories: Mapping[str, Mapping[str, SlotHistory]],
    ) -> Iterator[None]:
        """Fill new schemas with those of a snapshot, a bounded number of types before each item.

        Args:
            schemas: all of them.
            histories: by type, the histories of the fields of its complete schema that are not plain.

        Raises:
            StoreError: see `plan_change`, without the limits.
        """
        new = {schema.entity_type: schema for schema in schemas}
        planner = _Planner({}, {}, new, None, lambda _: None, histories)
        for number, name in enumerate(new, start=1):
            check_schema(new[name])
            self.check_lineage(name, new)
            planner.complete(name)
            if number % _TYPES_PER_STEP == 0:
                yield
        self.adopt(SchemaChange(new, planner.done))

    def check_lineage(self, entity_type: str, new: Mapping[str, EntitySchema]) -> None:
        """Reject a type whose ancestors are invalid, if `new` replaces some schemas.

        Raises:
            UnknownParentType, InheritanceCycle, SchemaInvalid: see `plan_change`.
        """
        chain: dict[str, None] = {}
        last, current = entity_type, entity_type
        while True:
            if current in chain:
                raise InheritanceCycle(f"{quoted(entity_type)} inherits from itself")
            if len(chain) > MAX_INHERITANCE_DEPTH:
                raise _too_deep(entity_type)
            schema = new.get(current) or self.own.get(current)
            if schema is None:
                raise UnknownParentType(
                    f"{quoted(last)} inherits from {quoted(current)}, which has no schema"
                )
            chain[current] = None
            if schema.inherit is None:
                return
            last, current = current, schema.inherit

    def _affected(self, new: Mapping[str, EntitySchema]) -> list[str]:
        """Return the changed types and all types that inherit from them."""
        found = dict.fromkeys(new)
        to_visit = list(new)
        while to_visit:
            # Sorted, because the order in which subtypes were added is not part of the state.
            for name in sorted(self._subtypes.get(to_visit.pop(), ())):
                if name not in found:
                    found[name] = None
                    to_visit.append(name)
        return list(found)

    def _check_totals(self, change: SchemaChange) -> None:
        own_bytes, fields, types = self._own_bytes, self._complete_fields, len(self._complete)
        for name, complete in change.complete.items():
            old = self._complete.get(name, _NOTHING)
            own_bytes += complete.own_bytes - old.own_bytes
            fields += len(complete.slots) - len(old.slots)
            types += old is _NOTHING
        for what, seen, before, bound in (
            ("types", types, len(self._complete), MAX_TYPES),
            ("bytes of schemas", own_bytes, self._own_bytes, MAX_SCHEMAS_BYTES),
            ("fields in all complete schemas", fields, self._complete_fields, MAX_COMPLETE_FIELDS),
        ):
            # Older rules may have allowed more. Such a total may stay or shrink.
            if seen > bound and seen > before:
                raise SchemaTooLarge(f"there would be {seen} {what}; the limit is {bound}")


class _Planner:
    """Builds complete types, parents before the types that inherit from them."""

    def __init__(
        self,
        own: Mapping[str, EntitySchema],
        before: Mapping[str, CompleteType],
        new: Mapping[str, EntitySchema],
        moment: Moment | None,
        oldest: Callable[[str], int | None],
        histories: Mapping[str, Mapping[str, SlotHistory]] | None = None,
    ) -> None:
        self._own = own
        self._before = before
        self._new = new
        self._moment = moment
        self._oldest = oldest
        self._histories = histories or {}
        self._affected: dict[str, None] = dict.fromkeys(new)
        self.done: dict[str, CompleteType] = {}
        self.operations = 0

    def complete_all(self, affected: list[str]) -> dict[str, CompleteType]:
        self._affected = dict.fromkeys(affected)
        for name in affected:
            self.complete(name)
        return self.done

    def complete(self, name: str) -> CompleteType:
        """Build the type, and before it the types above it that change."""
        # Without recursion: the list of types to build stays short (`MAX_INHERITANCE_DEPTH`).
        waiting = [name]
        while waiting:
            current = waiting[-1]
            schema = self._schema(current)
            parent = schema.inherit
            if parent is not None and parent in self._affected and parent not in self.done:
                waiting.append(parent)
                continue
            waiting.pop()
            if current not in self.done:
                self.done[current] = self._made(schema)
        return self.done[name]

    def _schema(self, name: str) -> EntitySchema:
        return self._new[name] if name in self._new else self._own[name]

    def _made(self, schema: EntitySchema) -> CompleteType:
        name, inherit = schema.entity_type, schema.inherit
        above = _ROOT
        if inherit is not None:
            above = self.done.get(inherit) or self._before[inherit]
        if above.depth >= MAX_INHERITANCE_DEPTH:
            raise _too_deep(name)
        before = self._before.get(name)
        known = {} if before is None else before.slots
        given = self._histories.get(name, {})
        oldest = None if before is None or self._moment is None else self._oldest(name)
        slots: dict[str, Slot] = dict(above.slots)
        slots.update(
            {key: self._own_slot(field, known.get(key)) for key, field in schema.fields.items()}
        )
        if self._moment is not None:
            self._count(name, 1 + len(slots) // PLAIN_FIELDS_PER_STEP)
            self._check_bounds(name, slots, before)
        size, own_bytes, earlier = _TYPE_BYTES, _TYPE_BYTES + 2 * len(name), 0
        for key, slot in slots.items():
            size += slot.size
            if key in schema.fields:
                own_bytes += slot.size
            history = given.get(key)
            if history is not None:
                made = Slot(slot.schema, slot.size, *history)
            elif slot.is_plain and known.get(key) is slot:
                continue
            else:
                made = self._slot(name, slot, known.get(key), oldest)
            if not made.is_plain:
                self._count(name, 1)
                earlier += len(made.earlier)
                own_bytes += sum(_kept_bytes(value) for _, value in made.earlier)
            slots[key] = made
        if (
            self._moment is not None
            and size > MAX_SCHEMA_BYTES
            and (before is None or size > before.size)
        ):
            raise SchemaTooLarge(
                f"the complete schema of {quoted(name)} would have {size} bytes; the limit is {MAX_SCHEMA_BYTES}"
            )
        if self._moment is not None and earlier > MAX_EARLIER_DEFAULTS:
            raise SchemaTooLarge(
                f"{quoted(name)} would keep {earlier} earlier defaults for entities that still read them; the limit is "
                f"{MAX_EARLIER_DEFAULTS}"
            )
        return CompleteType(slots, above.depth + 1, size, own_bytes)

    def _count(self, name: str, operations: int) -> None:
        self.operations += operations
        if self._moment is not None and self.operations > MAX_OPERATIONS:
            raise TooManyOperations(
                f"the change reaches {quoted(name)} and other types that inherit from it: more than {MAX_OPERATIONS} "
                "steps (fields that change or have changed before): change fewer fields at once, or types further down"
            )

    def _own_slot(self, field: FieldSchema, known: Slot | None) -> Slot:
        if known is not None and known.schema is field:
            return known
        return Slot(field, len(to_json(field_to_json(field))))

    def _slot(self, name: str, wanted: Slot, known: Slot | None, oldest: int | None) -> Slot:
        """Return the field's new slot, from its current schema or an ancestor's."""
        moment = self._moment
        if moment is None or oldest is None:
            # No older entity has the field, or it was rewritten.
            return wanted if wanted.is_plain else Slot(wanted.schema, wanted.size)
        if known is None or known.schema.kind != wanted.schema.kind:
            if known is not None and moment.keeps_kinds:
                raise KindChangeRejected(
                    f"field {quoted(wanted.schema.field_type)} of {quoted(name)} holds {known.schema.kind}, the new "
                    f"schema says {wanted.schema.kind}, and entities of the type exist: remove the field first, which "
                    "drops its values, then add it with the new kind"
                )
            return Slot(wanted.schema, wanted.size, moment.at, moment.last_id, moment.time_ns)
        earlier = tuple(item for item in known.earlier if item[0] >= oldest)
        changed = not same_value(known.schema.default, wanted.schema.default)
        if changed and not (earlier and earlier[-1][0] == moment.last_id):
            earlier += ((moment.last_id, known.schema.default),)
        if known.schema is wanted.schema and len(earlier) == len(known.earlier):
            return known
        return known._replace(schema=wanted.schema, size=wanted.size, earlier=earlier)

    def _check_bounds(
        self, name: str, slots: Mapping[str, Slot], before: CompleteType | None
    ) -> None:
        if len(slots) > MAX_FIELDS and (before is None or len(slots) > len(before.slots)):
            raise SchemaTooLarge(
                f"{quoted(name)} would have {len(slots)} fields, inherited ones included; the limit is {MAX_FIELDS}"
            )
        if name in self._new:
            for field in self._new[name].fields.values():
                _check_default(field)


def _check_default(field: FieldSchema) -> None:
    size = value_bytes(field.default)
    if size > MAX_VALUE_BYTES:
        raise ValueTooLarge(
            f"the default of field {quoted(field.field_type)} has {size} bytes; the limit is {MAX_VALUE_BYTES}"
        )


def _kept_bytes(value: Value) -> int:
    return _EARLIER_BYTES + value_bytes(value)


def _unknown(entity_type: str) -> TypeNotFound:
    return TypeNotFound(f"entity type {quoted(entity_type)} has no schema")


def _too_deep(entity_type: str) -> SchemaInvalid:
    return SchemaInvalid(
        f"{quoted(entity_type)} inherits through more than {MAX_INHERITANCE_DEPTH} types"
    )


#: Stands above a type without a parent, and gives it the depth 0.
_ROOT: Final = CompleteType({}, -1, 0, 0)
_NOTHING: Final = CompleteType({}, 0, 0, 0)
