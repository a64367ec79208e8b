"""Entity ids and field values as Python values, and their conversion to and from the JSON of the wire.

| kind | Python |
|---|---|
| String, Int, Float, Bool | `str`, `int`, `float`, `bool` |
| Blob | `bytes` |
| Timestamp | `Timestamp`; an aware `datetime` can be written, too |
| Choice | `Choice(index)` |
| EntityReference | `EntityId` or None |
| EntityList | a list of `EntityId` |

A Python `int` is an Int: write `3.0` to a Float field. `DEFAULT` writes the default of the schema. A tagged value of
the wire, such as `{"Choice": 2}`, can be written as it is.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Final, Self, TypeAlias, cast

from pydantic import JsonValue

from qcore.display import truncate
from qcore.errors import ConfigError, KindMismatch
from qcore.machines.entity.state.entity_id import EntityId
from qcore.machines.entity.state.wire.value_json import INT_MAX, INT_MIN

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class _Default(Enum):
    DEFAULT = "the default of the schema"


#: Writes the default that the schema has for the field.
DEFAULT: Final = _Default.DEFAULT


@dataclass(frozen=True, slots=True)
class Choice:
    """The value of a Choice field: the place of the choice in the schema's list, from 0."""

    index: int


@dataclass(frozen=True, slots=True, order=True)
class Timestamp:
    """A time since the Unix epoch, in seconds and nanoseconds."""

    secs: int
    nanos: int = 0

    @classmethod
    def of(cls, time: datetime) -> Self:
        """The timestamp of a `datetime`, which must have a time zone.

        Raises:
            ConfigError: it has none, or is before 1970.
        """
        if time.tzinfo is None:
            raise ConfigError(
                f"{time.isoformat()} has no time zone: write datetime(..., tzinfo=UTC)"
            )
        micros = (time - _EPOCH) // timedelta(microseconds=1)
        if micros < 0:
            raise ConfigError(f"{time.isoformat()}: a timestamp cannot be before 1970")
        return cls(micros // 1_000_000, micros % 1_000_000 * 1000)

    def to_datetime(self) -> datetime:
        """The time in UTC, without the part below a microsecond.

        Raises:
            OverflowError: it is after the year 9999.
        """
        return _EPOCH + timedelta(seconds=self.secs, microseconds=self.nanos // 1000)


#: What a read returns.
Value: TypeAlias = (
    str | int | float | bool | bytes | Timestamp | Choice | EntityId | list[EntityId] | None
)


@dataclass(frozen=True, slots=True)
class Field:
    """A field of an entity.

    Attributes:
        field_type: its name, or the path that was read.
        value: its value. After a write with Add or Subtract it is the new value of the field.
        write_time: when it was written last; None if it is not known.
        writer_id: who wrote it, if the write named a writer.
    """

    field_type: str
    value: Value
    write_time: Timestamp | None
    writer_id: EntityId | None


@dataclass(frozen=True, slots=True)
class Entity:
    """An entity with fields, as it was when it was read or created.

    Attributes:
        entity_id: its id.
        fields: its fields by name.
    """

    entity_id: EntityId
    fields: Mapping[str, Field]

    def __hash__(self) -> int:
        return hash(self.entity_id)

    def __getitem__(self, field_type: str) -> Value:
        """The value of a field."""
        return self.fields[field_type].value


#: Names an entity: its id, as an `EntityId` or as a text such as `User$7`, or an `Entity` that the client returned.
EntityLike: TypeAlias = EntityId | Entity | str

#: What can be written: also an aware `datetime`, an `Entity`, a list of ids in any form, a tagged value, and `DEFAULT`.
WritableValue: TypeAlias = (
    Value | datetime | Entity | Sequence[EntityLike] | Mapping[str, JsonValue] | _Default
)


def parse_id(text: str) -> EntityId:
    """The id in a text such as `User$7`.

    Raises:
        ConfigError: the text is not a type, `$` and a number.
    """
    typ, dollar, number = text.rpartition("$")
    if not (dollar and typ and number.isascii() and number.isdigit()):
        raise ConfigError(
            f"{truncate(repr(text))} is not an entity id: write type, $ and number, such as User$7"
        )
    return EntityId(typ, int(number))


def encode_id(entity: EntityLike | Mapping[str, str | int]) -> dict[str, JsonValue]:
    """The wire form of an entity's id.

    Raises:
        ConfigError: the text is not an id, or the argument names no entity.
    """
    match entity:
        case EntityId(typ, number):
            return {"typ": typ, "id": number}
        case Entity(entity_id=(typ, number)):
            return {"typ": typ, "id": number}
        case str():
            return encode_id(parse_id(entity))
        case {"typ": str(typ), "id": int(number)}:
            return {"typ": typ, "id": number}
        case _:
            raise ConfigError(
                f"{truncate(repr(entity))} names no entity: give an EntityId, an Entity, or a text such as User$7"
            )


def encode_optional_id(entity: EntityLike | None) -> dict[str, JsonValue] | None:
    """Like `encode_id`; None stays None."""
    return None if entity is None else encode_id(entity)


def encode_value(value: WritableValue) -> dict[str, JsonValue] | None:
    """The tagged value of the wire; None for `DEFAULT`.

    Raises:
        ConfigError: no kind of field has such values.
    """
    match value:
        case None:
            return {"EntityReference": None}
        case _Default():
            return None
        case str():
            return {"String": value}
        case bool():
            return {"Bool": value}
        case int():
            if not INT_MIN <= value <= INT_MAX:
                raise ConfigError(
                    f"{truncate(str(value))} does not fit into an Int, which has 64 bits"
                )
            return {"Int": value}
        case float():
            if not math.isfinite(value):
                raise ConfigError(f"a Float cannot be {value}: it must be finite")
            return {"Float": value}
        case bytes() | bytearray():
            return {"Blob": cast("list[JsonValue]", list(value))}
        case EntityId() | Entity():
            return {"EntityReference": encode_id(value)}
        case Choice(index):
            return {"Choice": index}
        case Timestamp(secs, nanos):
            return {"Timestamp": {"secs_since_epoch": secs, "nanos_since_epoch": nanos}}
        case datetime():
            return encode_value(Timestamp.of(value))
        case Mapping():
            return dict(value)
        case Sequence():
            return {"EntityList": [encode_id(cast("EntityLike", each)) for each in value]}
    raise ConfigError(
        f"a field cannot hold {truncate(repr(value))}: its class is {type(value).__name__}"
    )


def decode_id(json: JsonValue) -> EntityId:
    """The id in its wire form. Raises `ValueError`, `TypeError` or `KeyError` if it is not one."""
    match json:
        case {"typ": str(typ), "id": int(number)}:
            return EntityId(typ, number)
    raise ValueError(f"{truncate(repr(json))} is not an entity id")


def decode_optional_id(json: JsonValue) -> EntityId | None:
    """Like `decode_id`; None stays None."""
    return None if json is None else decode_id(json)


def decode_time(json: JsonValue) -> Timestamp | None:
    """A time in its wire form; None stays None. Raises `ValueError` if it is not one."""
    match json:
        case None:
            return None
        case {"secs_since_epoch": int(secs), "nanos_since_epoch": int(nanos)}:
            return Timestamp(secs, nanos)
    raise ValueError(f"{truncate(repr(json))} is not a time")


def decode_value(json: JsonValue) -> Value:
    """The value in a tagged value of the wire. Raises `ValueError` if it is not one."""
    match json:
        case {"String": str(text)}:
            return text
        case {"Bool": bool(flag)}:
            return flag
        case {"Int": int(whole)}:
            return whole
        case {"Float": (float() | int()) as number}:
            return float(number)
        case {"Blob": list() as items}:
            return bytes(cast("list[int]", items))
        case {"Choice": int(index)}:
            return Choice(index)
        case {"EntityReference": target}:
            return decode_optional_id(target)
        case {"EntityList": list() as targets}:
            return [decode_id(target) for target in targets]
        case {"Timestamp": time}:
            return decode_time(time)
    raise ValueError(f"{truncate(repr(json))} is not a value")


def decode_field(json: Mapping[str, JsonValue]) -> Field:
    """A field with value, write time and writer, as in the response of a read or write."""
    value = json["value"]
    return Field(
        str(json["field_type"]),
        None if value is None else decode_value(value),
        decode_time(json["write_time"]),
        decode_optional_id(json["writer_id"]),
    )


#: What to write to a field of each kind, for the error of a value of another kind.
_WRITE_INSTEAD: Final = {
    "Blob": "write bytes",
    "Bool": "write True or False",
    "Choice": "write Choice(index)",
    "EntityList": "write a list of ids",
    "EntityReference": 'write an EntityId, an Entity or None; parse_id("User$7") makes an id of a text',
    "Float": "write a float, such as 1.0",
    "Int": "write an int",
    "String": "write a str",
    "Timestamp": "write a Timestamp, or a datetime with a time zone",
}
_KIND_OF_FIELD: Final = re.compile(r" holds (\w+), the value is ")


def advise(error: KindMismatch) -> KindMismatch:
    """The error of a write, with the Python value that the field takes in its text."""
    found = _KIND_OF_FIELD.search(str(error))
    advice = _WRITE_INSTEAD.get(found[1]) if found else None
    return error if advice is None else KindMismatch(f"{error}: {advice}")
