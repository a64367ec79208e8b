"""A type with the fields that it inherits, and the history of these fields."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from typing import NamedTuple

from qcore.machines.entity.state.entity_schema import EntitySchema, FieldSchema
from qcore.machines.entity.state.value import Value

#: The fields of a `Slot` after its size.
SlotHistory = tuple[int, int, int, tuple[tuple[int, Value], ...]]


class Slot(NamedTuple):
    """One field of a complete schema.

    Attributes:
        schema: the field's current schema.
        size: length of the schema's JSON text in bytes.
        generation: changes when the field is removed and added again, or its kind changes. A value of another
            generation does not count. It is 0 for a field that the type had before its first entity.
        since_id: entities with an id up to this one got the field when the generation began; later ones at creation.
        since_ns: the time when the generation began, nanoseconds since the Unix epoch.
        earlier: earlier defaults, oldest first, each with the last id of an entity that reads it.
    """

    schema: FieldSchema
    size: int
    generation: int = 0
    since_id: int = -1
    since_ns: int = 0
    earlier: tuple[tuple[int, Value], ...] = ()

    @property
    def is_plain(self) -> bool:
        """Whether every entity of the type has had the field since its creation, with the current default."""
        return self.generation == 0 and not self.earlier

    @property
    def history(self) -> SlotHistory:
        """The fields of the slot after its size."""
        return self.generation, self.since_id, self.since_ns, self.earlier

    def default_of(self, number: int) -> Value:
        """The value of the field on the entity with this number while no client has written it."""
        if self.earlier:
            at = bisect_left(self.earlier, number, key=_last_id)
            if at < len(self.earlier) and self.schema.fits(self.earlier[at][1]):
                return self.earlier[at][1]
        return self.schema.default


def _last_id(item: tuple[int, Value]) -> int:
    return item[0]


class CompleteType(NamedTuple):
    """A type with the fields that it inherits.

    Attributes:
        slots: its fields by name, ancestors' fields first. The type's own field replaces an inherited one.
        depth: how many types are above it.
        size: rough length of the complete schema's JSON text in bytes.
        own_bytes: the same for its own fields and the earlier defaults that it keeps.
    """

    slots: Mapping[str, Slot]
    depth: int
    size: int
    own_bytes: int


class Moment(NamedTuple):
    """When schemas change: the log index, the last id assigned before it, and the time in ns since the Unix epoch.

    With `keeps_kinds`, which apply rules 4 bring, a field of existing entities keeps its kind.
    """

    at: int
    last_id: int
    time_ns: int
    keeps_kinds: bool = False


class SchemaChange(NamedTuple):
    """The argument of `Schemas.adopt`: the new schemas, and the complete types that change."""

    own: dict[str, EntitySchema]
    complete: dict[str, CompleteType]
