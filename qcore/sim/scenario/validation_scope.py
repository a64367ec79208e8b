"""What the parts of a scenario must know about the whole while they are validated: its folder and its regions.

pydantic validates each part by itself. The model of the whole scenario sets the scope for the time of its validation.
"""

from __future__ import annotations

import re
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


#: The form of a module's name.
_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")

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


def existing_checks(name: str) -> str:
    """Check that `name` is a file of Python that exists, or may be a module.

    Raises:
        ValueError: there is no such file, or the text is neither.
    """
    if not name.endswith(".py"):
        if name and not _MODULE.fullmatch(name):
            raise ValueError(
                f"{name!r} is no file of Python; write file.py, or the name of a module"
            )
        return name
    places = dict.fromkeys([current_scope().folder / name, Path(name)])
    if not any(_is_file(place) for place in places):
        raise ValueError(f"there is no file {' or '.join(map(str, places))}")
    return name


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that no file system accepts
        return False
