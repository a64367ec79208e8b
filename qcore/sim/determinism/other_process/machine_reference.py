"""How a second process finds the class of a user-defined machine, and which modules belong to it."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Final

from qcore.machines.interface import StateMachine
from qcore.machines.loader import import_file

#: Installed code does not belong to the machine, even if it is in the same folder.
_INSTALLED: Final = tuple(
    path + os.sep for name in ("stdlib", "purelib", "platlib") if (path := sysconfig.get_path(name))
)


@dataclass(slots=True, frozen=True)
class MachineReference:
    """Where a machine is defined.

    Attributes:
        file: the absolute path of its file, for a file that is loaded by path; else empty.
        module: the name of the module.
        name: the name of the class or function in the module, with dots.
        stamp: size and time of the file, so that an edited file is another module.
        reason: why another process cannot find it; empty if it can.
    """

    file: str
    module: str
    name: str
    stamp: tuple[int, int] = (0, 0)
    reason: str = ""

    def same_module(self, other: MachineReference) -> bool:
        """Whether both are defined in the same module."""
        return replace(self, name="") == replace(other, name="")


def reference_of(make: Callable[[], StateMachine], reference: str = "") -> MachineReference:
    """The reference of a class or function.

    Args:
        make: makes the machine.
        reference: `file.py:Class` or `module:Class`, if the caller knows; the file is absolute.
    """
    if reference:
        where, _, name = reference.rpartition(":")
        if where.endswith(".py"):
            module = f"qcore_user_machine_{Path(where).stem}"
            return MachineReference(where, module, name, _stamp(where))
        return MachineReference("", where, name, _stamp_of_module(where))
    module = getattr(make, "__module__", None) or ""
    name = getattr(make, "__qualname__", None) or ""
    shown = name or f"a {type(make).__name__}"
    if "<lambda>" in name or not name:
        return _unknown(f"{shown} has no name in a module")
    if "<locals>" in name:
        return _unknown(f"{shown} is defined inside a function; define it at the top of a module")
    loaded = sys.modules.get(module)
    if loaded is None or resolve(loaded, name) is not make:
        return _unknown(f"module {module} has no {name}, or another one")
    file = getattr(loaded, "__file__", None)
    if module == "__main__":
        if not file:
            return _unknown(
                f"{name} is defined in a notebook or an interactive session; put it into a file"
            )
        return MachineReference(str(Path(file).resolve()), "qcore_user_main", name, _stamp(file))
    return MachineReference("", module, name, _stamp_of_module(module))


def _unknown(reason: str) -> MachineReference:
    return MachineReference("", "", "", reason=reason)


def _stamp_of_module(name: str) -> tuple[int, int]:
    return _stamp(getattr(sys.modules.get(name), "__file__", None) or "")


def _stamp(file: str) -> tuple[int, int]:
    try:
        found = os.stat(file)
    except OSError:
        return (0, 0)
    return found.st_size, found.st_mtime_ns


def resolve(module: ModuleType, name: str) -> object:
    """The object with a dotted name in a module; None if there is none."""
    found: object = module
    for part in name.split("."):
        found = getattr(found, part, None)
    return found


def own_modules(make: Callable[[], StateMachine]) -> list[ModuleType]:
    """The modules of a machine: those of its class and bases, and what lies beside them in the same folder.

    Of qcore itself, only the module of the class. Nothing, if there is no machine because `make` raises.
    """
    try:
        kinds = type(make()).__mro__
    except Exception:  # noqa: BLE001  # user code may raise anything; the nodes and copies report it
        return []
    names = {getattr(kind, "__module__", "") for kind in (*kinds, make)}
    modules = [sys.modules[name] for name in sorted(names) if name in sys.modules]
    found = [module for module in modules if _is_own(module)]
    folders = {
        Path(str(module.__file__)).parent
        for module in found
        if not module.__name__.startswith("qcore.")
    }
    beside = [
        module
        for module in list(sys.modules.values())
        if _is_own(module) and Path(str(module.__file__)).parent in folders
    ]
    return list({module.__name__: module for module in (*found, *beside)}.values())


def _is_own(module: ModuleType) -> bool:
    file = getattr(module, "__file__", None)
    return isinstance(file, str) and file.endswith(".py") and not file.startswith(_INSTALLED)


def load(reference: MachineReference) -> ModuleType:
    """Import the module of a reference, in the second process."""
    if not reference.file:
        return importlib.import_module(reference.module)
    return import_file(reference.file, reference.module)
