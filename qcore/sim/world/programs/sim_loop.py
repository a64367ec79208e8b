"""`SimLoop`: an asyncio event loop whose clock is the simulated one.

Tasks, timers, queues, locks and timeouts work as in any asyncio program, in simulated time. Everything that would leave
the simulation raises `NotSimulated`: sockets, threads, subprocesses, signals.

The order of everything is that in which it was scheduled. Tasks and futures have a number as their hash, so the order
of a set of them, such as `asyncio.wait` returns, does not depend on addresses in memory.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager
from contextvars import Context, copy_context
from functools import partial
from itertools import count
from typing import Any, Final, NoReturn, TypeVar, TypeVarTuple, Unpack
from weakref import WeakKeyDictionary

from qcore.sim.world.clock.engine import NEVER_US, Engine

T = TypeVar("T")
Args = TypeVarTuple("Args")

#: So many turns of the event loop without any simulated time are a loop that never ends.
MAX_TURNS_AT_ONE_TIME: Final = 100_000

_NO_NETWORK: Final = (
    "the only network here is the simulated one: ask the cluster through ctx.client, which uses it"
)
_NO_THREADS: Final = (
    "there are no threads here, because their order would differ from run to run: call the function directly, or "
    "await asyncio.sleep(seconds) to let simulated time pass"
)
_NO_PROCESSES: Final = "there are no processes here: keep what the program needs in its own memory"
_NO_SIGNALS: Final = "there are no signals here: end the program with `return` or with an error"
_RUNS_BY_ITSELF: Final = "the simulator runs this event loop: await what the program waits for"

#: What a simulated program cannot do, and what to use in its place.
REFUSED: Final = {
    **dict.fromkeys(
        (
            "create_connection",
            "create_server",
            "create_datagram_endpoint",
            "create_unix_connection",
            "create_unix_server",
            "connect_accepted_socket",
            "start_tls",
            "sendfile",
            "add_reader",
            "add_writer",
            "remove_reader",
            "remove_writer",
            "sock_accept",
            "sock_connect",
            "sock_recv",
            "sock_recv_into",
            "sock_recvfrom",
            "sock_recvfrom_into",
            "sock_sendall",
            "sock_sendfile",
            "sock_sendto",
            "getaddrinfo",
            "getnameinfo",
        ),
        _NO_NETWORK,
    ),
    **dict.fromkeys(("run_in_executor", "set_default_executor"), _NO_THREADS),
    **dict.fromkeys(
        ("subprocess_exec", "subprocess_shell", "connect_read_pipe", "connect_write_pipe"),
        _NO_PROCESSES,
    ),
    **dict.fromkeys(("add_signal_handler", "remove_signal_handler"), _NO_SIGNALS),
    **dict.fromkeys(("run_forever", "run_until_complete", "stop"), _RUNS_BY_ITSELF),
}


class NotSimulated(RuntimeError):
    """A simulated program asked for something that only a real process has."""


class SimFuture(asyncio.Future[T]):
    """A future with a number as its hash."""

    def __init__(self, number: int, loop: SimLoop) -> None:
        self._number = number
        super().__init__(loop=loop)

    def __hash__(self) -> int:
        return self._number


class SimTask(asyncio.Task[T]):
    """A task with a number as its hash.

    Attributes:
        owner: the client program that the task belongs to; 0 if it belongs to none.
        context: what its code runs in.
    """

    def __init__(
        self,
        number: int,
        owner: int,
        coro: Coroutine[Any, Any, T] | Generator[Any, None, T],
        loop: SimLoop,
        name: str,
        context: Context | None,
    ) -> None:
        self._number = number
        self.owner = owner
        self.context = copy_context() if context is None else context
        super().__init__(coro, loop=loop, name=name, context=self.context)

    def __hash__(self) -> int:
        return self._number


#: Learns of an error that no task of a program awaited: the owner, the error, what it was in.
OnError = Callable[[int, BaseException, str], None]


class SimLoop(asyncio.AbstractEventLoop):
    """The event loop of all client programs of a run.

    Args:
        engine: the simulated clock.

    Attributes:
        owner: the program whose code makes tasks now; see `SimTask`.
        on_error: learns of errors that nothing awaited.
        on_standstill: called if the programs take turns for ever while no simulated time passes. The loop has been
            stopped.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._ready: deque[asyncio.Handle] = deque()
        self._turn_is_due = False
        self._turns = 0
        self._turns_at_us = -1
        self._numbers = count(1)
        self._names = count(1)
        #: The unfinished tasks, in the order in which they began.
        self._tasks: dict[SimTask[Any], None] = {}
        self._generators: WeakKeyDictionary[Any, None] = WeakKeyDictionary()
        #: Tasks that ended with an error, which nothing may have retrieved yet.
        self._failed: list[SimTask[Any]] = []
        self._closed = False
        self.on_error: OnError = lambda _owner, _error, _what: None
        self.on_standstill: Callable[[], None] = lambda: None

    # -- time -----------------------------------------------------------------------------------------

    def time(self) -> float:
        """The simulated time, seconds since the start of the run."""
        return self._engine.now / 1e6

    # typeshed declares these three with `TypeVarTuple`, and so does this class.
    def call_soon(
        self,
        callback: Callable[[Unpack[Args]], object],
        *args: *Args,
        context: Context | None = None,
    ) -> asyncio.Handle:
        """See `asyncio.AbstractEventLoop`."""
        handle = asyncio.Handle(callback, args, self, context)
        self._add(handle)
        return handle

    def call_soon_threadsafe(
        self,
        callback: Callable[[Unpack[Args]], object],
        *args: *Args,
        context: Context | None = None,
    ) -> asyncio.Handle:
        """As `call_soon`: there is one thread."""
        return self.call_soon(callback, *args, context=context)

    def call_later(
        self,
        delay: float,
        callback: Callable[[Unpack[Args]], object],
        *args: *Args,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """See `asyncio.AbstractEventLoop`. Simulated seconds."""
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(
        self,
        when: float,
        callback: Callable[[Unpack[Args]], object],
        *args: *Args,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """See `asyncio.AbstractEventLoop`. Simulated seconds, rounded to microseconds."""
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        due_us = round(min(max(when * 1e6, 0.0), float(NEVER_US)))
        self._engine.at(due_us, partial(self._timer_is_due, handle))
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """`asyncio.TimerHandle` calls this. A cancelled timer stays, and does nothing when it is due."""

    def _timer_is_due(self, handle: asyncio.TimerHandle) -> None:
        if not handle.cancelled():
            self._add(handle)

    # -- turns ----------------------------------------------------------------------------------------

    def _add(self, handle: asyncio.Handle) -> None:
        if self._closed:
            return
        self._ready.append(handle)
        if not self._turn_is_due:
            self._turn_is_due = True
            self._engine.after(0, self._turn)

    def _turn(self) -> None:
        """Run what is ready now. What this makes ready runs in the next turn."""
        self._turn_is_due = False
        if self._closed or self._stands_still():
            return
        self.run_ready()

    def _stands_still(self) -> bool:
        now = self._engine.now
        if now != self._turns_at_us:
            self._turns_at_us, self._turns = now, 0
        self._turns += 1
        if self._turns < MAX_TURNS_AT_ONE_TIME:
            return False
        self.close()
        self.on_standstill()
        return True

    def run_ready(self) -> bool:
        """Run what is ready now, once. Returns whether anything was."""
        ready, self._ready = self._ready, deque()
        with self.entered():
            for handle in ready:
                if not handle.cancelled():
                    handle._run()
        return bool(ready)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Within the block, this is the running event loop.

        The run itself may be part of a program that has an event loop, such as a notebook. It is restored.
        """
        before = asyncio._get_running_loop()
        if before is self:
            yield
            return
        hooks = sys.get_asyncgen_hooks()
        # From 3.14 on, a thread has one current task, whichever event loop it belongs to.
        swap = getattr(asyncio.tasks, "_swap_current_task", None)
        task = swap(before, None) if swap is not None and before is not None else None
        asyncio._set_running_loop(self)
        sys.set_asyncgen_hooks(self._generator_begins, self._generator_is_dropped)
        try:
            yield
        finally:
            sys.set_asyncgen_hooks(*hooks)
            asyncio._set_running_loop(before)
            if swap is not None and before is not None:
                swap(before, task)

    def _generator_begins(self, generator: Any) -> None:
        self._generators[generator] = None

    def _generator_is_dropped(self, generator: Any) -> None:
        self._generators.pop(generator, None)
        if not self._closed:
            self.create_task(generator.aclose())

    # -- tasks and futures ----------------------------------------------------------------------------

    def create_future(self) -> asyncio.Future[Any]:
        """See `asyncio.AbstractEventLoop`."""
        return SimFuture(next(self._numbers), self)

    def create_task(
        self,
        coro: Coroutine[Any, Any, T] | Generator[Any, None, T],
        *,
        name: str | None = None,
        context: Context | None = None,
        owner: int | None = None,
    ) -> asyncio.Task[T]:
        """See `asyncio.AbstractEventLoop`.

        Args:
            coro, name, context: see there.
            owner: the program that the task belongs to; by default that of the current task.

        Raises:
            NotSimulated: `asyncio.as_completed` would begin coroutines in the order of their addresses in memory.
        """
        if _is_begun_by_as_completed():
            coro.close()
            raise NotSimulated(
                "asyncio.as_completed begins coroutines in an order that differs from run to run: give it tasks, "
                "[asyncio.create_task(each) for each in ...]"
            )
        if owner is None:
            current = asyncio.current_task(self) if asyncio._get_running_loop() is self else None
            owner = current.owner if isinstance(current, SimTask) else 0
        text = f"Task-{next(self._names)}" if name is None else name
        task = SimTask(next(self._numbers), owner, coro, self, text, context)
        self._tasks[task] = None
        task.add_done_callback(self._task_is_done)
        return task

    def _task_is_done(self, task: asyncio.Task[Any]) -> None:
        assert isinstance(task, SimTask)
        self._tasks.pop(task, None)
        if not task.cancelled() and task._log_traceback:
            self._failed.append(task)

    def tasks_of(self, owner: int) -> list[SimTask[Any]]:
        """The unfinished tasks of a program, in the order in which they began."""
        return [task for task in self._tasks if task.owner == owner]

    def report_failed_tasks(self) -> None:
        """Report the tasks that ended with an error which nothing has retrieved."""
        for task in self._failed:
            if task._log_traceback:
                error = task.exception()
                assert error is not None, "the task is not cancelled, and has an error"
                self.on_error(task.owner, error, "a task that nothing awaited")
        self._failed.clear()

    # -- errors, and the end --------------------------------------------------------------------------

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Report an error in a callback. Errors of tasks and futures are reported elsewhere."""
        error = context.get("exception")
        if isinstance(error, BaseException) and "handle" in context:
            self.on_error(0, error, "a callback")

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        """See `call_exception_handler`."""
        self.call_exception_handler(context)

    def set_exception_handler(self, handler: object) -> None:
        """Refuse: errors are reported as violations of the run."""
        raise NotSimulated("an error of a client program fails the run, so no handler can take it")

    def get_exception_handler(self) -> None:
        """There is none."""
        return

    def get_debug(self) -> bool:
        """False: the debug mode of asyncio measures real time."""
        return False

    def set_debug(self, enabled: bool) -> None:
        """Do nothing; see `get_debug`."""

    def get_task_factory(self) -> None:
        """There is none."""
        return

    def set_task_factory(self, factory: object) -> None:
        """Refuse: the order of tasks depends on their class."""
        raise NotSimulated("the simulator makes the tasks: leave out set_task_factory")

    def is_running(self) -> bool:
        """Whether the loop is not closed. It runs as long as the simulation does."""
        return not self._closed

    def is_closed(self) -> bool:
        """Whether the run is over."""
        return self._closed

    async def shutdown_asyncgens(self) -> None:
        """Close the asynchronous generators that are still open."""
        for generator in list(self._generators):
            await generator.aclose()

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:  # noqa: ASYNC109  # as in asyncio
        """Do nothing: there are no threads."""

    def close(self) -> None:
        """Drop everything that waits. The code after its `await` does not run."""
        self._closed = True
        self._ready.clear()
        tasks, self._tasks = self._tasks, {}
        with self.entered():
            for task in tasks:
                task._log_destroy_pending = False  # type: ignore[attr-defined]  # else asyncio logs each of them
                _close(task)


def new_loop(engine: Engine) -> SimLoop:
    """An event loop for the client programs of a run."""
    return SimLoop(engine)  # type: ignore[abstract]  # `REFUSED` has the methods that seem to be missing


def _close(task: SimTask[Any]) -> None:
    """Close the coroutine of a task, if it is not the one that runs now."""
    coro = task.get_coro()
    try:
        if coro is not None:
            coro.close()
    except (RuntimeError, ValueError):
        return  # it awaits something in its `finally`, or runs now


def _is_begun_by_as_completed() -> bool:
    frame = sys._getframe(2)
    for _ in range(4):
        code = frame.f_code
        if "asyncio" in code.co_filename and "as_completed" in code.co_qualname.lower().replace(
            "ascompleted", "as_completed"
        ):
            return True
        if frame.f_back is None:
            return False
        frame = frame.f_back
    return False


def _refusal(name: str, why: str) -> Callable[..., NoReturn]:
    def refuse(*_args: object, **_options: object) -> NoReturn:
        raise NotSimulated(f"a simulated client program cannot call {name}: {why}")

    refuse.__name__ = name
    return refuse


for _name, _why in REFUSED.items():
    setattr(SimLoop, _name, _refusal(_name, _why))
