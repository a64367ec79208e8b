"""`EarlyHangup`: SIGHUP while a process of a node starts, before its event loop runs."""

from __future__ import annotations

import os
import signal
from types import FrameType
from typing import Self


class EarlyHangup:
    """Notes SIGHUP, which would end the process: a tool that rotates logs must not end a node that reads a large state.

    If the terminal of the process has closed, SIGHUP still ends it. If SIGHUP is ignored, as under `nohup`, or the
    program handles the signal itself, nothing changes.

    Attributes:
        has_arrived: whether there was such a signal.
    """

    def __init__(self) -> None:
        self.has_arrived = False
        self._had_terminal = has_terminal()

    @classmethod
    def begin(cls) -> Self:
        """Note the signal from now on. A second call returns the same object."""
        handler = signal.getsignal(signal.SIGHUP)
        earlier = getattr(handler, "__self__", None)
        if isinstance(earlier, cls):
            return earlier
        made = cls()
        if handler is signal.SIG_DFL:
            signal.signal(signal.SIGHUP, made._note)
        return made

    def end(self) -> None:
        """Let SIGHUP end the process again, unless another handler has replaced this one."""
        if signal.getsignal(signal.SIGHUP) == self._note:
            signal.signal(signal.SIGHUP, signal.SIG_DFL)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._had_terminal and not has_terminal():
            signal.signal(signal.SIGHUP, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGHUP)
        self.has_arrived = True


def has_terminal() -> bool:
    """Whether this process has a terminal that controls it, and that is still open."""
    try:
        file = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return False
    os.close(file)
    return True
