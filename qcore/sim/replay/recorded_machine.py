"""The state machine of a recording: as the recorded node ran it, so that the replica takes the same steps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from qcore.errors import ConfigError
from qcore.machines.entity.entity_store import EntityStore
from qcore.machines.interface import StateMachine
from qcore.machines.kv.kv_machine import KeyValueMachine
from qcore.machines.loader import load_machine
from qcore.machines.register import RegisterMachine
from qcore.recording import StartOfLife
from qcore.recording.run_recordings import COLLECTIONS
from qcore.sim.workload.collections.collections_machine import CollectionsMachine
from qcore.sim.world.node.node_machine import hashed_machine


def recorded_machine(
    start: StartOfLife, make: Callable[[], StateMachine] | None = None
) -> StateMachine:
    """A fresh state machine for a replay.

    Args:
        start: what the replica started from.
        make: makes the machine, in place of the one that the recording names.

    Raises:
        ConfigError: the recording names no machine, or one that cannot be loaded.
    """
    machine = (make or machine_named(start.machine))()
    if start.source == "node":
        return machine
    # The simulator wraps the machine, and the wrapper offers less than some machines do.
    changes = _ignore if start.watchable else None
    return hashed_machine(start.node_id, machine, _ignore, _nothing, changes, _ignore)


def machine_named(name: str) -> Callable[[], StateMachine]:
    """What makes the machine of this name.

    Raises:
        ConfigError: there is no such machine, or it cannot be loaded.
    """
    built_in: dict[str, Callable[[], StateMachine]] = {
        "entity": EntityStore,
        "kv": KeyValueMachine,
        "register": RegisterMachine,
        COLLECTIONS: CollectionsMachine,
    }
    if name in built_in:
        return built_in[name]
    if not name:
        raise ConfigError(
            "the recorded run got its state machine from a program: give the replay the machine, as "
            "--with-machine FILE.py:CLASS or Replay(..., machine=MyMachine)"
        )
    if ":" not in name:
        raise ConfigError(
            f"no state machine is called {name!r}: give entity, kv, register, FILE.py:CLASS or MODULE:CLASS"
        )
    try:
        return load_machine(name, Path())
    except ConfigError as error:
        raise ConfigError(
            f"{error}; if the machine is elsewhere now, give --with-machine FILE.py:CLASS"
        ) from None


def _ignore(*_arguments: object) -> None:
    """The observers of a run are not part of a replay."""


def _nothing() -> None:
    """As `_ignore`."""
