"""Loading a state machine of the user's own, as a scenario names it: `file.py:Class` or `module:Class`."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path
from random import Random
from types import ModuleType

from qcore.errors import ConfigError
from qcore.machines.interface import StateMachine, support_of
from qcore.replica.messages import RequestKind
from qcore.sim.scenario.cluster import RequestSpec
from qcore.sim.scenario.model import Scenario
from qcore.sim.workload.operations import Requests
from qcore.sim.world.hashed_machine import OwnMachine

#: What a state machine consists of.
_PARTS = ("name", "versions", "apply", "query", "snapshot", "restore", "state_hash")


def own_machine(scenario: Scenario) -> OwnMachine | None:
    """The machine that a scenario brings along, with what its clients ask; None for the built-in ones.

    Raises:
        ConfigError: it cannot be loaded, or is no state machine.
    """
    name = scenario.cluster.machine
    if ":" not in name:
        return None
    make = load_machine(name, Path(scenario.source).parent)
    return OwnMachine(make, draw_from(scenario.workload.requests))


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
    return usable(made, name)


def usable(made: object, name: str) -> Callable[[], StateMachine]:
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
    support_of(machine)
    make: Callable[[], StateMachine] = made
    return make


def draw_from(requests: tuple[RequestSpec, ...]) -> Requests:
    """Draws one of the requests, by weight."""
    sums = list(accumulate(request.weight for request in requests))

    def draw(rng: Random) -> tuple[RequestKind, str]:
        dice = rng.random() * sums[-1]
        chosen = next(r for r, top in zip(requests, sums, strict=True) if dice < top)
        return chosen.kind, chosen.payload

    return draw


def checked(requests: Requests) -> Requests:
    """The same requests, but what no client could ask is an error that names the function."""
    name = getattr(requests, "__qualname__", repr(requests))

    def draw(rng: Random) -> tuple[RequestKind, str]:
        try:
            asked: object = requests(rng)
        except Exception as error:  # the boundary to the user's own code, which may raise anything
            raise ConfigError(f"requests: {name} raised {type(error).__name__}: {error}") from error
        match asked:
            case (
                ("write" | "read" | "lease_read" | "follower_read" | "stale_read") as kind,
                str(payload),
            ):
                if not payload.isascii():
                    _require_unicode(payload, name)
                return kind, payload
        raise ConfigError(
            f'requests: {name} returned {asked!r:.200}; it must return ("write", command) or ("read", query), where '
            "the command or query is a text"
        )

    return draw


def _require_unicode(payload: str, name: str) -> None:
    try:
        payload.encode()
    except UnicodeEncodeError as error:
        raise ConfigError(
            f"requests: {name} returned {payload!r:.200}, which no client can send: it is no Unicode text "
            f"({error.reason} at character {error.start})"
        ) from None


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
