"""Where code runs that does not return: the place that a user should look at."""

from __future__ import annotations

import sysconfig
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Final, NamedTuple

_QCORE: Final = str(Path(__file__).resolve().parents[1])
_STANDARD: Final = tuple({sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")})
#: Where packages are installed. They are below the standard library in some environments.
_INSTALLED: Final = tuple({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})


class CodePlace(NamedTuple):
    """A line that runs: its file, its number from 1 on, and its function."""

    file: str
    line: int
    function: str

    def __str__(self) -> str:
        return f"{PurePath(self.file).name}:{self.line} ({self.function})"

    @property
    def is_users(self) -> bool:
        """Whether the file belongs to neither qcore, the standard library nor an installed package."""
        return not (
            self.file.startswith("<frozen ")
            or any(_is_below(self.file, folder) for folder in (_QCORE, *_STANDARD, *_INSTALLED))
        )


def _is_below(file: str, folder: str) -> bool:
    return file.startswith(folder.rstrip("/") + "/")


def users_place(stack: Sequence[CodePlace]) -> CodePlace | None:
    """The deepest place in a user's file; without one, the deepest of all; None for an empty stack.

    Args:
        stack: the deepest place first.
    """
    return next((place for place in stack if place.is_users), stack[0] if stack else None)
