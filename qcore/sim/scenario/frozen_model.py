"""The base class of all parts of a scenario: a model that never changes and rejects unknown names, even in a copy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from qcore.errors import ConfigError


class FrozenModel(BaseModel):
    """A model that cannot change and that always satisfies its checks."""

    model_config = ConfigDict(extra="forbid", frozen=True)

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
            raise ConfigError(f"{kind.__name__}: {_error_text(error)}") from None
        return copy.model_copy(deep=True) if deep else copy

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        """The values that the scenario gives; all others have their documented defaults."""
        given = self.model_fields_set
        return ((name, value) for name, value in super().__repr_args__() if name in given)


def _error_text(error: ValidationError) -> str:
    problems = []
    for problem in error.errors(include_url=False):
        where = ".".join(map(str, problem["loc"]))
        message = problem["msg"].removeprefix("Value error, ")
        problems.append(f"{where}: {message}" if where else message)
    return "; ".join(dict.fromkeys(problems))
