"""Lets a package offer names that are imported when they are first used, so that importing it stays fast."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module

from qcore.compiled_build import restore_class


def lazy_names(
    package: str, homes: Mapping[str, tuple[str, ...]]
) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """The `__getattr__` and the `__dir__` of a package.

    The package also lists the names in `__all__`, and imports them under `TYPE_CHECKING` for type checkers. A test
    compares the three.

    Args:
        package: its `__name__`.
        homes: module -> the names that it defines.
    """
    module_of = {name: module for module, names in homes.items() for name in names}

    def get(name: str) -> object:
        if name not in module_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value: object = getattr(import_module(module_of[name]), name)
        if isinstance(value, type) and not value.__doc__:
            restore_class(value)
        setattr(sys.modules[package], name, value)  # the next use finds it without this function
        return value

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *module_of})

    return get, names
