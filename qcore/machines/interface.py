"""The protocol that a replicated state machine implements. Bring your own: a name, its versions, five methods.

`qcore.testing.state_machine_conformance` tries an implementation against all of this.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Protocol, runtime_checkable

from qcore.core.version import LATEST_RULES, VersionSupport
from qcore.errors import ConfigError

#: The largest result of `apply` or `query`: bytes as a JSON string in UTF-8. With what goes around it, it fits into one
#: frame between nodes (16 MiB). It is part of the apply rules from 3 on.
MAX_RESULT_BYTES: Final = 16 * 1024 * 1024 - 64 * 1024

_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
_MAX_VERSION: Final = 1_000_000


@dataclass(slots=True)
class ApplyContext:
    """Where and when a command is applied: the same on every replica, whenever it applies the command.

    Attributes:
        index: the entry's position in the log: grows, not always by one. Derive ids from it.
        time_us: the leader's wall clock at append, microseconds since the Unix epoch, never going back. The
            only wall clock to use, for timestamps.
        version: the active version of the state machine, one of those that its class declares.
        clock_us: the cluster clock, microseconds: never goes back, counts only while there is a leader, and no
            wall clock moves it. For what expires. 0 while the cluster's rules are those of 0.1.0.
        rules: the apply rules in effect; see `qcore.core.version`.
    """

    index: int
    time_us: int
    version: int = 1
    clock_us: int = 0
    rules: int = LATEST_RULES


@runtime_checkable
class StateMachine(Protocol):
    """A deterministic state machine driven by the replicated log.

    The same commands in the same order must give the same state, results and hash on every replica, in any
    process and under any `PYTHONHASHSEED`: no local clock, no randomness, no iteration over sets.
    Commands, results and queries are text; JSON is the custom.

    Attributes:
        name: what the machine is called, in the log and between nodes: letters, digits, `-` and `_`. A cluster
            runs the machine that its log names, and a node with another one refuses to start.
        versions: the first and the last version of its behaviour that this program can apply. A cluster
            has one active version, which `apply` is given; it changes by a log entry
            (`qcore cluster upgrade`), once every member supports the next.
    """

    @property
    def name(self) -> str: ...

    @property
    def versions(self) -> tuple[int, int]: ...

    def apply(self, command: str, context: ApplyContext) -> str:
        """Carry out a committed command and return its result.

        Args:
            command: what a client proposed.
            context: position, times and version: all that may be used besides the command and the state.

        Returns:
            text without lone surrogates, of at most `MAX_RESULT_BYTES` as JSON. Of any other result the client is told
            that the command took effect and that its result cannot be sent.

        Must not raise: a bad command gives an error *result*. An exception stops the node.
        """
        ...

    def query(self, query: str) -> str:
        """Answer a read without changing anything. The same is asked of the answer as of a result of `apply`.

        Raises:
            qcore.errors.StoreError: the query is bad; its text goes to the client.
        """
        ...

    def snapshot(self) -> Iterable[str]:
        """The state as of this call, in chunks of text.

        The iterable may be consumed later, after more commands were applied, and must still give the
        state as of the call. A small machine returns a list of one chunk. One chunk is drawn in one step of
        the node, so make it some tens of KiB. A chunk that is no text, or has a lone surrogate, stops the node
        before anything of the snapshot is stored.
        """
        ...

    def restore(self, chunks: Iterable[str]) -> None:
        """Replace the whole state by what `snapshot` gave: the same text, maybe cut into other chunks."""
        ...

    def state_hash(self) -> str:
        """A digest of the state as hexadecimal text, equal exactly when the states are equal."""
        ...


@runtime_checkable
class SupportsGradualRestore(Protocol):
    """What a machine with a large state may have on top of `StateMachine`: the node goes on while it restores."""

    def restore_gradually(self, chunks: Iterable[str]) -> Iterator[None]:
        """Do what `restore` does, a bounded part of it before each item that is yielded.

        Nothing is applied or asked until it is at its end. It may be dropped before: then another
        `restore` or `restore_gradually` comes, or nothing ever.
        """
        ...


@runtime_checkable
class SupportsCommandCheck(Protocol):
    """What a machine may have on top of `StateMachine`: it tells its own commands from those of other machines.

    Data of apply rules 1 does not say which machine wrote it. A node with a machine that has this refuses to start
    on a log of such data that holds commands and not one of its own.
    """

    def recognises(self, command: str) -> bool:
        """Whether the command has the form of one of this machine's, whatever the state; never raises."""
        ...


@runtime_checkable
class SupportsWorkCost(Protocol):
    """What a machine whose commands differ much in their cost may have on top of `StateMachine`.

    A step of the replica applies and answers a bounded amount, and the rest comes in the next steps, so that
    heartbeats go on. It counts entries and bytes. A machine that has this says what its work counts for besides.

    Attributes:
        last_cost: what the last `apply` or `query` did, in units of a small command's work beyond the first; 0 for a
            small one. It must follow from the command and the state alone.
    """

    @property
    def last_cost(self) -> int: ...


def version_support(machine: StateMachine, rules_max: int = LATEST_RULES) -> VersionSupport:
    """What a program with this machine can apply.

    Args:
        machine: the state machine.
        rules_max: the newest apply rules to admit to.

    Raises:
        ConfigError: the machine declares no usable name or versions, or its `apply` is that of 0.1.0; says what to
            write instead.
    """
    kind = type(machine).__name__
    name: object = getattr(machine, "name", None)
    versions: object = getattr(machine, "versions", None)
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ConfigError(
            f"state machine {kind} declares the name {name!r}; give its class a name of 1 to 64 letters, digits, "
            '`-` or `_` that begins with a letter, for example: name = "counter" (a file path is no name)'
        )
    try:
        inspect.signature(machine.apply).bind("", ApplyContext(1, 0))
    except TypeError as error:
        raise ConfigError(
            f"state machine {kind} ({name}): apply must take (command, context), see "
            f"qcore.machines.interface.ApplyContext; it does not: {error}"
        ) from None
    match versions:
        case (bool(), _) | (_, bool()):
            pass  # To Python `True` is an int, but no version.
        case (int() as low, int() as high) if 1 <= low <= high <= _MAX_VERSION:
            return VersionSupport(1, rules_max, name, low, high)
    raise ConfigError(
        f"state machine {kind} ({name}) declares the versions {versions!r}; give its class the first and the last "
        "version that it can apply, for example: versions = (1, 1)"
    )
