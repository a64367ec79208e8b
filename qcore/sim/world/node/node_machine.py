"""The state machine of a simulated node: its creation, and the wrapper that reports its state hash."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, Protocol

from qcore.errors import StateMachineFailed, StoreError
from qcore.machines.entity.entity_store import EntityStore
from qcore.machines.interface import (
    ApplyContext,
    Change,
    StateMachine,
    SupportsChanges,
    SupportsGradualRestore,
    SupportsPermissions,
    SupportsWatchPermissions,
    SupportsWatchRequests,
    WatchFilter,
)
from qcore.machines.kv.kv_machine import KeyValueMachine
from qcore.machines.permissions import Permissions
from qcore.machines.register import RegisterMachine
from qcore.replica.machine_results import digest_of, exception_text

#: Every node takes its state hash at the multiples of this index, so that the hashes can be compared.
HASH_EVERY: Final = 8


class MachineObserver(Protocol):
    """Sees what the state machine of every node does, for checks of user-defined machines."""

    def applied(
        self, node: int, machine: StateMachine, command: str, context: ApplyContext, result: object
    ) -> None:
        """The machine of a node has applied a command. The result is not checked."""
        ...

    def queried(self, node: int, machine: StateMachine, query: str, result: object) -> None:
        """The machine of a node has answered a query. The result is not checked."""
        ...

    def query_raised(self, node: int, query: str, error: Exception) -> None:
        """The machine of a node raised something else than a `StoreError` on a query."""
        ...

    def restored(self, node: int, machine: StateMachine) -> None:
        """The machine of a node has been restored from a snapshot."""
        ...


class HashedMachine:
    """A state machine that reports its state hash at fixed indexes, for comparison between nodes.

    Args:
        node: the node that runs it.
        inner: the state machine.
        report: called with the index and the state hash.
        on_capture: called just before a snapshot is captured.
        observers: see what the machine does.

    Attributes:
        restored_hash: the state hash right after the last restore; empty before the first one.
    """

    __slots__ = (
        "_inner",
        "_node",
        "_observers",
        "_on_capture",
        "_report",
        "name",
        "restored_hash",
        "versions",
    )

    def __init__(
        self,
        node: int,
        inner: StateMachine,
        report: Callable[[int, str], object],
        on_capture: Callable[[], None],
        observers: Sequence[MachineObserver] = (),
    ) -> None:
        self._node = node
        self._inner = inner
        self._report = report
        self._on_capture = on_capture
        self._observers = list(observers)
        self.restored_hash = ""
        self.name = inner.name
        self.versions = inner.versions

    @property
    def inner(self) -> StateMachine:
        """The machine without the wrapper."""
        return self._inner

    # Any: what user code returns. The replica checks it; as a `str`, compiled code would raise for anything else.
    def apply(self, command: str, context: ApplyContext) -> Any:
        """Apply the command, and report the state hash if it is due at this index."""
        apply: Callable[[str, ApplyContext], object] = self._inner.apply
        result = apply(command, context)
        for observer in self._observers:
            observer.applied(self._node, self._inner, command, context, result)
        if context.index % HASH_EVERY == 0:
            self._report(context.index, self.state_hash())
        return result

    def query(self, query: str) -> Any:
        """The result of a query."""
        return self.query_as(query, None)

    def query_as(self, query: str, permissions: Permissions | None) -> Any:
        """The result of a query of a user with these permissions, as far as the machine checks them."""
        inner = self._inner
        try:
            if permissions is not None and isinstance(inner, SupportsPermissions):
                ask_as: Callable[[str, Permissions], object] = inner.query_as
                result = ask_as(query, permissions)
            else:
                ask: Callable[[str], object] = inner.query
                result = ask(query)
        except StoreError:
            raise
        except (
            Exception
        ) as error:  # user code may raise anything; the replica answers with its text
            for observer in self._observers:
                observer.query_raised(self._node, query, error)
            raise
        for observer in self._observers:
            observer.queried(self._node, self._inner, query, result)
        return result

    def restore(self, chunks: Iterable[str]) -> None:
        """Replace the whole state by that of a snapshot."""
        self._inner.restore(chunks)
        self._report_restore()

    def _report_restore(self) -> None:
        for observer in self._observers:
            observer.restored(self._node, self._inner)

    def state_hash(self) -> str:
        """The state hash.

        Raises:
            StateMachineFailed: the machine returned something other than a hexadecimal text.
        """
        return digest_of(self._inner)

    def snapshot(self) -> Iterable[str]:
        """The current state, in chunks."""
        self._on_capture()
        return self._inner.snapshot()

    def restore_gradually(self, chunks: Iterable[str]) -> Iterator[None]:
        """Restore in parts if the machine supports it, otherwise in one step, as without the wrapper."""
        if isinstance(self._inner, SupportsGradualRestore):
            yield from self._inner.restore_gradually(chunks)
        else:
            self._inner.restore(chunks)
        self.restored_hash = self.state_hash()
        self._report_restore()


class WatchableMachine(HashedMachine):
    """A `HashedMachine` whose changes can be watched.

    Args:
        node, inner, report, on_capture, observers: see `HashedMachine`.
        on_changes: called with the index of each command, right after it was applied.
    """

    __slots__ = ("_changing", "_on_changes", "last_changes")

    def __init__(
        self,
        node: int,
        inner: StateMachine,
        report: Callable[[int, str], object],
        on_capture: Callable[[], None],
        on_changes: Callable[[int, SupportsChanges], None],
        observers: Sequence[MachineObserver] = (),
    ) -> None:
        super().__init__(node, inner, report, on_capture, observers)
        assert isinstance(inner, SupportsChanges), "`hashed_machine` asks before"
        self.last_changes: Callable[[], Sequence[Change]] = inner.last_changes
        self._changing = inner
        self._on_changes = on_changes

    def apply(self, command: str, context: ApplyContext) -> Any:
        """Apply the command, and report what it changed."""
        result = super().apply(command, context)
        self._on_changes(context.index, self._changing)
        return result


class WatchRequestMachine(WatchableMachine):
    """A `WatchableMachine` that understands requests to watch.

    Args:
        node, inner, report, on_capture, on_changes, observers: see `WatchableMachine`.
        on_filter: called for each request that the machine accepts, with the request and another filter for it. So the
            checker's filter comes from the same state as the replica's, and shares nothing with it.
    """

    __slots__ = ("_on_filter", "_watching")

    def __init__(
        self,
        node: int,
        inner: StateMachine,
        report: Callable[[int, str], object],
        on_capture: Callable[[], None],
        on_changes: Callable[[int, SupportsChanges], None],
        on_filter: Callable[[str, WatchFilter], None],
        observers: Sequence[MachineObserver] = (),
    ) -> None:
        assert isinstance(inner, SupportsWatchRequests), "`hashed_machine` asks before"
        super().__init__(node, inner, report, on_capture, on_changes, observers)
        self._watching = inner
        self._on_filter = on_filter

    def watch_filter(self, request: str, *, resumes: bool) -> WatchFilter:
        """See `SupportsWatchRequests`."""
        return self.watch_filter_as(request, lambda: None, resumes=resumes)

    def watch_filter_as(
        self, request: str, permissions: Callable[[], Permissions | None], *, resumes: bool
    ) -> WatchFilter:
        """See `SupportsWatchPermissions`."""
        inner = self._inner

        def make() -> WatchFilter:
            if isinstance(inner, SupportsWatchPermissions):
                return inner.watch_filter_as(request, permissions, resumes=resumes)
            return self._watching.watch_filter(request, resumes=resumes)

        found = make()
        self._on_filter(request, make())
        return found


def hashed_machine(
    node: int,
    inner: StateMachine,
    report: Callable[[int, str], object],
    on_capture: Callable[[], None],
    on_changes: Callable[[int, SupportsChanges], None] | None,
    on_filter: Callable[[str, WatchFilter], None],
    observers: Sequence[MachineObserver] = (),
) -> HashedMachine:
    """Wrap a machine. The wrapper offers to watch changes if the machine does and `on_changes` is given."""
    if on_changes is not None and isinstance(inner, SupportsWatchRequests):
        return WatchRequestMachine(
            node, inner, report, on_capture, on_changes, on_filter, observers
        )
    if on_changes is not None and isinstance(inner, SupportsChanges):
        return WatchableMachine(node, inner, report, on_capture, on_changes, observers)
    return HashedMachine(node, inner, report, on_capture, observers)


def create_machine(make: Callable[[], StateMachine]) -> StateMachine:
    """A fresh state machine.

    Raises:
        StateMachineFailed: `make` raised. That stops the node, but not the run.
    """
    try:
        return make()
    except Exception as raised:  # user code may raise anything
        raise StateMachineFailed(
            f"making the state machine raised {type(raised).__name__}: {exception_text(raised)}"
        ) from raised


def machine_factory(name: str) -> Callable[[], StateMachine]:
    """The factory of a built-in state machine: `register`, `kv` or `entity`."""
    match name:
        case "entity":
            return EntityStore
        case "kv":
            return KeyValueMachine
        case _:
            return RegisterMachine
