"""`ServiceManager`: reports to systemd, or to another service manager with its protocol, `sd_notify(3)`.

The manager gives the address of a datagram socket in NOTIFY_SOCKET. Without this variable nothing is sent.

| message | when |
|---|---|
| `READY=1` | the node has read its data and listens, whether or not its cluster has a leader |
| `STATUS=` | role and term, and why the node cannot serve requests; sent when it changes |
| `WATCHDOG=1` | twice in each WATCHDOG_USEC, by the event loop: if the loop hangs, the manager restarts the node |
| `RELOADING=1` | SIGHUP arrived; `READY=1` follows when its work is done |
| `STOPPING=1` | the node stops |
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping
from typing import Final

from qcore.display import printable
from qcore.node.observability.logs import NodeLog
from qcore.node.runtime.periodic import PeriodicTask

#: How often the status is compared with the one sent last, seconds.
_STATUS_INTERVAL_S: Final = 1.0
#: The longest status, characters. A datagram has room for it.
_MAX_STATUS_CHARS: Final = 500


class ServiceManager:
    """Sends the messages. It never waits: a message that finds no room is lost.

    Args:
        environment: the variables of the process.
        status: returns what the node does now, in one line.
        log: gets one line if the manager cannot be reached.
    """

    def __init__(
        self, environment: Mapping[str, str], status: Callable[[], str], log: NodeLog
    ) -> None:
        self._address = environment.get("NOTIFY_SOCKET", "")
        self._status = status
        self._log = log
        self._sent = ""
        self._is_ready = False
        self._has_warned = False
        self._tasks = [PeriodicTask(_STATUS_INTERVAL_S, self._send_status)]
        watchdog_s = watchdog_interval_s(environment, os.getpid())
        if watchdog_s:
            self._tasks.append(PeriodicTask(watchdog_s / 2, lambda: self._send("WATCHDOG=1")))

    def ready(self) -> None:
        """Report that the node listens. From now on the event loop reports the status, and that it runs."""
        self._is_ready = True
        if not self._address:
            return
        self._sent = self._status()
        self._send("READY=1", _status_line(self._sent))
        for task in self._tasks:
            task.start()

    def reloading(self) -> None:
        """Report that the node reads files again. A node that is not ready yet reports nothing."""
        if not self._is_ready:
            return
        # With Type=notify-reload, the time distinguishes this message from an older one.
        monotonic_us = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._send("RELOADING=1", f"MONOTONIC_USEC={monotonic_us}")

    def reloaded(self) -> None:
        """Report that the node has read its files again. A node that is not ready yet reports nothing."""
        if self._is_ready:
            self._send("READY=1")

    def stopping(self) -> None:
        """Report that the node stops. The reports of the event loop continue until `close`."""
        self._send("STOPPING=1", _status_line("stopping"))

    def close(self) -> None:
        """End the reports of the event loop."""
        for task in self._tasks:
            task.stop()

    def _send_status(self) -> None:
        status = self._status()
        if status != self._sent:
            self._sent = status
            self._send(_status_line(status))

    def _send(self, *lines: str) -> None:
        if not self._address:
            return
        # Linux: a name without a file begins with a null byte, which a variable cannot hold.
        address = "\0" + self._address[1:] if self._address[0] == "@" else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as out:
                out.sendto("\n".join(lines).encode(), address)
        except OSError as error:
            if not self._has_warned:
                self._has_warned = True
                self._log.warning(
                    "the service manager cannot be reached",
                    notify_socket=self._address,
                    why=error.strerror or str(error),
                )


def watchdog_interval_s(environment: Mapping[str, str], process_id: int) -> float:
    """The longest time between two `WATCHDOG=1`, seconds; 0 if the manager expects none of this process."""
    if environment.get("WATCHDOG_PID", str(process_id)) != str(process_id):
        return 0.0
    text = environment.get("WATCHDOG_USEC", "")
    return int(text) / 1e6 if text.isascii() and text.isdigit() else 0.0


def _status_line(status: str) -> str:
    return f"STATUS={printable(status, _MAX_STATUS_CHARS)}"
