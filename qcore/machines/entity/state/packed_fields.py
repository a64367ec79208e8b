"""`PackedFields`: the fields of a stored record in a third of the memory.

A `Field` and its `Value` are two objects beside the data, and a dictionary of six fields takes more than they do. Most
records of a type hold the same fields of the same kinds. So they share one `_Shape`, which says what each place of a
flat tuple means, and a record keeps only that tuple. Reading a field makes its two objects again.

A write that changes a field's form (its kind, its generation, whether it has a writer) makes all of them. So a record
of many fields stays a dictionary, which is copied much faster.
"""

from __future__ import annotations

from collections.abc import Iterator, KeysView, Mapping
from typing import Final, NamedTuple, TypeAlias

from qcore.machines.entity.state.entity_id import EntityId
from qcore.machines.entity.state.field_values import Field
from qcore.machines.entity.state.value import Data, Kind, LargeValue, Value

#: The data of a value or a large value, a time, a writer.
_Cell: TypeAlias = Data | LargeValue

#: So many shapes are shared. Other records have a shape each, so clients cannot fill the memory with them.
MAX_SHARED_SHAPES: Final = 4096
#: Records of more fields are not packed. This bounds the memory of the shapes, too.
MAX_PACKED_FIELDS: Final = 32

_new = tuple.__new__


class _Place(NamedTuple):
    """What a shape knows of a field.

    Attributes:
        position: of the data among the cells. The time follows, and then the writer if there is one.
        kind: the value's.
        generation: the field's.
        has_writer: whether a cell holds the writer.
    """

    position: int
    kind: Kind
    generation: int
    has_writer: bool


_Shape: TypeAlias = dict[str, _Place]

_shapes: dict[tuple[tuple[str, Kind, int, bool], ...], _Shape] = {}


class PackedFields:
    """The fields of a record by name: an immutable mapping.

    It has no base, so it can be compiled.

    Args:
        shape: the places of the fields.
        cells: their content.
    """

    __slots__ = ("_cells", "_shape")

    def __init__(self, shape: _Shape, cells: tuple[_Cell, ...]) -> None:
        self._shape = shape
        self._cells = cells

    def __len__(self) -> int:
        return len(self._shape)

    def __iter__(self) -> Iterator[str]:
        return iter(self._shape)

    def __contains__(self, name: object) -> bool:
        return name in self._shape

    def __getitem__(self, name: str) -> Field:
        field = self.get(name)
        if field is None:
            raise KeyError(name)
        return field

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PackedFields | Mapping):
            return NotImplemented
        return dict(self.items()) == dict(other.items())

    __hash__ = None  # type: ignore[assignment]  # as a dictionary's

    def keys(self) -> KeysView[str]:
        """The names, in order."""
        return self._shape.keys()

    def values(self) -> list[Field]:
        """The fields, in the order of their names."""
        return [self[name] for name in self._shape]

    def items(self) -> list[tuple[str, Field]]:
        """The names with their fields, in order."""
        return [(name, self[name]) for name in self._shape]

    def get(self, name: str) -> Field | None:
        """The field of this name, or None."""
        place = self._shape.get(name)
        if place is None:
            return None
        position, kind, generation, has_writer = place
        cells = self._cells
        data, time_ns = cells[position], cells[position + 1]
        writer = cells[position + 2] if has_writer else None
        # `Value(...)` would call a function of Python's library, and every read and write comes here.
        value = data if type(data) is LargeValue else _new(Value, (kind, data))
        return _new(Field, (value, time_ns, writer, generation))

    def replaced(self, name: str, field: Field) -> PackedFields | None:
        """The fields with another one in the place of a field; None if they do not have one of this form."""
        place = self._shape.get(name)
        value, time_ns, writer, generation = field
        if (
            place is None
            or place.kind != value.kind
            or place.generation != generation
            or place.has_writer != (writer is not None)
        ):
            return None
        at = place.position
        data = value if type(value) is LargeValue else value.data
        new: tuple[_Cell, ...] = (data, time_ns) if writer is None else (data, time_ns, writer)
        return PackedFields(self._shape, self._cells[:at] + new + self._cells[at + len(new) :])


#: The fields of a record in either form.
Fields: TypeAlias = Mapping[str, Field] | PackedFields


def with_field(fields: Fields, name: str, field: Field) -> Fields:
    """Fields with another one in the place of a field, or with one more."""
    made = fields.replaced(name, field) if isinstance(fields, PackedFields) else None
    return {**fields, name: field} if made is None else made


def packed(fields: Fields, parent: EntityId | None) -> Fields:
    """Pack fields if they are few. Their order becomes that of their names.

    Args:
        parent: an object that most children of one parent share. A reference that is equal becomes this object.
    """
    if isinstance(fields, PackedFields) or len(fields) > MAX_PACKED_FIELDS:
        return fields
    key: list[tuple[str, Kind, int, bool]] = []
    cells: list[_Cell] = []
    last_ns, last_writer = -1, EntityId("", -1)
    for name, (value, time_ns, writer, generation) in sorted(fields.items()):
        key.append((name, value.kind, generation, writer is not None))
        data = value if type(value) is LargeValue else value.data
        cells.append(parent if data == parent else data)
        # Equal objects of one record are kept once. A restored record has one for each field.
        last_ns = last_ns if time_ns == last_ns else time_ns
        cells.append(last_ns)
        if writer is not None:
            last_writer = last_writer if writer == last_writer else writer
            cells.append(last_writer)
    return PackedFields(_shape(tuple(key)), tuple(cells))


def _shape(key: tuple[tuple[str, Kind, int, bool], ...]) -> _Shape:
    shape = _shapes.get(key)
    if shape is None:
        shape = {}
        position = 0
        for name, kind, generation, has_writer in key:
            shape[name] = _Place(position, kind, generation, has_writer)
            position += 3 if has_writer else 2
        if len(_shapes) >= MAX_SHARED_SHAPES:
            _shapes.clear()
        _shapes[key] = shape
    return shape
