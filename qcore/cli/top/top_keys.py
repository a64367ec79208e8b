"""`keys_of_terminal`: the keys that are pressed, without Enter; and the terminal as it was, whatever happens."""

from __future__ import annotations

import asyncio
import os
import sys
import termios
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def keys_of_terminal(on_key: Callable[[str], None]) -> Iterator[None]:
    """Within this context, call `on_key` with each key. Does nothing if the input is no terminal.

    Ctrl-C still interrupts the command. Use it inside the event loop.
    """
    file = sys.stdin.fileno() if sys.stdin is not None and sys.stdin.isatty() else -1
    if file < 0:
        yield
        return
    before = termios.tcgetattr(file)
    loop = asyncio.get_running_loop()

    def read() -> None:
        pressed = os.read(file, 64)
        if not pressed:  # the terminal is gone
            loop.remove_reader(file)
        if not pressed.startswith(b"\x1b"):  # an arrow or function key
            for key in pressed.decode(errors="replace"):
                on_key(key)

    tty.setcbreak(file)
    loop.add_reader(file, read)
    try:
        yield
    finally:
        loop.remove_reader(file)
        termios.tcsetattr(file, termios.TCSADRAIN, before)
