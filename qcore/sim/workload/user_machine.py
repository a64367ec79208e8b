"""A scenario's user-defined machine, and what its clients ask."""

from __future__ import annotations

from itertools import accumulate
from pathlib import Path
from random import Random

from qcore.errors import ConfigError
from qcore.machines.loader import load_machine
from qcore.replica.messages import RequestKind
from qcore.sim.scenario.model import Scenario
from qcore.sim.scenario.specs.workload_spec import RequestSpec
from qcore.sim.workload.operations import RequestSource
from qcore.sim.world.hashed_machine import UserMachine


def load_user_machine(scenario: Scenario) -> UserMachine | None:
    """The machine that a scenario brings along, with what its clients ask; None for the built-in ones.

    Raises:
        ConfigError: it cannot be loaded, or is no state machine.
    """
    name = scenario.cluster.machine
    if ":" not in name:
        return None
    make = load_machine(name, Path(scenario.source).parent)
    return UserMachine(make, weighted_requests(scenario.workload.requests))


def weighted_requests(requests: tuple[RequestSpec, ...]) -> RequestSource:
    """Draws one of the requests, by weight."""
    sums = list(accumulate(request.weight for request in requests))

    def draw(rng: Random) -> tuple[RequestKind, str]:
        dice = rng.random() * sums[-1]
        chosen = next(r for r, top in zip(requests, sums, strict=True) if dice < top)
        return chosen.kind, chosen.payload

    return draw


def checked_requests(requests: RequestSource) -> RequestSource:
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
