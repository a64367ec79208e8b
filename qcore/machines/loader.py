"""Loads a user's state machine, `file.py:Class` or `module:Class`, for real nodes and for scenarios."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Final

from qcore.errors import ConfigError
from qcore.machines.interface import StateMachine, version_support

#: The attributes of a state machine.
_PARTS: Final = ("name", "versions", "apply", "query", "snapshot", "restore", "state_hash")
#: What `import_file` added to `sys.path`: the folder of the last file.
ADDED_FOLDERS: Final[list[str]] = []


@dataclass(slots=True, frozen=True)
class LoadedMachine:
    """A user's state machine, and where it came from.

    Attributes:
        make: makes a fresh machine: the class or function that the name refers to.
        module: the module that holds it, with whatever else the user defined there.
        reference: a name by which another process finds the same class: an absolute file, or a module.
    """

    make: Callable[[], StateMachine]
    module: ModuleType
    reference: str


def load_machine(name: str, directory: Path) -> Callable[[], StateMachine]:
    """Return the class or function that `name` refers to. Takes and raises the same as `load_with_module`."""
    return load_with_module(name, directory).make


def load_with_module(name: str, directory: Path) -> LoadedMachine:
    """Return the class or function that `name` refers to, with its module.

    Args:
        name: `file.py:Class` or `package.module:Class`.
        directory: a relative file is first looked up here, then in the working directory.

    Raises:
        ConfigError: there is no such file, module or class, the import failed, or the class lacks a part of
            `StateMachine`.
    """
    where, _, class_name = name.rpartition(":")
    module = _import(where, directory, "machine", name)
    factory = getattr(module, class_name, None)
    if not callable(factory):
        raise ConfigError(f"machine {name}: {where} has no class {class_name}")
    path = Path(module.__file__).resolve() if where.endswith(".py") and module.__file__ else where
    return LoadedMachine(checked_factory(factory, name), module, f"{path}:{class_name}")


def load_checks_module(name: str, directory: Path) -> ModuleType:
    """Import the file or module in which a user defines checks.

    Args:
        name: `file.py` or `package.module`.
        directory: a relative file is first looked up here, then in the working directory.

    Raises:
        ConfigError: there is no such file or module, or the import failed.
    """
    return _import(name, directory, "checks", name)


def load_program_module(name: str, directory: Path) -> ModuleType:
    """Import the file or module in which a user defines client programs.

    Takes and raises the same as `load_checks_module`.
    """
    return _import(name, directory, "program", name)


def checked_factory(factory: object, name: str) -> Callable[[], StateMachine]:
    """Check that a factory makes an object with all parts of a state machine, and return the factory.

    Args:
        factory: a class, or a function without arguments.
        name: the machine's name in errors.

    Raises:
        ConfigError: it does not make a state machine.
    """
    if not callable(factory):
        raise ConfigError(
            f"machine {name} is not a class but a {type(factory).__name__}: each node makes its own machine, "
            "so give the class, or a function that makes one"
        )
    try:
        machine = factory()
    except Exception as error:  # as above
        raise ConfigError(
            f"machine {name}: making one raised {type(error).__name__}: {error}"
        ) from error
    lacking = [part for part in _PARTS if not hasattr(machine, part)]
    if lacking:
        raise ConfigError(
            f"machine {name} lacks {', '.join(lacking)}; see qcore.machines.interface.StateMachine: it needs "
            f"{', '.join(_PARTS)}"
        )
    assert isinstance(machine, StateMachine), "it has all parts"
    version_support(machine)
    make: Callable[[], StateMachine] = factory
    return make


def _import(where: str, directory: Path, what: str, name: str) -> ModuleType:
    """Import a file or a module. `what` is the user's word for it in errors, and `name` is what the user wrote.

    Raises:
        ConfigError: there is no such file or module, or the import failed.
    """
    try:
        return _load_module(where, directory, what)
    except ConfigError:
        raise
    # The boundary to the user's code, which may raise anything. An exit of the process would look like success.
    except (Exception, SystemExit) as error:
        raise ConfigError(
            f"{what} {name}: importing it raised {type(error).__name__}: {error}"
        ) from error


def _load_module(where: str, directory: Path, what: str) -> ModuleType:
    if not where.endswith(".py"):
        try:
            return importlib.import_module(where)
        except ModuleNotFoundError as error:
            raise ConfigError(f"{what}: there is no module {error.name}") from None
    candidates = [directory / where, Path(where)]
    path = next((candidate for candidate in candidates if candidate.is_file()), None)
    if path is None:
        tried = " or ".join(dict.fromkeys(map(str, candidates)))
        raise ConfigError(f"{what}: there is no file {tried}")
    return import_file(path, f"qcore_user_{what}_{path.stem}")


def _make_importable(folder: str) -> None:
    """Let the files of a folder import each other.

    The modules of the folder before it are forgotten, because two folders may have modules of one name.
    """
    if folder in sys.path:
        return
    for before in ADDED_FOLDERS:
        sys.path[:] = [entry for entry in sys.path if entry != before]
        for name, module in list(sys.modules.items()):
            file = getattr(module, "__file__", None)
            if name != "__main__" and isinstance(file, str) and os.path.dirname(file) == before:
                del sys.modules[name]
    ADDED_FOLDERS[:] = [folder]
    sys.path.append(folder)


def import_file(path: Path | str, name: str) -> ModuleType:
    """Import a file that ends in `.py` as the module `name`. Raises whatever the file raises.

    The file may import the modules beside it, as a script may. Installed modules win over these.
    """
    _make_importable(str(Path(path).resolve().parent))
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None, "a file that ends in .py has a loader"
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module.__name__] = module  # dataclasses and typing look up their module there
    spec.loader.exec_module(module)
    return module
