"""`ProcessLoop`: the event loop of one life of a process, which can be paused, interrupted and killed.

`ProgramLoop` is that of a client program whose callbacks take no simulated time. `HostLoop` is the other one.
"""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from qcore.sim.world.clock.engine import Engine
from qcore.sim.world.programs.sim_loop import SimLoop, SimTask

#: So often a coroutine of a killed process is closed: each time, it may wait for something else in a `finally`.
_CLOSE_ATTEMPTS: Final = 100


class ProcessLoop(SimLoop):
    """The event loop of one process.

    Args:
        engine: the simulated clock.

    Attributes:
        is_abandoned: whether the process was killed.
    """

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self.is_abandoned = False
        self._interruption: Callable[[], object] | None = None
        self._callbacks_left = 0

    @property
    def paused(self) -> bool:
        """Whether the process is frozen."""
        raise NotImplementedError

    def pause(self) -> None:
        """Freeze the process: none of its code runs."""
        raise NotImplementedError

    def resume(self) -> None:
        """Let the process continue. Its timers are late."""
        raise NotImplementedError

    # -- interruptions --------------------------------------------------------------------------------

    def interrupt_after(self, callbacks: int, act: Callable[[], object]) -> None:
        """Call `act` between two callbacks, when so many more have run; now if it is 0. It replaces an earlier one."""
        if callbacks:
            self._interruption, self._callbacks_left = act, callbacks
        else:
            self._interruption = None
            act()

    def _count_callback(self) -> None:
        """A callback has run."""
        self._callbacks_left -= 1
        if not self._callbacks_left and self._interruption is not None:
            act, self._interruption = self._interruption, None
            act()

    # -- the end --------------------------------------------------------------------------------------

    def abandon(self) -> None:
        """Stop for ever, because the process is killed. No code of it runs any more, and no error is reported.

        Its coroutines are kept until `close`, because Python runs the `finally` blocks of a coroutine that is dropped.
        """
        self._closed = self.is_abandoned = True
        self._interruption = None
        self.on_error = lambda _owner, _error, _what: None

    def lost_errors(self) -> list[BaseException]:
        """The errors of tasks that nothing has retrieved."""
        tasks = [task for task in self._failed if task._log_traceback]
        return [error for task in tasks if (error := task.exception()) is not None]

    def close(self) -> None:
        """See `SimLoop.close`. The coroutines of a killed process are closed completely.

        Nothing that they do in a `finally` has any effect, and errors that they raise are those of no process.
        """
        if self.is_abandoned:
            with self.entered(), warnings.catch_warnings():
                warnings.simplefilter(
                    "ignore", RuntimeWarning
                )  # of coroutines that a `finally` makes
                for _ in range(_CLOSE_ATTEMPTS):
                    tasks, self._tasks = self._tasks, {}
                    if not tasks:
                        break
                    for task in tasks:
                        _close_completely(task)
            self._failed.clear()
        super().close()


def _close_completely(task: SimTask[Any]) -> None:
    """Close the coroutine of a task, however often it waits in its `finally` blocks."""
    task._log_destroy_pending = False  # type: ignore[attr-defined]  # else asyncio logs it
    coro: Any = task.get_coro()
    for _ in range(_CLOSE_ATTEMPTS):
        if coro is None or getattr(coro, "cr_frame", None) is None:
            return
        try:
            task.context.run(coro.close)
        except (Exception, SystemExit, asyncio.CancelledError):  # noqa: BLE001  # the process is dead, so nothing reports its errors
            continue


class ProgramLoop(ProcessLoop):
    """The event loop of one life of a client program, whose callbacks take no simulated time."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self._paused = False
        #: The timers that became due during a pause.
        self._late: list[asyncio.TimerHandle] = []

    @property
    def paused(self) -> bool:
        """See `ProcessLoop`."""
        return self._paused

    def pause(self) -> None:
        """See `ProcessLoop`."""
        self._paused = True

    def resume(self) -> None:
        """See `ProcessLoop`."""
        with self.resumed():
            return

    @contextmanager
    def resumed(self) -> Iterator[None]:
        """Let the process continue. What is done within the block comes before the timers that became due."""
        self._paused = False
        yield
        self._ready.extend(self._late)
        self._late.clear()
        if self._ready and not self._turn_is_due:
            self._turn_is_due = True
            self._engine.after(0, self._turn)

    def _timer_is_due(self, handle: asyncio.TimerHandle) -> None:
        if self._paused and not self._closed:
            self._late.append(handle)
        else:
            super()._timer_is_due(handle)

    def _add(self, handle: asyncio.Handle) -> None:
        if not self._paused:
            super()._add(handle)
        elif not self._closed:
            self._ready.append(handle)

    def _turn(self) -> None:
        if self._paused:
            self._turn_is_due = False
        else:
            super()._turn()

    def run_ready(self) -> bool:
        """See `SimLoop.run_ready`. A pause or a kill between two callbacks leaves the rest."""
        ready = self._ready
        left = len(ready)
        ran = False
        with self.entered():
            while left and not self._paused and not self._closed:
                left -= 1
                handle = ready.popleft()
                if not handle.cancelled():
                    ran = True
                    handle._run()
                    if self._interruption is not None:
                        self._count_callback()
        return ran


def new_program_loop(engine: Engine) -> ProgramLoop:
    """An event loop for one life of a client program."""
    return ProgramLoop(engine)  # type: ignore[abstract]  # `REFUSED` has the methods that seem to be missing
