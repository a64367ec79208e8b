"""Finds variables that a copy of a machine changes outside itself, so that other copies in the process see them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Final

#: Longer texts of values are compared by this many characters and their length.
_COMPARED: Final = 100_000


def outside_values(modules: Iterable[ModuleType]) -> dict[str, str]:
    """The values of module variables, class attributes and default arguments, as texts by name."""
    found: dict[str, str] = {}
    for module in modules:
        where = Path(module.__file__ or module.__name__).name
        for name, value in list(vars(module).items()):
            if name.startswith("__") or isinstance(value, ModuleType):
                continue
            if isinstance(value, type):
                if value.__module__ == module.__name__:
                    found.update(_of_class(value, where))
            elif isinstance(value, FunctionType):
                found.update(_defaults(value, name, where))
            else:
                found[f"the module variable {name} of {where}"] = _text(value)
    return found


def changed_names(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """The names of values that changed, in order."""
    return sorted(name for name, text in after.items() if before.get(name, text) != text)


def _of_class(kind: type, where: str) -> Iterator[tuple[str, str]]:
    for name, value in list(vars(kind).items()):
        value = getattr(value, "__func__", value)  # of a static method or a class method
        shown = f"{kind.__name__}.{name}"
        if isinstance(value, FunctionType):
            yield from _defaults(value, shown, where)
        elif not name.startswith("__") and not isinstance(value, type | property):
            yield f"the class attribute {shown} of {where}", _text(value)


def _defaults(function: FunctionType, name: str, where: str) -> Iterator[tuple[str, str]]:
    names = function.__code__.co_varnames
    positional = names[: function.__code__.co_argcount]
    defaults = function.__defaults__ or ()
    for argument, value in zip(
        positional[len(positional) - len(defaults) :], defaults, strict=True
    ):
        yield f"the default argument {argument} of {name} in {where}", _text(value)
    for argument, value in (function.__kwdefaults__ or {}).items():
        yield f"the default argument {argument} of {name} in {where}", _text(value)
    for cell_name, cell in zip(
        function.__code__.co_freevars, function.__closure__ or (), strict=True
    ):
        try:
            value = cell.cell_contents
        except ValueError:
            continue  # not set yet
        if not callable(value):
            yield f"the variable {cell_name} that {name} in {where} closes over", _text(value)


def _text(value: object) -> str:
    """A text that changes with the value. Of a cached function, what its cache did."""
    try:
        info: object = getattr(value, "cache_info", None)
        text = repr(info()) if callable(info) else repr(value)
    except Exception as error:  # noqa: BLE001  # user code may raise anything
        text = f"raised {type(error).__name__}"
    return f"{len(text)} {text[:_COMPARED]}"
