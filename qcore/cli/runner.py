"""Runs the coroutine of a command, and turns Ctrl-C, SIGTERM and SIGHUP into the exit code for interruption."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Coroutine
from types import FrameType
from typing import Final, TypeVar

import typer

from qcore.cli.exits import ExitCode

#: The kernel sends the signal before it shows the `^C`, seconds.
_ECHO_S: Final = 0.02

_T = TypeVar("_T")


def run(coroutine: Coroutine[object, object, _T]) -> _T:
    """Run the coroutine to its end and return its result.

    A second signal ends the process immediately.

    Raises:
        typer.Exit: Ctrl-C, SIGTERM or SIGHUP interrupted the coroutine, and it has cleaned up.
    """
    try:
        return asyncio.run(_until_terminated(coroutine))
    except (KeyboardInterrupt, asyncio.CancelledError):
        raise typer.Exit(ExitCode.INTERRUPTED) from None


def end_interrupted_line() -> None:
    """Begin a new line after the `^C` that a terminal shows. (No `print`: a signal may have interrupted one.)"""
    if os.isatty(2):
        time.sleep(_ECHO_S)
        os.write(2, b"\n")


async def _until_terminated(coroutine: Coroutine[object, object, _T]) -> _T:
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    assert task is not None

    handled = [signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # ignored under nohup
        handled.append(signal.SIGHUP)

    def on_signal() -> None:
        for number in handled:
            loop.remove_signal_handler(number)
        task.cancel()

    if threading.current_thread() is threading.main_thread():  # only this thread may set handlers
        for number in handled:
            loop.add_signal_handler(number, on_signal)
        before = signal.getsignal(signal.SIGINT)
        if callable(before):  # asyncio's, which cancels this task

            def on_interrupt(number: int, frame: FrameType | None) -> None:
                end_interrupted_line()
                before(number, frame)

            signal.signal(signal.SIGINT, on_interrupt)
            try:
                return await coroutine
            finally:
                signal.signal(signal.SIGINT, before)
    return await coroutine
