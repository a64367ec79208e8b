"""`SyncClient`: the client for programs without asyncio.

    with SyncClient(["127.0.0.1:8080"]) as client:
        ada = client.create_entity("User", "ada")
        print(client.read(ada, "Email"))

Each method is the method of `Client` with the same name, run to its end. The client has a thread with a separate
event loop, so its methods work in any thread, also in a Jupyter notebook and inside a running event loop.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from concurrent.futures import CancelledError, Future
from pathlib import Path
from types import TracebackType
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeVar

from qcore.client.client import Client
from qcore.client.sessions.session import ClientSession
from qcore.client.synchronous.sync_facade import (
    SyncFacade,
    SyncIterator,
    Undo,
    sync_iterator,
    sync_method,
    sync_object,
)
from qcore.client.watching.changes import WatchPosition
from qcore.client.watching.watch import Watch
from qcore.errors import ConfigError
from qcore.security.tls import TlsFiles
from qcore.transport.trace_context import RequestTracer

_P = ParamSpec("_P")
_A = TypeVar("_A")
_C = TypeVar("_C")
_R = TypeVar("_R")


class SyncWatch(SyncIterator[Watch[_C]]):
    """Changes in the order of the log, each once: see `Watch`. Made by `SyncClient.watch`.

        with client.watch(entity=user, field_type="Email") as changes:
            for change in changes:
                print(change.current_value)

    It is registered when the context is entered or the iteration begins. Without a context, call `close` at the end.
    """

    @property
    def position(self) -> WatchPosition | None:
        """See `Watch.position`."""
        return self._wrapped.position


def _watch(
    method: Callable[Concatenate[_A, _P], Watch[_C]],
) -> Callable[Concatenate[SyncFacade[_A], _P], SyncWatch[_C]]:
    """`sync_object` for `Client.watch`: with one argument, mypy keeps the overloads of the method."""
    return sync_object(method, SyncWatch)


class _Operation(Generic[_R]):
    """A coroutine that the thread of a client runs. `asyncio.run_coroutine_threadsafe` would not give its task.

    Args:
        coroutine: the coroutine.
        undo, is_cleanup: see `RunsCoroutines.run`.
        interrupted: the tasks that go on after Ctrl-C.

    Attributes:
        outcome: its result, for another thread.
    """

    def __init__(
        self,
        coroutine: Coroutine[Any, Any, _R],
        undo: Undo[_R] | None,
        is_cleanup: bool,
        interrupted: set[asyncio.Task[Any]],
    ) -> None:
        self._coroutine = coroutine
        self._undo = undo
        self._is_cleanup = is_cleanup
        self._interrupted = interrupted
        self._task: asyncio.Task[_R] | None = None
        self.outcome: Future[_R] = Future()

    def start(self) -> None:
        """Start the coroutine, in the thread of the event loop."""
        self._task = asyncio.get_running_loop().create_task(self._coroutine)
        self._task.add_done_callback(self._finish)

    def interrupt(self) -> None:
        """End it, in the thread of the event loop. No caller gets its result."""
        if self._task is None and self._is_cleanup:
            self.start()
        if self._task is None:
            self._coroutine.close()
            return
        if not self._is_cleanup:
            self._task.cancel()
        self._run_on(self._task)
        self._task.add_done_callback(self._undo_result)

    def _finish(self, task: asyncio.Task[_R]) -> None:
        if task.cancelled():
            self.outcome.cancel()
            return
        error = task.exception()
        if error is None:
            self.outcome.set_result(task.result())
        else:
            self.outcome.set_exception(error)

    def _undo_result(self, task: asyncio.Task[_R]) -> None:
        if self._undo is not None and not task.cancelled() and task.exception() is None:
            self._run_on(task.get_loop().create_task(self._undo(task.result())))

    def _run_on(self, task: asyncio.Task[Any]) -> None:
        self._interrupted.add(task)
        task.add_done_callback(self._interrupted.discard)


class SyncClient(SyncFacade[Client]):
    """A client of a cluster, for programs without asyncio. Use it as a context manager, or call `close`.

    Ctrl-C ends the operation that waits. A write that was interrupted may still take effect. `close` waits until what
    was interrupted has cleaned up, such as left the line of a lock.

    Args:
        endpoints: `host:port` of some nodes.
        timeout_s, attempt_timeout_s, silent_after_s, exactly_once, admin, tls: see `Client`.
        token, token_file, user, password: see `Client`.
        tracer: see `Client`. The span that is current in the calling thread is the parent.

    Raises:
        ConfigError: an endpoint is not `host:port`, or there is none; or a file for TLS cannot be used.
    """

    def __init__(
        self,
        endpoints: Sequence[str],
        *,
        timeout_s: float = 15.0,
        attempt_timeout_s: float = 8.0,
        silent_after_s: float = 1.0,
        exactly_once: bool = True,
        admin: bool = False,
        tls: TlsFiles | None = None,
        token: str | None = None,
        token_file: Path | str | None = None,
        user: str | None = None,
        password: str | None = None,
        tracer: RequestTracer | None = None,
    ) -> None:
        client = Client(
            endpoints,
            timeout_s=timeout_s,
            attempt_timeout_s=attempt_timeout_s,
            silent_after_s=silent_after_s,
            exactly_once=exactly_once,
            admin=admin,
            tls=tls,
            token=token,
            token_file=token_file,
            user=user,
            password=password,
            tracer=tracer,
        )
        super().__init__(client, self)
        #: Operations that Ctrl-C has ended, as long as they clean up.
        self._interrupted: set[asyncio.Task[Any]] = set()
        self._loop = asyncio.new_event_loop()
        # A daemon: a program that forgets `close` must still be able to end.
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="qcore-client", daemon=True
        )
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection and end the thread; operations in progress fail. May be called again."""
        if self._loop.is_closed():
            return
        self.run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _close(self) -> None:
        while self._interrupted:
            # They clean up: who waited for a lock, for example, must leave the line while there are connections.
            await asyncio.wait(self._interrupted)
        await self._wrapped.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def asynchronous(self) -> Client:
        """The client whose methods this one runs, for coroutines that use it: pass these to `run`."""
        return self._wrapped

    def run(
        self,
        coroutine: Coroutine[Any, Any, _R],
        *,
        undo: Undo[_R] | None = None,
        is_cleanup: bool = False,
    ) -> _R:
        """Run a coroutine in the thread of this client, and return its result.

        Ctrl-C cancels the coroutine, and raises `KeyboardInterrupt` in the calling thread.

        Args:
            coroutine: the coroutine.
            undo: makes the coroutine that gives the result back if Ctrl-C comes when there is one already.
            is_cleanup: whether the coroutine gives something back. Then Ctrl-C ends only the wait for it.

        Raises:
            ConfigError: this client is closed; or the call comes from the thread of this client, such as from a
                callback. It would wait for itself for ever.
        """
        if self._loop.is_closed():
            coroutine.close()
            raise ConfigError("this SyncClient is closed: make another one")
        if threading.current_thread() is self._thread:
            coroutine.close()
            raise ConfigError(
                "this call comes from the thread of this SyncClient, which runs callbacks, predicates and functions of "
                "updates, and it would wait for itself: let the callback give the work to another thread, for example "
                "by a queue.Queue, or use another SyncClient there"
            )
        operation = _Operation(coroutine, undo, is_cleanup, self._interrupted)
        try:
            self._loop.call_soon_threadsafe(operation.start)
            return operation.outcome.result()
        except CancelledError:
            raise ConfigError("the SyncClient was closed while this operation waited") from None
        except BaseException:
            # Ctrl-C: the operation must not go on unseen.
            self._loop.call_soon_threadsafe(operation.interrupt)
            raise

    def iterate(self, items: AsyncIterator[_R]) -> Iterator[_R]:
        """Read an asynchronous iterator in the thread of this client."""

        async def following() -> tuple[_R] | None:
            async for item in items:
                return (item,)
            return None

        async def close() -> None:
            closing = getattr(items, "aclose", None)
            if closing is not None:
                await closing()

        try:
            while (found := self.run(following())) is not None:
                yield found[0]
        finally:
            if not self._loop.is_closed():
                self.run(close(), is_cleanup=True)

    def session(self, *, lifetime_s: float = 60.0) -> SyncSession:
        """A session as a context manager, for writes that take effect once. See `Client.open_session`."""
        return SyncSession(self, lifetime_s)

    # -- entities ------------------------------------------------------------------------------------

    create_entity = sync_method(Client.create_entity)
    delete_entity = sync_method(Client.delete_entity)
    entity_exists = sync_method(Client.entity_exists)
    field_exists = sync_method(Client.field_exists)
    read = sync_method(Client.read)
    read_field = sync_method(Client.read_field)
    read_fields = sync_method(Client.read_fields)
    get_entity = sync_method(Client.get_entity)
    write = sync_method(Client.write)
    update = sync_method(Client.update)
    bulk = sync_method(Client.bulk)
    rename_entity = sync_method(Client.rename_entity)
    move_entity = sync_method(Client.move_entity)
    find_by_path = sync_method(Client.find_by_path)
    get_children = sync_method(Client.get_children)
    children = sync_iterator(Client.children)
    find_entities = sync_method(Client.find_entities)
    entities = sync_iterator(Client.entities)

    # -- types and the whole state -------------------------------------------------------------------

    set_schema = sync_method(Client.set_schema)
    get_schema = sync_method(Client.get_schema)
    set_field_schema = sync_method(Client.set_field_schema)
    get_field_schema = sync_method(Client.get_field_schema)
    get_entity_types = sync_method(Client.get_entity_types)
    entity_types = sync_iterator(Client.entity_types)
    take_snapshot = sync_method(Client.take_snapshot)
    restore_snapshot = sync_method(Client.restore_snapshot)

    # -- other state machines ------------------------------------------------------------------------

    execute = sync_method(Client.execute)
    perform = sync_method(Client.perform)
    open_session = sync_method(Client.open_session)
    session_request = sync_method(Client.session_request)

    # -- changes -------------------------------------------------------------------------------------

    watch = _watch(Client.watch)
    get_notification_configs = sync_method(Client.get_notification_configs)

    # -- users ---------------------------------------------------------------------------------------

    set_user = sync_method(Client.set_user)
    delete_user = sync_method(Client.delete_user)
    revoke_tokens = sync_method(Client.revoke_tokens)
    set_role = sync_method(Client.set_role)
    delete_role = sync_method(Client.delete_role)
    list_users = sync_method(Client.list_users)
    list_roles = sync_method(Client.list_roles)
    create_token = sync_method(Client.create_token)
    create_join_token = sync_method(Client.create_join_token)
    list_join_tokens = sync_method(Client.list_join_tokens)
    delete_join_token = sync_method(Client.delete_join_token)
    who_am_i = sync_method(Client.who_am_i)

    # -- the cluster ---------------------------------------------------------------------------------

    init = sync_method(Client.init)
    add_learner = sync_method(Client.add_learner)
    change_membership = sync_method(Client.change_membership)
    move_member = sync_method(Client.move_member)
    transfer_leader = sync_method(Client.transfer_leader)
    reinstall_member = sync_method(Client.reinstall_member)
    upgrade_machine = sync_method(Client.upgrade_machine)
    save_snapshot = sync_method(Client.save_snapshot)
    leader_metrics = sync_method(Client.leader_metrics)
    get_metrics = sync_method(Client.get_metrics)
    request = sync_method(Client.request)


class SyncSession:
    """A session of a `SyncClient`, as a context manager that gives the `session` option of its methods."""

    def __init__(self, client: SyncClient, lifetime_s: float) -> None:
        self._client = client
        self._lifetime_s = lifetime_s
        self._opened: ClientSession | None = None

    def __enter__(self) -> ClientSession:
        self._opened = self._client.open_session(lifetime_s=self._lifetime_s)
        return self._opened

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._opened is not None, "entered"
        self._client.run(self._opened.__aexit__(kind, error, trace), is_cleanup=True)
