"""What the parts of a scenario must know about the whole while they are validated: its folder and its regions.

pydantic validates each part by itself. The model of the whole scenario sets the scope for the time of its validation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(slots=True, frozen=True)
class ValidationScope:
    """The scope of a scenario.

    Attributes:
        folder: the folder of its file, for files that it names.
        regions: the nodes of each region, by name.
    """

    folder: Path = Path()
    regions: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


_SCOPE: ContextVar[ValidationScope] = ContextVar("scope", default=ValidationScope())  # noqa: B039  # it is frozen


def current_scope() -> ValidationScope:
    """The scope of the scenario that is being validated; an empty one outside of a scenario."""
    return _SCOPE.get()


@contextmanager
def validating(scope: ValidationScope) -> Iterator[None]:
    """Use this scope within the block."""
    token = _SCOPE.set(scope)
    try:
        yield
    finally:
        _SCOPE.reset(token)
