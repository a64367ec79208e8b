"""`stop_on_signals`: what a process of a node does on SIGTERM, SIGINT and SIGHUP."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from typing import Final

from qcore.node.observability.logs import FINAL_FLUSH_S, NodeLog
from qcore.node.process.early_hangup import EarlyHangup, has_terminal

#: The exit code after a second signal.
EXIT_FORCED: Final = 130

#: A signal repeated within this time counts as one signal, seconds.
_REPEAT_S: Final = 0.2


def stop_on_signals(log: NodeLog, reload: Callable[[], None], early: EarlyHangup) -> asyncio.Event:
    """Return an event that the first SIGTERM or SIGINT sets. A second one exits immediately.

    `timeout` of coreutils signals the process and then its group, so a repetition within `_REPEAT_S` does not count.

    SIGHUP calls `reload`. If the terminal of the process has closed, SIGHUP stops the node instead. A terminal that
    closes often sends SIGHUP twice, once from the kernel and once from the shell, so SIGHUP never counts as the second
    signal. If SIGHUP is ignored at the start, as under `nohup`, it stays ignored.

    Args:
        log: gets a line for each signal.
        reload: called for SIGHUP.
        early: the SIGHUP that has arrived before, which counts now.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    had_terminal = has_terminal()
    first: tuple[signal.Signals, float] | None = None

    def on_signal(number: signal.Signals) -> None:
        nonlocal first
        if first is None:
            first = number, loop.time()
        elif first[0] != number or loop.time() - first[1] >= _REPEAT_S:
            log.warning("second signal: exit immediately", signal=number.name)
            log.flush(FINAL_FLUSH_S)
            os._exit(EXIT_FORCED)
        begin_stop(number)

    def on_hangup() -> None:
        if had_terminal and not has_terminal():
            begin_stop(signal.SIGHUP)
        elif not stop.is_set():
            reload()

    def begin_stop(number: signal.Signals) -> None:
        if not stop.is_set():
            log.info("signal: shutting down", signal=number.name)
            stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        loop.add_signal_handler(signal.SIGHUP, on_hangup)
    if early.has_arrived:
        on_hangup()
    return stop
