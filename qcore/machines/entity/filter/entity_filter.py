"""`compile_filter`: a filter in CEL, evaluated on entities."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final

from qcore.errors import BadFilter, StoreError, TooManyOperations
from qcore.machines.entity.filter.filter_text import FilterText, position, rewrite
from qcore.machines.entity.indirection import SEPARATOR, resolve
from qcore.machines.entity.quoted_text import quoted
from qcore.machines.entity.state.child_list import ChildList
from qcore.machines.entity.state.complete_type import Slot
from qcore.machines.entity.state.entity import Entity
from qcore.machines.entity.state.entity_id import EntityId
from qcore.machines.entity.state.field_values import Value, value_bytes
from qcore.machines.entity.transaction import Transaction

#: The longest list that a filter can use.
MAX_LIST: Final = 1000
#: The largest text, blob or list, in bytes of JSON, that a filter with `+` can use.
MAX_CONCATENATED_BYTES: Final = 16 * 1024
#: Bytes of values that take about as long as one step.
_BYTES_PER_STEP: Final = 4096
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_US: Final = 253_402_300_800 * 1_000_000  # the end of the year 9999
_PLACE: Final = re.compile(r"ERROR: <input>:(\d+):(\d+): (?:Syntax error: )?(.*)")


class Filter:
    """A compiled filter.

    Attributes:
        cost: the steps to count for an evaluation, besides those that its paths and large values take.
    """

    def __init__(self, text: FilterText, program: Any) -> None:
        self._text = text
        self._program = program
        self.cost = 1 + len(text.paths)

    def matches(self, transaction: Transaction, entity: Entity) -> bool:
        """Whether the entity matches. A path that leads nowhere has the value null.

        Raises:
            BadFilter: the filter is not true or false for this entity. The text names the entity.
            TooManyOperations: the request takes too many steps.
        """
        values: dict[str, object] = {}
        has_null = False
        for number, (path, offset) in enumerate(self._text.paths):
            value = self._value(transaction, entity, path, offset)
            has_null = has_null or value is None
            values[f"v{number}"] = value
        try:
            result: object = self._program.execute(values)
        except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
            if has_null:
                return False  # as in `null > 3`: the entity does not have what the filter compares
            raise self._failed(entity, str(error).split(". ")[0]) from error
        if result is None and has_null:
            return False
        if not isinstance(result, bool):
            raise self._failed(entity, "the result is not true or false: compare it with something")
        return result

    def _value(self, transaction: Transaction, entity: Entity, path: str, offset: int) -> object:
        try:
            target = resolve(transaction, entity.entity_id, path)
            if target.part is not None:
                return None
            value = transaction.field(target.entity, target.field_type).value
        except TooManyOperations:
            raise
        except StoreError:  # the path leads nowhere
            return None
        size = value_bytes(value)
        transaction.count(size // _BYTES_PER_STEP)
        if self._text.concatenates and size > MAX_CONCATENATED_BYTES:
            raise self._failed(
                entity,
                f"{path} holds {size} bytes, and a filter with + can use {MAX_CONCATENATED_BYTES}",
                offset,
            )
        held = value.data
        if (
            value.kind == "EntityList"
            and isinstance(held, ChildList | tuple)
            and len(held) > MAX_LIST
        ):
            raise self._failed(
                entity,
                f"{path} holds {len(held)} entities, and a filter can use {MAX_LIST}",
                offset,
            )
        return cel_value(value)

    def _failed(self, entity: Entity, why: str, offset: int = 0) -> BadFilter:
        return BadFilter(
            f"filter, {position(self._text.source, offset)}, for {quoted(str(entity.entity_id))}: {why[:400]}"
        )


def cel_value(value: Value) -> object:
    """Return a field's value as CEL knows it.

    Int is int, Float double, Blob bytes, Choice its number, Timestamp a timestamp with microseconds (null after the
    year 9999), EntityReference the text `Type$id` or null, and EntityList a list of such texts.
    """
    match value.data:
        case EntityId() as target:
            return str(target)
        case (tuple() | ChildList()) as targets:
            return [str(target) for target in targets]
        case int() as time_ns if value.kind == "Timestamp":
            if time_ns // 1000 >= _LAST_US:
                return None
            return _EPOCH + timedelta(microseconds=time_ns // 1000)
        case data:
            return data


def compile_filter(text: str, slots: Mapping[str, Slot]) -> Filter:
    """Compile a filter.

    Args:
        text: the filter in CEL. It may contain paths: `Parent->Name`.
        slots: the complete schema of the type whose entities are filtered.

    Raises:
        BadFilter: it is not valid; the text names the position.
    """
    found = _compiled(text)
    for path, offset in found._text.paths:
        field = path.split(SEPARATOR)[0]
        if field not in slots:
            raise BadFilter(
                f"filter, {position(text, offset)}: the type has no field {quoted(field)}"
            )
    return found


@lru_cache(maxsize=128)
def _compiled(source: str) -> Filter:
    import cel  # here, because few nodes need it, and it takes time to load

    text = rewrite(source)
    try:
        program = cel.compile(text.cel)
    except ValueError as error:
        raise BadFilter(_explain(text, str(error))) from error
    return Filter(text, program)


def _explain(text: FilterText, error: str) -> str:
    """The parser's first error, with its position in the user's text."""
    match = _PLACE.search(error)
    if match is None:
        return f"filter, {position(text.source, 0)}: not valid CEL"
    offset = text.user_offset(int(match[1]), int(match[2]))
    return f"filter, {position(text.source, offset)}: not valid CEL: {match[3][:200]}"
