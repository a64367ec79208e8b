"""The interface of a replicated state machine. Your machine needs a name, its versions and five methods.

`qcore.testing.conformance.state_machine_conformance` tests an implementation against the whole interface.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple, Protocol, runtime_checkable

from qcore.core.version import LATEST_RULES, VersionSupport
from qcore.errors import ConfigError
from qcore.machines.apply_context import ApplyContext as ApplyContext
from qcore.machines.permissions import Permissions

#: The largest result of `apply` or `query`: bytes as a JSON string in UTF-8. Such a result and its envelope fit into
#: one frame between nodes (16 MiB). The bound is part of the apply rules from version 3 on.
MAX_RESULT_BYTES: Final = 16 * 1024 * 1024 - 64 * 1024

_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
_MAX_VERSION: Final = 1_000_000


class AppliesCommands(Protocol):
    """The part of a state machine that log entries need. Its result is not checked yet."""

    def apply(self, command: str, context: ApplyContext) -> object:
        """See `StateMachine.apply`."""
        ...


class AppliesEntries(AppliesCommands, Protocol):
    """What all log entries need of the state machine."""

    def expire(self, context: ApplyContext) -> None:
        """The cluster clock has reached that of the context: remove what has expired; see `SupportsExpiry`."""
        ...


@runtime_checkable
class StateMachine(Protocol):
    """A deterministic state machine driven by the replicated log.

    The same commands in the same order must give the same state, results and hash on every replica, in any
    process and under any `PYTHONHASHSEED`: no local clock, no randomness, no iteration over sets.
    Commands, results and queries are text, usually JSON.

    Attributes:
        name: identifies the machine in the log and between nodes: letters, digits, `-` and `_`. A cluster
            runs the machine that its log names. A node with another machine refuses to start.
        versions: the first and the last version of the machine's behaviour that this program can apply. A cluster
            has one active version, which `apply` receives. A log entry changes it (`qcore cluster upgrade`), once
            every member supports the next version.
    """

    @property
    def name(self) -> str: ...

    @property
    def versions(self) -> tuple[int, int]: ...

    def apply(self, command: str, context: ApplyContext) -> str:
        """Apply a committed command and return its result.

        Args:
            command: what a client proposed.
            context: index, times and version. `apply` may use nothing but these, the command and the state.

        Returns:
            text without lone surrogates, of at most `MAX_RESULT_BYTES` as JSON. For any other result, the client
            learns that the command took effect and that its result cannot be sent.

        Must not raise: a bad command gives an error *result*. An exception stops the node.
        """
        ...

    def query(self, query: str) -> str:
        """Return the result of a query without changing anything. It has the same limits as a result of `apply`.

        Raises:
            qcore.errors.StoreError: the query is invalid; the client receives the text.
        """
        ...

    def snapshot(self) -> Iterable[str]:
        """Return the state as of this call, in chunks of text.

        The node may consume the iterable later, after it has applied more commands. It must still give the state at the
        time of the call. A small machine returns a list of one chunk. The node takes one chunk in one step, so make
        chunks of some tens of KiB. A chunk that is not text, or has a lone surrogate, stops the node before anything of
        the snapshot is stored.
        """
        ...

    def restore(self, chunks: Iterable[str]) -> None:
        """Replace the whole state by that of a snapshot: the text from `snapshot`, perhaps in other chunks."""
        ...

    def state_hash(self) -> str:
        """Return a digest of the state as hexadecimal text. Digests are equal exactly when the states are equal."""
        ...


@runtime_checkable
class SupportsGradualRestore(Protocol):
    """An optional extension of `StateMachine` for large states: the node keeps running while it restores."""

    def restore_gradually(self, chunks: Iterable[str]) -> Iterator[None]:
        """Do what `restore` does, a bounded part of it before each yielded item.

        No command or query comes before the end. The iterator may be abandoned earlier. Then another `restore` or
        `restore_gradually` follows, or no call at all.
        """
        ...


@runtime_checkable
class SupportsCommandCheck(Protocol):
    """An optional extension of `StateMachine`: it distinguishes its commands from those of other machines.

    Data of apply rules 1 does not name the machine that wrote it. A node whose machine has this method refuses to
    start on a log of such data if the log has commands and `recognises` none of them.
    """

    def recognises(self, command: str) -> bool:
        """Whether the command has the form of this machine's commands, whatever the state. Never raises."""
        ...


