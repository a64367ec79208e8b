"""Field values: their form in the store, their JSON form on the wire, and how a write combines them."""

from __future__ import annotations

import math
from hashlib import blake2b
from typing import Final, Literal, NamedTuple, assert_never, cast

from pydantic_core import to_json

from qcore.errors import KindMismatch, NotAdjustable, ValueOutOfRange, ValueTooLarge
from qcore.machines.entity.quoted_text import quoted
from qcore.machines.entity.state.child_list import ChildList, id_bytes
from qcore.machines.entity.state.entity_id import EntityId
from qcore.machines.entity.state.value import SMALL_BYTES, Data, Kind, LargeValue, Value
from qcore.machines.entity.state.wire.value_json import (
    INT_MAX,
    INT_MIN,
    NANOS_PER_SECOND,
    EntityIdJson,
    TimestampJson,
    ValueJson,
)
from qcore.machines.limits import MAX_VALUE_BYTES

AdjustBehavior = Literal["Set", "Add", "Subtract"]

# --- the form in the store ----------------------------------------------------------------------


#: Length of the JSON around the ids of a list, without its brackets.
_LIST_BYTES: Final = len('{"EntityList":}')


class Field(NamedTuple):
    """A field's value, its write time (nanoseconds since the Unix epoch), and its writer.

    `generation` is that of the field's slot at the write; see `qcore.machines.entity.state.complete_type.Slot`.
    """

    value: Value
    time_ns: int
    writer_id: EntityId | None
    generation: int = 0


def measured(value: Value) -> Value:
    """Return the value, as a `LargeValue` if it is large. Call this for every value before it enters the store."""
    match value.data:
        case None | bool() | int() | float() | ChildList():
            return value
        case str() as text if 6 * len(text) + 32 <= SMALL_BYTES:
            return value  # no character takes more than six bytes in JSON
        case bytes() as blob if 4 * len(blob) + 32 <= SMALL_BYTES:
            return value
        case EntityId(typ=typ) if 6 * len(typ) + 64 <= SMALL_BYTES:
            return value
        case ():
            return value
    if isinstance(value, LargeValue):
        return value
    text_json = to_json(value_to_json(value))
    if len(text_json) <= SMALL_BYTES:
        return value
    large = LargeValue(value.kind, value.data)
    large.size = len(text_json)
    large.digest = blake2b(text_json, digest_size=32).hexdigest()
    return large


def ids_of(value: Value) -> tuple[EntityId, ...] | ChildList:
    """The content of a list of entities."""
    data = value.data
    assert isinstance(data, ChildList | tuple), "a list of entities is a ChildList or a tuple"
    assert not isinstance(data, EntityId), "a reference is not a list"
    return data


def same_value(one: Value, other: Value) -> bool:
    """Whether two values are equal. Compares large values by their digests."""
    if isinstance(one, LargeValue) and isinstance(other, LargeValue):
        return one.digest == other.digest
    return one == other


def value_bytes(value: Value) -> int:
    """An upper bound of the length of the value's JSON text in bytes; exact for a large value."""
    if isinstance(value, LargeValue):
        return value.size
    if value.kind != "EntityList":
        return SMALL_BYTES
    match value.data:
        case ChildList() as children:
            return children.json_bytes + _LIST_BYTES
        case tuple() as targets:
            # Exact, as for a `LargeValue`: the count must not depend on whether this value has been measured.
            return _LIST_BYTES + 2 + max(0, sum(map(id_bytes, targets)) - 1)
    return SMALL_BYTES


def check_size(value: Value, name: str) -> None:
    """Reject a value that is too large for a field.

    Args:
        name: the field's.

    Raises:
        ValueTooLarge: it exceeds `MAX_VALUE_BYTES`.
    """
    size = value_bytes(value)
    if size > MAX_VALUE_BYTES:
        raise ValueTooLarge(
            f"field {quoted(name)} would hold {size} bytes; the limit is {MAX_VALUE_BYTES}"
        )


# --- the form on the wire -----------------------------------------------------------------------


def id_from_json(json: EntityIdJson) -> EntityId:
    """Convert a validated wire form to the store's form."""
    return EntityId(json["typ"], json["id"])


def optional_id_from_json(json: EntityIdJson | None) -> EntityId | None:
    """Like `id_from_json`. None stays None."""
    return None if json is None else id_from_json(json)


def id_to_json(entity_id: EntityId | None) -> EntityIdJson | None:
    """Inverse of `id_from_json`. None stays None."""
    return None if entity_id is None else {"typ": entity_id.typ, "id": entity_id.id}


def time_from_json(json: TimestampJson) -> int:
    """Convert a time to nanoseconds since the Unix epoch."""
    return json["secs_since_epoch"] * NANOS_PER_SECOND + json["nanos_since_epoch"]


