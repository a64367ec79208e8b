"""Custom state machines in the simulator: how they are loaded, and which requests their clients send."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from random import Random
from types import ModuleType

from qcore.compiled_build import register_copies
from qcore.errors import ConfigError
from qcore.machines.interface import StateMachine
from qcore.machines.loader import load_checks_module, load_with_module
from qcore.replica.messages import RequestKind
from qcore.sim.scenario.model import Scenario
from qcore.sim.scenario.specs.workload_spec import RequestSpec
from qcore.sim.workload.operations import RequestSource
from qcore.sim.workload.user_code import file_of, find_requests


@dataclass(frozen=True)
class CustomMachine:
    """A custom state machine.

    Attributes:
        make: makes a fresh machine, for each node and each of its lives.
        requests: draws the next request of a client. It must use only the generator that it is given. None if clients
            run a program.
        module: the module that holds the machine, if the scenario names the machine.
        reference: a name by which another process finds the machine; empty if the caller gave the machine itself.
    """

    make: Callable[[], StateMachine]
    requests: RequestSource | None
    module: ModuleType | None = None
    reference: str = ""


def load_custom_machine(scenario: Scenario) -> CustomMachine | None:
    """The custom machine that a scenario names, with the requests of its clients; None for a built-in one.

    Raises:
        ConfigError: it cannot be loaded, or is not a state machine.
    """
    name = scenario.cluster.machine
    if ":" not in name:
        return None
    try:
        loaded = load_with_module(name, Path(scenario.source).parent)
    except ConfigError as error:
        raise ConfigError(f"{file_of(scenario)}cluster.{error}") from error
    requests: RequestSource | None = None
    given = scenario.workload.requests
    if given:
        requests = weighted_requests(given)
    elif scenario.workload.program is None:
        function = find_requests(scenario, loaded.module)
        requests = None if function is None else checked_requests(function)
    return CustomMachine(loaded.make, requests, loaded.module, loaded.reference)


def load_checks(scenario: Scenario) -> ModuleType | None:
    """The module that a scenario names as `checks`; None if it names none.

    Raises:
        ConfigError: it cannot be imported.
    """
    if not scenario.checks:
        return None
    return load_checks_module(scenario.checks, Path(scenario.source).parent)


def weighted_requests(requests: tuple[RequestSpec, ...]) -> RequestSource:
    """A source that draws one of the requests, by weight."""
    sums = list(accumulate(request.weight for request in requests))

    def draw(rng: Random) -> tuple[RequestKind, str]:
        dice = rng.random() * sums[-1]
        chosen = next(r for r, top in zip(requests, sums, strict=True) if dice < top)
        return chosen.kind, chosen.payload

    return draw


def checked_requests(requests: Callable[[Random], object]) -> RequestSource:
    """Draws from `requests`. A draw that no client can send raises an error that names the function."""
    name = getattr(requests, "__qualname__", repr(requests))

    def draw(rng: Random) -> tuple[RequestKind, str]:
        try:
            drawn = requests(rng)
        except Exception as error:  # user code may raise anything
            raise ConfigError(f"requests: {name} raised {type(error).__name__}: {error}") from error
        match drawn:
            case (
                ("write" | "read" | "lease_read" | "follower_read" | "stale_read") as kind,
                str(payload),
            ):
                if not payload.isascii():
                    _require_unicode(payload, name)
                return kind, payload
        raise ConfigError(
            f'requests: {name} returned {drawn!r:.200}; it must return ("write", command) or ("read", query), where '
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


register_copies(globals())