@runtime_checkable
class SupportsWorkCost(Protocol):
    """An optional extension of `StateMachine` for machines whose commands differ much in their cost.

    A step of the replica does a bounded amount of work, and the next steps do the rest, so heartbeats continue. The
    replica counts entries and bytes. A machine with this attribute adds the cost of its work.

    Attributes:
        last_cost: the cost of the last `apply` or `query`, in units of a small command's work beyond the first; 0 for
            a small one. It must depend only on the command and the state.
    """

    @property
    def last_cost(self) -> int: ...


@runtime_checkable
class SupportsStateSize(Protocol):
    """An optional extension of `StateMachine`: it counts the bytes of its state, and knows what adds to it.

    While the state is as large as its quota, the leader rejects commands that may add to it. Without this extension it
    judges by the newest snapshot, and rejects all commands, so that nothing can be deleted.

    Attributes:
        state_bytes: about the bytes of the state in a snapshot. It must be cheap to read: keep count in `apply` and
            `restore`. It depends only on the state.
    """

    @property
    def state_bytes(self) -> int: ...

    def may_grow(self, command: str) -> bool:
        """Whether the command may make some state larger: False for a command that only deletes. Never raises."""
        ...


@runtime_checkable
class SupportsExpiry(Protocol):
    """An optional extension of `StateMachine`: parts of its state expire by the cluster clock.

    The leader appends an entry without a command when the next expiry is due by its cluster clock. When it is applied,
    and the clock of that entry has reached the next expiry, each replica applies `expiry_command`. So what expires is
    decided by the log. Expiries that are close together share an entry. Needs apply rules 2.

    Attributes:
        expiry_command: the command that removes what has expired at `ApplyContext.clock_us`. It may leave some for
            the next one.
    """

    @property
    def expiry_command(self) -> str: ...

    def next_expiry_us(self) -> int | None:
        """The cluster clock at which the next part expires, µs; None if nothing will. It must be cheap."""
        ...


@runtime_checkable
class SupportsPermissions(Protocol):
    """An optional extension of `StateMachine`: it checks permissions in more detail than the actions `read`, `write`.

    For commands see `ApplyContext.permissions`. For watches see `SupportsWatchPermissions`.
    """

    def query_as(self, query: str, permissions: Permissions | None) -> str:
        """As `query`, for a user with these permissions; None allows everything.

        Raises:
            qcore.errors.StoreError: the query is invalid, or the user may not read something that it asks for.
        """
        ...


class Change(Protocol):
    """One thing that a command changed. Watches receive it (`SupportsChanges`).

    A replica keeps the last changes for watches that resume, so make the attributes when they are first read.
    """

    @property
    def topics(self) -> tuple[str, ...]:
        """What a watch may name to receive this change, each topic once."""
        ...

    @property
    def body(self) -> str:
        """What a watch receives: JSON text."""
        ...

    @property
    def size_bytes(self) -> int:
        """About how much memory the change holds, bytes."""
        ...


class TopicChange(NamedTuple):
    """The simplest `Change`: its topics, and the text that watches receive."""

    topics: tuple[str, ...]
    body: str

    @property
    def size_bytes(self) -> int:
        """See `Change`."""
        return len(self.body) + sum(map(len, self.topics))


class StateReplaced:
    """A `Change` that replaced the whole state, without naming what is different. It ends all watches."""

    @property
    def topics(self) -> tuple[str, ...]:
        """None: no watch receives it."""
        return ()

    @property
    def body(self) -> str:
        """See `Change`."""
        return "null"

    @property
    def size_bytes(self) -> int:
        """See `Change`."""
        return 0


@runtime_checkable
class SupportsChanges(Protocol):
    """An optional extension of `StateMachine`: clients may watch what its commands change."""

    def last_changes(self) -> Sequence[Change]:
        """Return what the last `apply` changed, in order; nothing if it failed.

        A command that replaces the whole state returns one `StateReplaced`.

        Called immediately after `apply`. The changes depend only on the commands, and are equal on every replica.
        """
        ...


