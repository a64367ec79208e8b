"""`NodeProcess`: one real node process, on the loopback interface if nothing else is chosen."""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from ssl import SSLContext
from typing import Any, TypeVar

from qcore.errors import QcoreError
from qcore.processes.process_guard import ProcessGuard

#: Below the range from which Linux picks the local ports of outgoing connections. So no connection takes a node's port
#: while the node is down.
_PORT_RANGE = range(20_000, 32_000)
#: Concurrent test processes draw from different parts of the range, chosen by process id: a port that looks free may
#: belong to a node of another test process, and that node may be down for a moment.
_PORT_SHARES = 12
_used_ports: set[int] = set()

_T = TypeVar("_T")


class ProcessError(QcoreError, code="ProcessError"):
    """A node process did not behave as expected. The message may hold the end of its output."""


def free_ports(count: int) -> list[int]:
    """Find ports on 127.0.0.1 that are free, and that this process has not received before."""
    chooser = random.SystemRandom()
    width = len(_PORT_RANGE) // _PORT_SHARES
    first = os.getpid() % _PORT_SHARES * width
    part = _PORT_RANGE[first : first + width]
    if len(_used_ports) + count > width // 2:
        _used_ports.clear()
    ports: list[int] = []
    while len(ports) < count:
        port = chooser.choice(part)
        if port in _used_ports:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        _used_ports.add(port)
        ports.append(port)
    return ports


def wait_for(probe: Callable[[], _T | None], timeout_s: float, what: str) -> _T:
    """Poll `probe` until it returns a true value, and return that value.

    Raises:
        ProcessError: the timeout ended first. The message names `what`.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        result = probe()
        if result:
            return result
        if time.monotonic() > deadline:
            raise ProcessError(f"timed out after {timeout_s:g} s while waiting for {what}")
        time.sleep(0.02)


class NodeProcess:
    """One `qcore node start` process, which can be killed, paused and restarted.

    Args:
        node_id: the node's id.
        port: the port on 127.0.0.1 on which the node listens.
        directory: holds the data directory and the output, and is kept over restarts.
        arguments: further options of `qcore node start`.
        environment: variables in addition to those of this process.
        tls: for the HTTP pages of a node that uses TLS.

    Attributes:
        program: the program that Python runs. Tests substitute a node with a planted fault.
        host: the host on which the node listens, and under which others reach it.
        prefix: the words before the command, for example to run it in a network namespace.
        guard: if set, kills the process when this program ends, however it ends.
        paused: whether the process is paused.
        authorization: the header `Authorization` of requests for pages, which need a user once there are users.
    """

    def __init__(
        self,
        node_id: int,
        port: int,
        directory: Path,
        arguments: Sequence[str] = (),
        environment: dict[str, str] | None = None,
        tls: SSLContext | None = None,
    ) -> None:
        self._tls = tls
        self.node_id = node_id
        self.port = port
        self.data_dir = directory / f"node{node_id}"
        self.log_path = directory / f"node{node_id}.log"
        self.arguments = list(arguments)
        self.environment = environment or {}
        self.program: Sequence[str] = ("-m", "qcore")
        self.host = "127.0.0.1"
        self.prefix: Sequence[str] = ()
        self.guard: ProcessGuard | None = None
        self.paused = False
        self.authorization: str | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """`host:port`."""
        return f"{self.host}:{self.port}"

    def public_key(self) -> str | None:
        """The public key of the node, from its data directory; None for an old qcore, which has none."""
        try:
            return (self.data_dir / "node.key").read_text().split()[1]
        except FileNotFoundError:
            return None

    @property
    def running(self) -> bool:
        """Whether the process exists. A paused process exists."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The process id of the running process."""
        assert self._process is not None, "not started"
        return self._process.pid

    def spawn(self) -> None:
        """Start the process without waiting for it."""
        assert not self.running, f"node {self.node_id} is already running"
        with open(self.log_path, "ab") as log:
            self._process = subprocess.Popen(
                [
                    *(*self.prefix, sys.executable, *self.program, "node", "start"),
                    *("--id", str(self.node_id), "--ws-addr", self.address),
                    *("--data-dir", str(self.data_dir), *self.arguments),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **self.environment},
                start_new_session=True,  # a Ctrl-C at the terminal must not reach the nodes
            )
        if self.guard is not None:
            self.guard.watch(self._process.pid)

    def start(self, timeout_s: float = 30.0) -> None:
        """Start the process and wait until it listens.

        Raises:
            ProcessError: the process ended, or did not listen in time.
        """
        self.spawn()
        self.wait_live(timeout_s)

    def wait_live(self, timeout_s: float = 30.0) -> None:
        """Wait until the process answers `/livez`."""

        def live() -> bool:
            if not self.running:
                raise ProcessError(f"node {self.node_id} ended. The end of its log:")
            return self.get("/livez")[0] == 200

        try:
            wait_for(live, timeout_s, f"node {self.node_id} to listen on {self.address}")
        except ProcessError as error:
            raise ProcessError(f"{error}\n{self.log_tail()}") from None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the running process."""
        assert self._process is not None, "not started"
        self._process.send_signal(number)

    def kill(self) -> None:
        """Send SIGKILL and wait for the end of the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self.paused = False

    def pause(self) -> None:
        """Send SIGSTOP and wait until the process has stopped. Its connections stay open."""
        self.signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WNOWAIT)
        self.paused = True

    def resume(self) -> None:
        """Send SIGCONT."""
        self.signal(signal.SIGCONT)
        self.paused = False

    def stop(self, timeout_s: float = 30.0) -> int:
        """Send SIGTERM and return the exit code."""
        assert self._process is not None, "not started"
        self._process.terminate()
        return self.wait(timeout_s)

    def wait(self, timeout_s: float = 30.0) -> int:
        """Wait for the process to end and return the exit code.

        Raises:
            ProcessError: the process did not end in time.
        """
        assert self._process is not None, "not started"
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise ProcessError(
                f"node {self.node_id} did not end within {timeout_s:g} s\n{self.log_tail()}"
            ) from None

    def get(self, path: str, timeout_s: float = 2.0) -> tuple[int, str]:
        """Send an HTTP GET. Return the status and the body, or 0 and the reason if the node does not answer."""
        connection = (
            http.client.HTTPConnection(self.host, self.port, timeout=timeout_s)
            if self._tls is None
            else http.client.HTTPSConnection(
                self.host, self.port, timeout=timeout_s, context=self._tls
            )
        )
        try:
            given = self.authorization
            headers = {} if given is None else {"Authorization": given}
            connection.request("GET", path, headers=headers)
            response = connection.getresponse()
            return response.status, response.read().decode()
        except (OSError, http.client.HTTPException) as error:
            return 0, str(error)
        finally:
            connection.close()

    def status(self) -> dict[str, Any]:
        """The metrics object from `/status`; empty while the node does not answer.

        Raises:
            ProcessError: the node shows it only to a user who may `observe`: set `authorization`.
        """
        code, body = self.get("/status")
        if code in (401, 403):
            raise ProcessError(
                f"node {self.node_id} shows /status only to a user who may observe: {body.rstrip()}"
            )
        if code != 200:
            return {}
        decoded: dict[str, Any] = json.loads(body)
        return decoded

    def log_text(self) -> str:
        """All output of the process, over all restarts."""
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def log_tail(self, lines: int = 15) -> str:
        """The end of the output, for error messages."""
        return "\n".join(self.log_text().splitlines()[-lines:])
