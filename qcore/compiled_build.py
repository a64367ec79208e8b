"""Which build of qcore runs: pure Python, or the same source with its hot modules compiled by mypyc.

A checkout runs pure Python until `make compile` has put compiled modules beside their sources. A wheel for a platform
carries them. `QCORE_PURE=1` in the environment chooses pure Python where compiled modules exist.

Compiled modules that are older than their sources would run something else than one reads. So a checkout whose sources
have changed since `make compile` runs pure Python, with a warning.
"""

from __future__ import annotations

import copyreg
import os
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import Field, fields, is_dataclass
from functools import cache
from importlib.machinery import (
    EXTENSION_SUFFIXES,
    SOURCE_SUFFIXES,
    FileFinder,
    ModuleSpec,
    SourceFileLoader,
)
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Final, Literal, SupportsIndex, TypeVar

if TYPE_CHECKING:
    import ast  # late, below: it takes milliseconds

#: The library that holds the code of all compiled modules. Each `.so` file beside a source only refers to it.
LIBRARY: Final = "qcore_compiled__mypyc"
#: Written by `make compile`: the state of each source that it compiled.
STAMPS: Final = "compiled.json"
#: Set to `1` in the environment, it chooses pure Python.
PURE_VARIABLE: Final = "QCORE_PURE"

_PACKAGE: Final = Path(__file__).parent
#: The packages that have compiled modules. In a checkout these are also the loops of benchmarks.
_COMPILED: Final = ("qcore.", "benchmarks.loops.")

Build = Literal["compiled", "pure"]

if TYPE_CHECKING:
    # For the compiler, which knows the decorator by this name. Nothing needs the package when qcore runs.
    from mypy_extensions import mypyc_attr as mypyc_attr
else:
    _Class = TypeVar("_Class")

    def mypyc_attr(**_options: bool | int) -> Callable[[_Class], _Class]:
        """Options of a compiled class; without the compiler they mean nothing.

        `acyclic`: no instance is ever part of a cycle of references, so the collector need not look at any.
        `allow_interpreted_subclasses`: programs may inherit from it.
        """
        return lambda cls: cls


class _SourceFinder:
    """Finds the sources of modules, although there are compiled ones beside them."""

    def __init__(self) -> None:
        self._finders: dict[str, FileFinder] = {}

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """See `importlib.abc.MetaPathFinder`."""
        if not name.startswith(_COMPILED) or path is None:
            return None
        for entry in path:
            finder = self._finders.get(entry)
            if finder is None:
                loader = (SourceFileLoader, SOURCE_SUFFIXES)
                finder = self._finders[entry] = FileFinder(entry, loader)
            found = finder.find_spec(name, target)
            if found is not None:
                return found
        return None


def _choose_build() -> Build:
    library = _PACKAGE.parent / (LIBRARY + EXTENSION_SUFFIXES[0])
    if not library.exists():
        return "pure"
    if os.environ.get(PURE_VARIABLE, "") in ("", "0"):
        changed = _changed_source()
        if changed is None:
            _load(library)
            return "compiled"
        warnings.warn(
            f"qcore runs as pure Python, because {changed} has changed since `make compile`: run it again, "
            f"or set {PURE_VARIABLE}=1",
            RuntimeWarning,
            stacklevel=3,
        )
    sys.meta_path.insert(0, _SourceFinder())
    return "pure"


def _changed_source() -> str | None:
    """A source that is not the one that was compiled; None if there is none."""
    stamps_file = _PACKAGE / STAMPS
    if not stamps_file.exists():
        return None  # an installed wheel
    import json  # late, like `ast`: most processes need neither

    stamps: dict[str, list[int]] = json.loads(stamps_file.read_text())
    return next((name for name, held in stamps.items() if _stamp(_PACKAGE / name) != held), None)


def _stamp(source: Path) -> list[int] | None:
    """The state of a source file, which changes with every edit; None if it is gone."""
    try:
        state = source.stat()
    except OSError:
        return None
    return [state.st_mtime_ns, state.st_size]


def _load(library: Path) -> None:
    spec = spec_from_file_location(LIBRARY, library)
    assert spec is not None, "the name of the file is that of an extension module"
    assert spec.loader is not None, "as the line above"
    module = sys.modules[LIBRARY] = module_from_spec(spec)
    spec.loader.exec_module(module)


def restore_source(names: Mapping[str, object]) -> None:
    """Give the classes of a compiled module what the compiler dropped. Call it at the end of the module.

    A compiled class has no docstring. The annotations of a compiled dataclass have lost all but the outermost class of
    each (`list` for `list[int]`); pydantic and the codec of recordings build on them. In the pure build this does
    nothing. It takes some milliseconds, so only modules whose classes need it call it.

    Args:
        names: the module's `globals()`.
    """
    if BUILD == "pure":
        return
    for cls in names.values():
        if isinstance(cls, type) and cls.__module__ == names["__name__"]:
            restore_class(cls)


def restore_class(cls: type) -> None:
    """Give one class what the compiler dropped, if it is compiled: see `restore_source`."""
    if BUILD == "pure" or "__mypyc_attrs__" not in vars(cls):
        return
    import ast

    node = _classes_in(cls.__module__)[cls.__name__]
    cls.__doc__ = ast.get_docstring(node, clean=False)
    held: dict[str, Field[object]] = getattr(cls, "__dataclass_fields__", {})
    for part in node.body:
        if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name):
            field = held.get(part.target.id)
            if field is not None:
                text = ast.unparse(part.annotation)
                cls.__annotations__[field.name] = text
                field.type = text  # as without the compiler


@cache
def _classes_in(module: str) -> dict[str, ast.ClassDef]:
    """The classes in the source of a module."""
    import ast

    source = _PACKAGE.parent.joinpath(*module.split(".")).with_suffix(".py")
    body = ast.parse(source.read_text(encoding="utf-8")).body
    return {node.name: node for node in body if isinstance(node, ast.ClassDef)}


def register_copies(names: Mapping[str, object]) -> None:
    """Let `copy` and `pickle` copy the dataclasses of a compiled module. Call it at the end of the module.

    Python makes a copy without the constructor, and gives it the `__dict__` of the original. A compiled value has no
    `__dict__`, and no instance before its constructor: such a copy would fail or, without a word, lose all fields. In
    the pure build this does nothing.

    Args:
        names: the module's `globals()`.
    """
    if BUILD == "pure":
        return
    for cls in names.values():
        if isinstance(cls, type) and cls.__module__ == names["__name__"] and is_dataclass(cls):
            copyreg.pickle(cls, _fields_of)


def reduce_machine(machine: object, protocol: SupportsIndex) -> str | tuple[object, ...]:
    """What `__reduce_ex__` of a compiled class returns that programs inherit from.

    The pure build copies such an object as Python does. A copy of a compiled one would lack what a subclass has added.

    Raises:
        TypeError: this is the compiled build.
    """
    if BUILD == "pure":
        return object.__reduce_ex__(machine, protocol)
    raise TypeError(
        f"a compiled {type(machine).__name__} cannot be copied or pickled: restore its snapshot() into a new one, "
        f"or set {PURE_VARIABLE}=1"
    )


def _fields_of(value: object) -> tuple[type, tuple[object, ...]]:
    """What makes an equal value: its class, and the arguments of the constructor."""
    kind = type(value)
    assert is_dataclass(kind), "only these are registered"
    return kind, tuple([getattr(value, field.name) for field in fields(kind)])


#: Which build this process runs. The package imports this module first.
BUILD: Final[Build] = _choose_build()