@runtime_checkable
class SupportsChangeHistory(SupportsChanges, Protocol):
    """An optional extension of `SupportsChanges`: the state itself holds the latest changes, also in snapshots.

    So every replica can serve a watch from an earlier index on, also after a restart. Without this extension a replica
    remembers the changes since its start, within its own bounds.
    """

    def first_change_index(self) -> int:
        """The first log index of which all changes are kept, those of all later ones, too. It must be cheap."""
        ...

    def changes_from(self, index: int) -> tuple[int, Sequence[Change]] | None:
        """The first entry at this index or later that changed something: its index, and all its changes in order.

        None if there is none. The index is not below `first_change_index`.
        """
        ...


class WatchFilter(Protocol):
    """What one watch receives. With a `last_cost` (`SupportsWorkCost`), it reports the cost of the last `notice`.

    Attributes:
        topic: only changes with this topic are passed to `notice`.
    """

    @property
    def topic(self) -> str: ...

    def notice(self, change: Change, *, live: bool) -> str | None:
        """Return the text for the client, usually `change.body`; None to skip the change.

        Args:
            change: has the topic.
            live: whether the state is the one right after the command that made the change. If not, the change is an
                old one, and the state must not be used.
        """
        ...


class MakesNotices(Protocol):
    """The part of a `WatchFilter` that notices need. What it makes is not checked yet."""

    def notice(self, change: Change, *, live: bool) -> object:
        """See `WatchFilter.notice`."""
        ...


@runtime_checkable
class SupportsWatchRequests(SupportsChanges, Protocol):
    """An optional extension of `SupportsChanges`. Without it, a request to watch is the topic itself."""

    def watch_filter(self, request: str, *, resumes: bool) -> WatchFilter:
        """Return what a watch with this request receives, according to the current state.

        Args:
            request: what to watch.
            resumes: whether the watch continues an earlier one. Then it must receive the changes since, although what
                it names may be gone by now.

        Raises:
            qcore.errors.StoreError: the request is invalid; the client receives the text.
        """
        ...


@runtime_checkable
class SupportsWatchPermissions(Protocol):
    """An optional extension of `SupportsWatchRequests`: it checks permissions in more detail than the action `read`."""

    def watch_filter_as(
        self, request: str, permissions: Callable[[], Permissions | None], *, resumes: bool
    ) -> WatchFilter:
        """As `watch_filter`, for a user.

        Args:
            request, resumes: see `watch_filter`.
            permissions: what the user may do at the moment of the call; it may be another object for each change. None
                allows everything. A change that the user may not read must not be passed on. If the user may no longer
                watch, `notice` raises `PermissionDenied`, which ends the watch.

        Raises:
            qcore.errors.StoreError: see `watch_filter`; or the user may not watch this.
        """
        ...


def with_inner(machine: object) -> tuple[object, object]:
    """The machine, and the one that it wraps as its `inner`, or None: a wrapper need not repeat each extension."""
    return machine, getattr(machine, "inner", None)


def expiring_part(machine: object) -> SupportsExpiry | None:
    """The machine, or the one that it wraps as its `inner`, if parts of its state expire."""
    for each in with_inner(machine):
        if isinstance(each, SupportsExpiry):
            return each
    return None


def counted_part(machine: StateMachine) -> SupportsStateSize | None:
    """The machine, or the one that it wraps as its `inner`, if it counts the bytes of its state."""
    for each in with_inner(machine):
        if isinstance(each, SupportsStateSize):
            return each
    return None


def version_support(machine: StateMachine, rules_max: int = LATEST_RULES) -> VersionSupport:
    """Return what a program with this machine can apply.

    Args:
        machine: the state machine.
        rules_max: the newest apply rules to declare.

    Raises:
        ConfigError: the machine declares no valid name or versions, or its `apply` is that of 0.1.0. The text names
            what to write instead.
    """
    kind = type(machine).__name__
    name: object = getattr(machine, "name", None)
    versions: object = getattr(machine, "versions", None)
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ConfigError(
            f"state machine {kind} declares the name {name!r}; give its class a name of 1 to 64 letters, digits, "
            '`-` or `_` that begins with a letter, for example: name = "counter" (a file path is not a name)'
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
            pass  # in Python `True` is an int, but it is not a version
        case (int() as low, int() as high) if 1 <= low <= high <= _MAX_VERSION:
            return VersionSupport(1, rules_max, name, low, high)
    raise ConfigError(
        f"state machine {kind} ({name}) declares the versions {versions!r}; give its class the first and the last "
        "version that it can apply, for example: versions = (1, 1)"
    )
