"""Ends a command whose run stalls: a machine, program or check of the user that never returns."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Final, TypeAlias

import typer

from qcore.cli.exits import ExitCode
from qcore.errors import QcoreError
from qcore.sim.running_code import CodePlace, users_place

if TYPE_CHECKING:
    from qcore.sim.world.clock.engine import Engine

StallTimeoutOption: TypeAlias = Annotated[
    float,
    typer.Option(
        "--stall-timeout",
        metavar="SECONDS",
        min=0,
        help="End with an error if a machine, program or check lets the run stand still for so long. 0: never.",
    ),
]
#: The default of `--stall-timeout`, seconds.
STALL_TIMEOUT_S: Final = 30.0
#: How often the watch looks, seconds; more often for a short timeout.
_LOOK_S: Final = 1.0
#: How long the interrupted code has to end before the process ends without it, seconds.
_GRACE_S: Final = 2.0
#: What interrupts the run. It is not SIGINT, whose handler may only take note of it.
_SIGNAL: Final = signal.SIGUSR2
#: In the code of a debugger a run may stand still.
_DEBUGGERS: Final = ("bdb", "pydevd")
#: The modules that start runs.
_COMMANDS: Final = "qcore.cli.sim."


class RunStalled(QcoreError, code="RunStalled"):
    """The user's code has not returned, so the run stood still."""


@contextmanager
def stall_watch(timeout_s: float) -> Iterator[None]:
    """Watch the run that this thread executes meanwhile. It stalls if it stays in one call of the user's code.

    The watch interrupts the thread like Ctrl-C. If the user's code catches that, the process ends.

    Args:
        timeout_s: how long the run may stand still, in seconds; 0 for any time.

    Raises:
        RunStalled: it stood still for longer.
    """
    if timeout_s == 0 or threading.current_thread() is not threading.main_thread():
        yield
        return
    watch = _Watch(timeout_s)
    before = signal.signal(_SIGNAL, _interrupt)
    watch.start()
    try:
        yield
    except KeyboardInterrupt:
        if watch.found:
            raise RunStalled(watch.found) from None
        raise
    finally:
        watch.ended.set()
        signal.signal(_SIGNAL, before)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


class _Watch(threading.Thread):
    """Looks at the stack of the thread that made it.

    Attributes:
        ended: set once the watched code has ended.
        found: what is wrong; empty until the run stalls.
    """

    def __init__(self, timeout_s: float) -> None:
        super().__init__(name="stall-watch", daemon=True)
        self.ended = threading.Event()
        self.found = ""
        self._timeout_s = timeout_s
        self._watched = threading.get_ident()

    def run(self) -> None:
        """Look until the watched code ends or stalls."""
        look_s = min(_LOOK_S, self._timeout_s / 4)
        stalled_s, looked_s = 0.0, time.monotonic()
        before: object = None
        while not self.ended.wait(look_s):
            now_s = time.monotonic()
            # A computer that slept, or a process that was stopped, has not stalled.
            passed_s, looked_s = min(now_s - looked_s, 2 * look_s), now_s
            position = _position(self._frames())
            stalled_s = stalled_s + passed_s if position is not None and position == before else 0.0
            before = position
            if stalled_s >= self._timeout_s:
                self._end()
                return

    def _frames(self) -> list[FrameType]:
        """The stack of the watched thread below its command, the deepest frame first."""
        frames: list[FrameType] = []
        frame = sys._current_frames().get(self._watched)
        while frame is not None and not _module(frame).startswith(_COMMANDS):
            frames.append(frame)
            frame = frame.f_back
        return frames

    def _end(self) -> None:
        self.found = _report(self._frames(), self._timeout_s)
        signal.pthread_kill(self._watched, _SIGNAL)
        if not self.ended.wait(_GRACE_S):
            os.write(2, f"error: {self.found}\n".encode())
            os._exit(ExitCode.FAILED)


def _position(frames: list[FrameType]) -> object:
    """What changes as the run makes progress; None where it may stay.

    Within an event that is the simulated time. Before the first event and after the last one it is the call of the
    user's code: a judge calls a check or a model again and again. Code of qcore alone, such as the search for a linear
    order, may take any time there.
    """
    if any(_module(frame).startswith(_DEBUGGERS) for frame in frames):
        return None
    engine = _running_engine()
    if engine is not None:
        return engine.now
    return next((frame for frame in reversed(frames) if _place(frame).is_users), None)


def _report(frames: list[FrameType], timeout_s: float) -> str:
    """The text of the error."""
    engine = _running_engine()
    when = "before its first event or after its last one"
    if engine is not None:
        when = f"at {engine.now / 1000:.3f} ms of simulated time"
    place = users_place([_place(frame) for frame in frames])
    return (
        f"the run stands still {when}, in {place}, for {timeout_s:g} s: state machines, checks and programs must "
        "return; allow more time with --stall-timeout"
    )


def _running_engine() -> Engine | None:
    # Late: a command starts without the simulator.
    from qcore.sim.world.clock.engine import running_engine

    return running_engine()


def _place(frame: FrameType) -> CodePlace:
    return CodePlace(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name)


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))
