"""Which build of qcore runs: pure Python, or the same source with its hot modules compiled by mypyc.

A checkout runs pure Python until `make compile` has put compiled modules beside their sources. A wheel for a platform
carries them. `QCORE_PURE=1` in the environment chooses pure Python where compiled modules exist.

Compiled modules that are older than their sources would run something else than one reads. So a checkout whose sources
have changed since `make compile` runs pure Python, with a warning.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import Field
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
from typing import Final, Literal

#: The library that holds the code of all compiled modules. Each `.so` file beside a source only refers to it.
LIBRARY: Final = "qcore_compiled__mypyc"
#: Written by `make compile`: the state of each source that it compiled.
STAMPS: Final = "compiled.json"
#: Set to `1` in the environment, it chooses pure Python.
PURE_VARIABLE: Final = "QCORE_PURE"

_PACKAGE: Final = Path(__file__).parent

Build = Literal["compiled", "pure"]


class _SourceFinder:
    """Finds the sources of qcore's modules, although there are compiled ones beside them."""

    def __init__(self) -> None:
        self._finders: dict[str, FileFinder] = {}

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """See `importlib.abc.MetaPathFinder`."""
        if not name.startswith("qcore.") or path is None:
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


def restore_annotations(names: Mapping[str, object]) -> None:
    """Give the dataclasses of a compiled module the annotations of its source. Call it at the end of the module.

    A compiled dataclass has lost all but the outermost class of each (`list` for `list[int]`). Pydantic and the codec
    of recordings build on them. In the pure build this does nothing.

    Args:
        names: the module's `globals()`.
    """
    if BUILD == "pure":
        return
    import ast

    source = _PACKAGE.parent.joinpath(*str(names["__name__"]).split(".")).with_suffix(".py")
    for node in ast.parse(source.read_text(encoding="utf-8")).body:
        if not isinstance(node, ast.ClassDef):
            continue
        cls = names[node.name]
        fields: dict[str, Field[object]] = getattr(cls, "__dataclass_fields__", {})
        for part in node.body:
            if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name):
                field = fields.get(part.target.id)
                if field is not None:
                    text = ast.unparse(part.annotation)
                    cls.__annotations__[field.name] = text
                    field.type = text  # as without the compiler


#: Which build this process runs. The package imports this module first.
BUILD: Final[Build] = _choose_build()