def time_to_json(time_ns: int) -> TimestampJson:
    """Inverse of `time_from_json`."""
    seconds, nanos = divmod(time_ns, NANOS_PER_SECOND)
    return {"secs_since_epoch": seconds, "nanos_since_epoch": nanos}


def value_from_json(json: ValueJson) -> Value:
    """Convert a validated wire form to the store's form."""
    if "String" in json:
        return measured(Value("String", json["String"]))
    if "Int" in json:
        return Value("Int", json["Int"])
    if "Float" in json:
        return Value("Float", json["Float"])
    if "Bool" in json:
        return Value("Bool", json["Bool"])
    if "Choice" in json:
        return Value("Choice", json["Choice"])
    if "EntityReference" in json:
        target = json["EntityReference"]
        return measured(Value("EntityReference", optional_id_from_json(target)))
    if "EntityList" in json:
        ids = tuple(id_from_json(entry) for entry in json["EntityList"])
        return measured(Value("EntityList", ids))
    if "Timestamp" in json:
        return Value("Timestamp", time_from_json(json["Timestamp"]))
    return measured(Value("Blob", bytes(json["Blob"])))


def data_to_json(value: Value) -> object:
    """Return the untagged wire form of a value, as in a schema's `default_value`."""
    match value.data:
        case EntityId() as target:
            return id_to_json(target)
        case bytes() as blob:
            return list(blob)
        case (tuple() | ChildList()) as targets:
            return [{"typ": target.typ, "id": target.id} for target in targets]
        case int() as time_ns if value.kind == "Timestamp":
            return time_to_json(time_ns)
        case data:
            return data


def value_to_json(value: Value) -> ValueJson:
    """Inverse of `value_from_json`."""
    # A type checker cannot see that kind and data belong together; `Value` guarantees it.
    return cast("ValueJson", {value.kind: data_to_json(value)})


def size_estimate(value: Value) -> int:
    """The bytes that apply rules 1 and 2 count for a value. Its real size may be far larger."""
    match value.data:
        case bytes() as blob:
            return 4 * len(blob)
        case EntityId():
            return 40
        case tuple() as targets:
            return 40 * len(targets)
        case str() as text:
            return len(text) if text.isascii() else 3 * len(text)
        case _:
            return 20


# --- how a write combines them ------------------------------------------------------------------


def adjust(old: Value, new: Value, behavior: AdjustBehavior) -> Value:
    """Return the value after a write, from the stored and the written value, both of the same kind.

    Raises:
        NotAdjustable: values of this kind cannot be added or subtracted.
        ValueOutOfRange: the result does not fit.
    """
    match behavior:
        case "Set":
            return new
        case "Add":
            return measured(_checked(Value(old.kind, _sum(old, new))))
        case "Subtract":
            return measured(_checked(Value(old.kind, _difference(old, new))))
        case _:
            assert_never(behavior)


def _sum(old: Value, new: Value) -> Data:
    if old.kind in ("Int", "Float", "String", "Blob", "EntityList"):
        match old.data, new.data:
            case ((int() | float()) as left, (int() | float()) as right):
                return left + right
            case (str() as text, str() as more):
                return text + more
            case (bytes() as blob, bytes() as more_bytes):
                return blob + more_bytes
            case (tuple() as targets, tuple() as more_targets):
                return targets + more_targets
    raise NotAdjustable(
        f"Add is not defined for {old.kind}: only for Int, Float, String, Blob and EntityList"
    )


def _difference(old: Value, new: Value) -> Data:
    if old.kind in ("Int", "Float", "EntityList"):
        match old.data, new.data:
            case ((int() | float()) as left, (int() | float()) as right):
                return left - right
            case (tuple() as targets, tuple() as unwanted):
                gone = set(unwanted)
                return tuple(target for target in targets if target not in gone)
    raise NotAdjustable(
        f"Subtract is not defined for {old.kind}: only for Int, Float and EntityList"
    )


def _checked(value: Value) -> Value:
    match value.data:
        case float() as number if not math.isfinite(number):
            raise ValueOutOfRange("the result exceeds the range of a Float")
        case int() as number if not INT_MIN <= number <= INT_MAX:
            raise ValueOutOfRange("the result does not fit into the 64 bits of an Int")
    return value


def check_kind(value: Value, kind: Kind, choices: tuple[str, ...], where: str) -> None:
    """Reject a value that a field of this kind cannot hold.

    Args:
        choices: the names of a Choice field's values; empty for other kinds.
        where: names the field in the error.

    Raises:
        KindMismatch: the value has another kind.
        ValueOutOfRange: the choice does not exist.
    """
    if value.kind != kind:
        raise KindMismatch(f"{where} holds {kind}, the value is {value.kind}")
    # Without names, the default is the only choice.
    if kind == "Choice" and isinstance(value.data, int):
        count = max(len(choices), 1)
        if not 0 <= value.data < count:
            raise ValueOutOfRange(f"{where} has the choices 0 to {count - 1}, not {value.data}")
