"""The JSON form of ids, times and field values, as pydantic validates it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, ConfigDict, FailFast, Field, with_config
from pydantic_core import PydanticCustomError
from typing_extensions import TypedDict

INT_MIN, INT_MAX = -(2**63), 2**63 - 1
NANOS_PER_SECOND = 1_000_000_000

#: Every object on the wire: exact types, no unknown fields.
STRICT = ConfigDict(strict=True, extra="forbid")


def exactly_one_key(value: Mapping[str, object]) -> Mapping[str, object]:
    """Check that a mapping has one key. A pydantic validator for externally tagged values, whose key is the tag.

    The tags are the optional keys of a `TypedDict`, so one pass of pydantic-core validates the whole value, and the
    location of an error is the field's path. A union would try its members one after the other.
    """
    if len(value) != 1:
        raise PydanticCustomError("one_key", "expected an object with exactly one key")
    return value


Int64 = Annotated[int, Field(ge=INT_MIN, le=INT_MAX)]
Byte = Annotated[int, Field(ge=0, le=255)]
FiniteFloat = Annotated[float, Field(allow_inf_nan=False)]


@with_config(STRICT)
class EntityIdJson(TypedDict):
    """`{"typ": "User", "id": 123}`"""

    typ: str
    id: Annotated[int, Field(ge=0, lt=2**64)]


@with_config(STRICT)
class TimestampJson(TypedDict):
    """Seconds and nanoseconds since the Unix epoch."""

    secs_since_epoch: Annotated[int, Field(ge=0, lt=2**63)]
    nanos_since_epoch: Annotated[int, Field(ge=0, lt=NANOS_PER_SECOND)]


@with_config(STRICT)
class ValueTags(TypedDict, total=False):
    """The tags of a value. Exactly one is present."""

    Blob: Annotated[list[Byte], FailFast()]
    Bool: bool
    Choice: Int64
    EntityList: Annotated[list[EntityIdJson], FailFast()]
    EntityReference: EntityIdJson | None
    Float: FiniteFloat
    Int: Int64
    String: str
    Timestamp: TimestampJson


#: A tagged value: `{"Int": 1}`.
ValueJson = Annotated[ValueTags, AfterValidator(exactly_one_key)]
