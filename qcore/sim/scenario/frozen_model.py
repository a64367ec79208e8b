"""The base class of all parts of a scenario: a model that never changes and rejects unknown names, even in a copy."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any, ClassVar, Final, Self

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from qcore.errors import ConfigError

#: The form of the name of a scenario.
NAME_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"


class FrozenModel(BaseModel):
    """A model that cannot change and that always satisfies its checks.

    Attributes:
        is_value: whether `with_` replaces it as a whole, because a map is one of the forms in which a file writes it.
    """

    is_value: ClassVar[bool] = False

    model_config = ConfigDict(extra="forbid", frozen=True)

    def __eq__(self, other: object) -> bool:
        """Whether both have the same values. Where they came from, in fields that are excluded, makes no difference."""
        if type(self) is not type(other):
            return NotImplemented
        fields = type(self).model_fields.items()
        return all(
            getattr(self, name) == getattr(other, name)
            for name, field in fields
            if not field.exclude
        )

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy with some values changed, checked like a new model.

        pydantic's method accepts any name and any value, so a typo would silently change nothing.

        Raises:
            ConfigError: a name does not exist, or a check rejects the values. The error names them.
        """
        if not update:
            return super().model_copy(deep=deep)
        kind, fields = type(self), type(self).model_fields
        names = {name: field.alias or name for name, field in fields.items()}
        values = {names[name]: getattr(self, name) for name in self.model_fields_set}
        for name, value in update.items():
            if name not in names and name not in names.values():
                near = get_close_matches(name, names, n=1)
                hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(names)}"
                raise ConfigError(f"{kind.__name__} has no {name}: {hint}")
            values[names.get(name, name)] = value
        try:
            copy = kind.model_validate(values)
        except ValidationError as error:
            raise ConfigError(f"{kind.__name__}: {error_text(error)}") from None
        return copy.model_copy(deep=True) if deep else copy

    def with_(
        self, changes: Mapping[str, Any] | None = None, /, **more: Any
    ) -> Self:  # Any: whatever a scenario file may hold
        """A copy with some values changed, also within its parts, checked like a new model.

            scenario.with_(cluster={"nodes": 7}, until_ms=20_000)
            scenario.with_({"cluster.nodes": 7, "network.loss": 0.1})

        A map changes the named values of a part and leaves its other values. Any other value, a list too, replaces the
        old one. Values may have the short forms of a scenario file.

        Args:
            changes: values by name; a name may be a path with dots.
            more: values by name.

        Raises:
            ConfigError: a name does not exist, or a check rejects the values. The error names the place.
        """
        given: dict[str, Any] = {}
        for name, value in {**(changes or {}), **more}.items():
            if not isinstance(name, str):
                raise ConfigError(f"{name!r} is no name of a part: write for example cluster.nodes")
            _put(given, name.split("."), name, value)
        return self._changed(given, "")

    def _changed(self, given: Mapping[str, Any], path: str) -> Self:
        update: dict[str, Any] = {}
        names = {field.alias or name: name for name, field in type(self).model_fields.items()}
        for name, value in given.items():
            before = getattr(self, names.get(name, name), None)
            if (
                isinstance(value, Mapping)
                and isinstance(before, FrozenModel)
                and not before.is_value
            ):
                value = before._changed(value, f"{path}{name}.")
            elif isinstance(value, Mapping) and isinstance(before, dict):
                value = {**before, **value}
            update[name] = value
        try:
            return self.model_copy(update=update)
        except ConfigError as error:
            if not path:
                raise
            raise ConfigError(f"{path.rstrip('.')}: {error}") from None

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        """The values that the scenario gives; all others have their documented defaults."""
        given = self.model_fields_set
        return ((name, value) for name, value in super().__repr_args__() if name in given)


def _put(given: dict[str, Any], names: list[str], whole: str, value: object) -> None:
    """Put a value at a path into nested dicts."""
    at = given
    for name in names[:-1]:
        inner = at.setdefault(name, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"{whole}: {name} is given twice, as a whole and in parts")
        at = inner
    last = names[-1]
    before = at.get(last)
    if isinstance(before, dict) and isinstance(value, Mapping):
        at[last] = {**before, **value}
    elif last in at:
        raise ConfigError(f"{whole} is given twice")
    else:
        at[last] = dict(value) if isinstance(value, Mapping) else value


def error_text(error: ValidationError) -> str:
    """All problems in one line, each with its place."""
    problems = []
    for problem in error.errors(include_url=False):
        where = ".".join(map(str, keys_of(problem)))
        message = problem_text(problem)
        problems.append(f"{where}: {message}" if where else message)
    return "; ".join(dict.fromkeys(problems))


def keys_of(problem: ErrorDetails) -> tuple[str | int, ...]:
    """Where a problem is, in keys of the file. pydantic adds names for the alternatives of a value."""
    return tuple(
        key for key in problem["loc"] if not str(key).startswith(("constrained-", "literal["))
    )


#: What a value must be, by pydantic's name for the problem.
_WANTED: Final = {
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a map",
    "model_type": "a map of keys",
    "string_type": "a text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "string_too_short": "a longer text",
    "bool_type": "true or false",
}
_BOUNDS: Final = {
    "greater_than": ("above", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("below", "lt"),
    "less_than_equal": ("at most", "le"),
}
#: What texts of a pattern are like.
_FORMS: Final = {NAME_PATTERN: "write letters, digits, `_`, `.` and `-`, a letter or digit first"}


def problem_text(problem: ErrorDetails) -> str:
    """What is wrong with a value, and what is allowed, in the words of a scenario file."""
    kind, given, context = problem["type"], problem["input"], problem.get("ctx", {})
    if kind in _WANTED:
        return f"write {_WANTED[kind]}, not {written(given)}"
    if kind in _BOUNDS:
        word, name = _BOUNDS[kind]
        bound = context[name]
        return f"{written(given)} is not {word} {bound if isinstance(bound, int) else f'{bound:g}'}"
    if kind == "literal_error":
        allowed = str(context["expected"])
        near = get_close_matches(str(given), re.findall(r"'([^']*)'", allowed), n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        return f"{written(given)} is not {allowed}{hint}"
    if kind == "too_short":
        return f"write a list of at least {context['min_length']}, not {written(given)}"
    if kind == "string_pattern_mismatch":
        form = _FORMS.get(context["pattern"], f"write a text of the form {context['pattern']}")
        return f"{written(given)}: {form}"
    words = {"missing": "is missing", "extra_forbidden": "unknown key"}
    return words.get(kind, problem["msg"].removeprefix("Value error, "))


def known_keys_text(model: object, unknown: str) -> str:
    """The keys that a model accepts in place of an unknown one, and the one that looks most like it."""
    fields = getattr(model, "model_fields", None)
    if not fields:
        return ""
    keys = [
        field.alias or name
        for name, field in fields.items()
        if not field.exclude and name not in _IMPLIED
    ]
    near = get_close_matches(unknown, keys, n=1)
    hint = f": did you mean {near[0]}? The" if near else "; the"
    return f"{hint} keys here are {', '.join(keys)}"


#: Fields that the place in the file gives.
_IMPLIED: Final = ("kind", "op")
_MOST_CHARACTERS: Final = 60


def written(value: object) -> str:
    """A value as a scenario file would have it, cut if it is long."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        text = repr(value)
    return text if len(text) <= _MOST_CHARACTERS else f"{text[:_MOST_CHARACTERS]}..."
