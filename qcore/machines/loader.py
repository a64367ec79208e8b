"""Loads a user's state machine: `file.py:Class` or `module:Class`, for real nodes and for scenarios."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from qcore.errors import ConfigError
from qcore.machines.interface import StateMachine, version_support

#: What a state machine consists of.
_PARTS = ("name", "versions", "apply", "query", "snapshot", "restore", "state_hash")


def load_machine(name: str, directory: Path) -> Callable[[], StateMachine]:
    """The class that `name` means.

    Args:
        name: `file.py:Class` or `package.module:Class`.
        directory: where a relative file is looked for first; then the working directory.

    Raises:
        ConfigError: there is no such file, module or class, importing it failed, or it lacks a method
            of `StateMachine`.
    """
    where, _, class_name = name.rpartition(":")
    try:
        module = _load_file(where, directory) if where.endswith(".py") else _load_module(where)
    except ConfigError:
        raise
    except Exception as error:  # the boundary to the user's own code, which may raise anything
        raise ConfigError(
            f"machine {name}: importing it raised {type(error).__name__}: {error}"
        ) from error
    made = getattr(module, class_name, None)
    if not callable(made):
        raise ConfigError(f"machine {name}: {where} has no class {class_name}")
    return checked_factory(made, name)


def checked_factory(made: object, name: str) -> Callable[[], StateMachine]:
    """What makes machines, after it has made one that has all that a state machine needs.

    Args:
        made: a class, or a function without arguments.
        name: what to call it in errors.

    Raises:
        ConfigError: it makes none.
    """
    if not callable(made):
        raise ConfigError(
            f"machine {name} is no class but of the type {type(made).__name__}: each node makes a machine of its own, "
            "so give the class, or a function that makes one"
        )
    try:
        machine = made()
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
    make: Callable[[], StateMachine] = made
    return make


def _load_file(where: str, directory: Path) -> ModuleType:
    candidates = [directory / where, Path(where)]
    path = next((candidate for candidate in candidates if candidate.is_file()), None)
    if path is None:
        tried = " or ".join(dict.fromkeys(map(str, candidates)))
        raise ConfigError(f"machine: there is no file {tried}")
    spec = importlib.util.spec_from_file_location(f"qcore_own_machine_{path.stem}", path)
    assert spec is not None, "a file that ends in .py has a loader"
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module.__name__] = module  # dataclasses and typing look their module up there
    spec.loader.exec_module(module)
    return module


def _load_module(where: str) -> ModuleType:
    try:
        return importlib.import_module(where)
    except ModuleNotFoundError as error:
        raise ConfigError(f"machine: there is no module {error.name}") from None
