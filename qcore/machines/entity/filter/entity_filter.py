"""`compile_filter`: a filter in CEL, evaluated on entities."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import islice
from typing import Any, Final, NamedTuple

from qcore.errors import BadFilter, PermissionDenied, StoreError, TooManyOperations
from qcore.machines.entity.filter.filter_logic import (
    Comparison,
    Outcome,
    Part,
    comparisons,
    evaluate,
    split,
)
from qcore.machines.entity.filter.filter_text import FilterText, position, rewrite
from qcore.machines.entity.indirection import SEPARATOR, resolve
from qcore.machines.entity.permission_checks import check_read
from qcore.machines.entity.quoted_text import quoted
from qcore.machines.entity.state.child_list import ChildList
from qcore.machines.entity.state.complete_type import Slot
from qcore.machines.entity.state.entity import Entity
from qcore.machines.entity.state.entity_id import EntityId
from qcore.machines.entity.state.field_values import ids_of, value_bytes
from qcore.machines.entity.state.value import LargeValue, Value
from qcore.machines.entity.transaction import Transaction

#: The longest list that a filter can use.
MAX_LIST: Final = 1000
#: The most bytes that the evaluation of a filter may copy for one entity; see `_Compiled.copied_bytes`.
MAX_COPIED_BYTES: Final = 32 * 1024 * 1024
#: Bytes that are copied in about the time of one step.
_BYTES_PER_STEP: Final = 4096
#: To convert an id of a list for CEL, and to copy it there, takes as long as to copy so many bytes of a text.
_ID_CONVERTED_BYTES: Final = 1024
_ID_COPIED_BYTES: Final = 64
#: To copy a value that is not large takes about as long as to copy so many bytes of a text.
_SMALL_VALUE_BYTES: Final = 128
#: The function `duration` takes so many times as long for a text as a copy of it.
_DURATION_WEIGHT: Final = 32
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_US: Final = 253_402_300_800 * 1_000_000  # the end of the year 9999
#: Comparisons, and parts of a filter, that take about as long as one step.
_COMPARISONS_PER_STEP: Final = 4
_TOKENS_PER_STEP: Final = 64
#: How many kinds an error names.
_SHOWN_KINDS: Final = 4
_UNDEFINED: Final = re.compile(r"Undefined variable or function: '(\w+)'")
_MISSING: Final = re.compile(r"missing ('.') at")
_PLACE: Final = re.compile(r"ERROR: <input>:(\d+):(\d+): (?:Syntax error: )?(.*)")


class _Compiled(NamedTuple):
    """A comparison that CEL can evaluate, and its place in the user's text.

    Attributes:
        variables: the variables in it, each with the number of its occurrences.
        sums: how many `+` it has.
        weight: how many times as long as a copy its slowest function takes.
    """

    program: Any
    variables: Mapping[int, int]
    sums: int
    weight: int
    offset: int
    text: str

    def copied_bytes(self, known: Mapping[int, _Held]) -> int:
        """An upper bound of the bytes that an evaluation copies.

        CEL copies a value wherever it occurs. A `+` copies its result, which is at most as long as all occurrences
        together. Nothing else makes values longer, because there are no macros.
        """
        each = sum(known[number].bytes * times for number, times in self.variables.items())
        converted = sum(known[number].ids for number in self.variables) * _ID_CONVERTED_BYTES
        return converted + each * self.weight * (1 + self.sums)


class _Held(NamedTuple):
    """What a variable stands for, for one entity.

    Attributes:
        value: the value of the field.
        for_cel: the same as CEL knows it.
        bytes: what a copy of it costs.
        ids: how many ids are in it, if it is a list.
    """

    value: Value | None
    for_cel: object
    bytes: int
    ids: int


_NULL: Final = _Held(None, None, 0, 0)


class Filter:
    """A compiled filter. Its meaning is in docs/reference/wire.md.

    Attributes:
        cost: the steps to count for an evaluation, besides those that its paths and large values take.
    """

    def __init__(self, text: FilterText, logic: Part, compiled: Mapping[int, _Compiled]) -> None:
        self._text = text
        self._logic = logic
        #: By the place of the comparison in the text for CEL.
        self._compiled = compiled
        self.cost = (
            1
            + len(text.paths)
            + len(compiled) // _COMPARISONS_PER_STEP
            + len(text.tokens) // _TOKENS_PER_STEP
        )

    def matches(self, transaction: Transaction, entity: Entity) -> bool:
        """Whether the filter is true for an entity. A path that leads nowhere has the value null.

        Raises:
            BadFilter: a comparison that matters cannot be evaluated, or uses values that are too large. The text names
                it and the entity.
            PermissionDenied: the user may not read a value that it needs.
            TooManyOperations: the request takes too many steps.
        """
        known: dict[int, _Held] = {}  # the values of the variables that were needed
        copied = 0

        def compare(comparison: Comparison) -> Outcome:
            nonlocal copied
            compiled = self._compiled[comparison.tokens[0].start]
            try:
                for number in compiled.variables:
                    if number not in known:
                        known[number] = self._held(transaction, entity, *self._text.paths[number])
                more = compiled.copied_bytes(known)
                if copied + more > MAX_COPIED_BYTES:
                    why = (
                        f"it uses large values too often: until here, the filter copies {copied + more} bytes, and "
                        f"{MAX_COPIED_BYTES} are allowed"
                    )
                    return self._failed(entity, compiled, why, known)
                transaction.count(more // _BYTES_PER_STEP)
                copied += more
                return self._compare(entity, compiled, known)
            except BadFilter as error:
                return error

        outcome = evaluate(self._logic, compare)
        if isinstance(outcome, BadFilter):
            raise outcome
        return outcome is True

    def _compare(
        self, entity: Entity, compiled: _Compiled, known: Mapping[int, _Held]
    ) -> bool | None:
        """Evaluate a comparison; None: it needs a value that is null.

        Raises:
            BadFilter: it is not true or false.
        """
        values = {f"v{number}": known[number].for_cel for number in compiled.variables}
        has_null = None in values.values()
        try:
            result: object = compiled.program.execute(values)
        except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
            if has_null:
                return None  # as in `null > 3`: the entity does not have what the filter compares
            raise self._failed(entity, compiled, _reason(error), known) from error
        if result is None and has_null:
            return None
        if not isinstance(result, bool):
            why = "the result is not true or false: compare it with something"
            raise self._failed(entity, compiled, why, known)
        return result

    def _held(self, transaction: Transaction, entity: Entity, path: str, offset: int) -> _Held:
        try:
            target = resolve(transaction, entity.entity_id, path)
            if target.part is not None:
                return _NULL
            check_read(transaction, target.entity.entity_id.typ, target.field_type)
            value = transaction.field(target.entity, target.field_type).value
        except (TooManyOperations, PermissionDenied):
            raise
        except StoreError:  # the path leads nowhere
            return _NULL
        size, ids = value_bytes(value) if isinstance(value, LargeValue) else _SMALL_VALUE_BYTES, 0
        if value.kind == "EntityList":
            ids = len(ids_of(value))
            size = value_bytes(value) + ids * _ID_COPIED_BYTES
            if ids > MAX_LIST:
                raise self._too_large(
                    entity,
                    f"{path} holds {ids} entities, and a filter can use {MAX_LIST}",
                    offset,
                )
        return _Held(value, cel_value(value), size, ids)

    def _too_large(self, entity: Entity, why: str, offset: int) -> BadFilter:
        return BadFilter(
            f"filter, {position(self._text.source, offset)}, for {quoted(str(entity.entity_id))}: {why}"
        )

    def _failed(
        self,
        entity: Entity,
        compiled: _Compiled,
        why: str,
        known: Mapping[int, _Held],
    ) -> BadFilter:
        kinds = ", ".join(
            f"{self._text.paths[number][0]} is {_kind(known[number].value)}"
            for number in islice(compiled.variables, _SHOWN_KINDS)
        )
        return BadFilter(
            f"filter, {position(self._text.source, compiled.offset)}, {quoted(compiled.text)} for "
            f"{quoted(str(entity.entity_id))}: {why[:400]}{f' ({kinds})' if kinds else ''}"
        )


def _kind(value: Value | None) -> str:
    return "null" if value is None else value.kind


def _reason(error: Exception) -> str:
    """What the library says, in a sentence. It calls a function unknown that does not take a value of some kind."""
    match = _UNDEFINED.match(str(error))
    if match is not None:
        return f"the function {match[1]} does not take these values"
    return str(error).split(". ")[0].removesuffix(".")


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


def load_filter_library() -> None:
    """Load the library for CEL, which takes about 0.1 s, so that the first filter does not wait for it."""
    _library()


def _library() -> Any:
    import cel  # here, because most programs that import qcore evaluate no filter

    return cel


@lru_cache(maxsize=128)
def _compiled(source: str) -> Filter:
    library = _library()
    text = rewrite(source)
    try:
        library.compile(text.cel)
    except ValueError as error:
        raise BadFilter(_explain(text, str(error))) from error
    logic = split(text.tokens)
    return Filter(
        text,
        logic,
        {each.tokens[0].start: _compile(library, text, each) for each in comparisons(logic)},
    )


def _compile(library: Any, text: FilterText, comparison: Comparison) -> _Compiled:
    first, last = comparison.tokens[0], comparison.tokens[-1]
    words = [token.text for token in comparison.tokens]
    return _Compiled(
        library.compile(text.cel[first.start : last.stop]),
        Counter(token.variable for token in comparison.tokens if token.variable is not None),
        words.count("+"),
        _DURATION_WEIGHT if "duration" in words else 1,
        first.offset,
        text.source[first.offset : last.offset + len(last.text)],
    )


def _explain(text: FilterText, error: str) -> str:
    """The parser's first error, with its position in the user's text."""
    match = _PLACE.search(error)
    if match is None:
        return f"filter, {position(text.source, 0)}: not valid CEL"
    # The parser lists all that may come next, which is long and has names of its grammar.
    reason = match[3].partition(" expecting ")[0][:200]
    if "'<EOF>'" in reason:
        offset = len(text.source.rstrip())
        missing = _MISSING.match(reason)
        what = f"{missing[1]} is missing" if missing else "something is missing"
        reason = f"unexpected end: {what}; complete the filter, as in Size > 3"
    else:
        offset = text.user_offset(int(match[1]), int(match[2]))
        word = next((each.text for each in text.tokens if each.offset == offset), None)
        if word is not None:
            reason = f"unexpected {quoted(word)}: remove it, or write what belongs before it"
    return f"filter, {position(text.source, offset)}: not valid CEL: {reason}"
