"""Describes what is wrong with an invalid frame: the path of the field, and the reason."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from types import UnionType
from typing import Annotated, Any, Final, Union, get_args, get_origin, get_type_hints

from pydantic import ValidationError

#: Error texts are clipped to this many characters, because they quote texts of the sender.
MAX_ERROR_LENGTH = 400
_MAX_FIELD_LENGTH = 200
_MAX_KEY_LENGTH = 60

#: Errors that come also from the wrong branches of a union.
_WRONG_BRANCH = ("missing", "unexpected_keyword_argument", "extra_forbidden")


@dataclass(slots=True, frozen=True)
class Problem:
    """One problem: the path of the field (empty for the whole envelope), and what is wrong with it."""

    field: str
    reason: str

    def text(self) -> str:
        """The error text for the sender."""
        return f"{self.field}: {self.reason}" if self.field else self.reason


#: If one frame has more problems, none is described, because pydantic lists all or none, at a microsecond each.
MAX_PROBLEMS = 10_000
TOO_MANY_PROBLEMS = Problem(
    "",
    "not understood: the frame is too large, or has too many problems, to describe one: send less in a frame",
)


#: Messages that the followed system had, and withdrew.
_WITHDRAWN: Final = frozenset({"ExecuteScript", "StoreExecuteScript"})
_WITHDRAWN_REASON: Final = (
    "the message was withdrawn: use StoreBulk for several requests in one command, and the filter of StoreFindEntities "
    "to search"
)


def describe(error: ValidationError) -> Problem:
    """The most informative problem of a failed validation of one envelope."""
    if error.error_count() > MAX_PROBLEMS:
        return TOO_MANY_PROBLEMS
    return _most_informative(
        error.errors(include_url=False, include_input=False, include_context=False), skip=0
    )


def describe_elements(error: ValidationError) -> dict[int, Problem]:
    """The same for a failed validation of an array of envelopes: index -> problem.

    Empty if there are too many problems to describe.
    """
    if error.error_count() > MAX_PROBLEMS:
        return {}
    by_index: dict[int, list[Any]] = {}
    for line in error.errors(include_url=False, include_input=False, include_context=False):
        index = line["loc"][0]
        assert isinstance(index, int)
        by_index.setdefault(index, []).append(line)
    return {index: _most_informative(lines, skip=1) for index, lines in by_index.items()}


def commands_of(registry: Mapping[str, type]) -> tuple[str, ...]:
    """The commands that `Perform.request` may hold, if the registry has a `Perform` with one key for each command."""
    perform = registry.get("Perform")
    if perform is None:
        return ()
    request = get_type_hints(perform, include_extras=True).get("request")
    while get_origin(request) in (Annotated, Union, UnionType):  # it may be optional
        request = get_args(request)[0]
    return tuple(getattr(request, "__annotations__", ()))


def name_command(problem: Problem, commands: tuple[str, ...]) -> Problem:
    """Describe an unknown key where a command belongs as an unknown command, with a list of the known ones."""
    parent, _, _ = problem.field.rpartition(".")
    if parent != "Perform.request" or problem.reason != "unknown field" or not commands:
        return problem
    return Problem(problem.field, f"unknown command: there are {', '.join(commands)}")


def _most_informative(lines: Iterable[Any], skip: int) -> Problem:
    """The first of the deepest errors. In a union, the sender probably meant the branch that matched furthest."""
    line = max(lines, key=lambda each: (len(each["loc"]), each["type"] not in _WRONG_BRANCH))
    path = _path(line["loc"][skip:])
    if len(path) == 1 and path[0] in _WITHDRAWN:
        return Problem(path[0], _WITHDRAWN_REASON)
    return Problem(
        ".".join(path)[:_MAX_FIELD_LENGTH], _reason(line["type"], line["msg"], depth=len(path))
    )


def _path(loc: tuple[int | str, ...]) -> list[str]:
    """The keys and indexes down to the field, without pydantic's label of a union's branch."""
    parts = [str(part)[:_MAX_KEY_LENGTH] for part in loc]
    return [
        part
        for part, following in zip_longest(parts, parts[1:])
        if not (part == following and part in ("Ok", "Err"))
    ]


def _reason(kind: str, message: str, depth: int) -> str:
    if kind == "json_invalid":
        return "not valid JSON" + message.removeprefix("Invalid JSON")
    if kind in ("extra_forbidden", "unexpected_keyword_argument"):
        return "unknown message type" if depth == 1 else "unknown field"
    if kind in ("missing", "missing_argument"):
        return "the field is missing"
    if kind in ("dataclass_type", "dict_type") and depth == 0:
        return "an envelope must be an object"
    if kind == "too_short" and depth == 0:
        return "an array frame needs at least one envelope"
    return re.sub(r"^\w+ should", "must", message)


# --- duplicate keys -------------------------------------------------------------------------------


class _WithDuplicateKey(dict[str, object]):
    """An object in which `key` occurred more than once."""

    __slots__ = ("key",)

    def __init__(self, pairs: list[tuple[str, object]], key: str) -> None:
        super().__init__(pairs)
        self.key = key


class DuplicateScanner:
    """Parses JSON that is known to be valid, and marks the objects in which a key occurs twice."""

    def __init__(self) -> None:
        self._found = False
        # Reused, because making a decoder costs as much as scanning a small message.
        self._decoder = json.JSONDecoder(object_pairs_hook=self._object_of)

    def scan(self, data: bytes | bytearray) -> object:
        """The value, for `duplicate_key`, if it has a marked object; else None."""
        self._found = False
        value: object = self._decoder.decode(data.decode())
        return value if self._found else None

    def _object_of(self, pairs: list[tuple[str, object]]) -> dict[str, object]:
        value = dict(pairs)
        if len(value) == len(pairs):
            return value
        self._found = True
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                break
            seen.add(key)
        return _WithDuplicateKey(pairs, key)


def duplicate_key(value: object) -> str | None:
    """A key that occurs twice in one object, anywhere within a value of `DuplicateScanner.scan`."""
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, _WithDuplicateKey):
            return each.key
        if isinstance(each, dict):
            waiting += each.values()
        elif isinstance(each, list):
            waiting += each
    return None
