"""Finds the functions of a user that say what clients do: `requests(rng)`, and client programs."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from qcore.compiled_build import register_copies
from qcore.errors import ConfigError
from qcore.machines.loader import load_program_module
from qcore.sim.scenario.model import Scenario

if TYPE_CHECKING:
    from qcore.client.programs.program_context import ClientProgram

#: The names under which the functions are found in the file of a user-defined state machine.
PROGRAM_NAME = "client"
REQUESTS_NAME = "requests"


@dataclass(frozen=True)
class LoadedProgram:
    """A client program, and its name in reports."""

    run: ClientProgram
    name: str


def file_of(scenario: Scenario) -> str:
    """What an error begins with: the file of the scenario; empty for one that was made in Python."""
    return f"{scenario.source}: " if scenario.source else ""


def find_program(scenario: Scenario, module: ModuleType | None) -> LoadedProgram | None:
    """The client program of a scenario; None if its clients run none.

    Without `workload.program`, it is `client` in the file of the state machine, if that has no `requests` and the
    scenario gives none.

    Args:
        scenario: the scenario.
        module: the module of the user-defined state machine, if the scenario names one.

    Raises:
        ConfigError: the program cannot be loaded, or is no function that a client can run.
    """
    given = scenario.workload.program
    if given is None:
        if module is None or scenario.workload.requests or hasattr(module, REQUESTS_NAME):
            return None
        found = getattr(module, PROGRAM_NAME, None)
        return None if found is None else LoadedProgram(checked_program(found), PROGRAM_NAME)
    where, _, name = given.rpartition(":")
    if where:
        try:
            module = load_program_module(where, Path(scenario.source).parent)
        except ConfigError as error:
            raise ConfigError(f"{file_of(scenario)}workload.{error}") from error
    elif module is None:
        raise ConfigError(
            f"workload.program: {given}: name the file too, as file.py:{name}; only a program in the file of a "
            "user-defined cluster.machine is named alone"
        )
    return LoadedProgram(checked_program(_function(module, name, "workload.program")), name)


def given_program(scenario: Scenario, program: object) -> LoadedProgram:
    """The client program that the caller gives.

    Raises:
        ConfigError: the scenario names another one, or the program is no function that a client can run.
    """
    named = scenario.workload.program
    if named is not None:
        raise ConfigError(
            f"two client programs: the scenario names workload.program {named}, and the caller gives another one; "
            "leave one of them out"
        )
    checked = checked_program(program)
    return LoadedProgram(checked, getattr(checked, "__name__", PROGRAM_NAME))


def find_requests(scenario: Scenario, module: ModuleType) -> Callable[..., object] | None:
    """The function that draws requests: the one that `workload.requests` names, or `requests`; None if there is none.

    Raises:
        ConfigError: the file of the state machine has no such function.
    """
    named = scenario.workload.requests_function
    if named is not None:
        return _function(module, named, "workload.requests")
    found = getattr(module, REQUESTS_NAME, None)
    return found if callable(found) else None


def checked_program(program: object) -> ClientProgram:
    """The program, if a client can run it.

    Raises:
        ConfigError: it is not an asynchronous function of one argument.
    """
    name = getattr(program, "__qualname__", f"{program!r:.100}")
    if not inspect.iscoroutinefunction(program):
        raise ConfigError(
            f"the client program {name} is not an asynchronous function: write `async def {PROGRAM_NAME}(ctx)`"
        )
    try:
        inspect.signature(program).bind(None)
    except TypeError as error:
        raise ConfigError(
            f"the client program {name} takes other arguments ({error}): write `async def {PROGRAM_NAME}(ctx)`"
        ) from None
    checked: ClientProgram = program
    return checked


def _function(module: ModuleType, name: str, key: str) -> Callable[..., object]:
    found = getattr(module, name, None)
    if not callable(found):
        file = Path(module.__file__).name if module.__file__ else module.__name__
        raise ConfigError(f"{key}: {file} has no function {name}")
    return found  # type: ignore[no-any-return]  # the user's module has no types


register_copies(globals())
