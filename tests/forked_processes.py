"""Lets the tests start `python -m qcore` quickly: by a fork of a process that has already imported qcore.

The forked process is a child of the test. Its files, directory, variables and session are those that the test gives,
so `subprocess.Popen` works as usual. Only the start of its interpreter differs from that of other processes. A test
of that start sets a variable that Python reads, or starts another program, such as the `qcore` script: then nothing
is forked.

Two such parents take turns. Their hash seeds differ, so the nodes of a cluster do not iterate over sets in one order.
"""

from __future__ import annotations

import atexit
import inspect
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from ctypes import CDLL
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any, ClassVar, Final

from tests.checkout import CHECKOUT
from tests.process.programs import forked_qcore

#: `PR_SET_CHILD_SUBREAPER` of prctl(2): this process becomes the parent of the orphans among its descendants.
_ADOPT_ORPHANS: Final = 36
_PROGRAM: Final = [sys.executable, "-m", "qcore"]
#: qcore reads these variables when it runs, not when it is imported. No program reads those of pytest. polars sets its
#: own for the memory of its process when a test imports it.
_LATE_VARIABLES: Final = ("QCORE_", "PYTEST_", "_RJEM_")
_SERVERS: Final = 2
#: The parameters of `Popen._execute_child`, a private method. With others, nothing is forked.
_PARAMETERS: Final = [
    "self",
    "args",
    "executable",
    "preexec_fn",
    "close_fds",
    "pass_fds",
    "cwd",
    "env",
    "startupinfo",
    "creationflags",
    "shell",
    "p2cread",
    "p2cwrite",
    "c2pread",
    "c2pwrite",
    "errread",
    "errwrite",
    "restore_signals",
    "gid",
    "gids",
    "uid",
    "umask",
    "start_new_session",
    "process_group",
]
#: The servers start with these variables, which `install` finds.
_ENVIRONMENT: Final[dict[str, str]] = {}


def install() -> None:
    """Replace `subprocess.Popen` in this process, where the system can adopt orphans and the class is as expected."""
    _ENVIRONMENT.update(os.environ)
    parameters = inspect.signature(subprocess.Popen._execute_child).parameters  # type: ignore[attr-defined] # the stubs omit it
    if sys.platform == "linux" and list(parameters) == _PARAMETERS:
        subprocess.Popen = ForkedPopen  # type: ignore[misc] # the purpose of this module


def forking_server() -> str:
    """The socket of a server that runs `qcore` commands; see `forked_qcore.py`."""
    return _servers_of_this_process()[0].path


class ForkingServer:
    """A process that runs `qcore` commands; see `forked_qcore.py`. It ends with this process.

    Attributes:
        path: its socket.
    """

    def __init__(self) -> None:
        self._directory = tempfile.TemporaryDirectory()  # the path of a socket must be short
        self.path = str(Path(self._directory.name, "qcore"))
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(self.path)
            listener.listen()
            number = listener.fileno()
            self._process = subprocess.Popen(
                [sys.executable, forked_qcore.__file__, "serve", str(number)],
                env={**_ENVIRONMENT, "PYTHONPATH": str(CHECKOUT)},
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                pass_fds=[number],
            )

    def close(self) -> None:
        """End the process. The commands that it started go on."""
        self._process.kill()
        self._process.communicate()
        self._directory.cleanup()


class ForkedPopen(subprocess.Popen[Any]):
    """A `subprocess.Popen` that forks `python -m qcore` from a server, unless its start may matter."""

    _turns: ClassVar = count()
    _lock: ClassVar = threading.Lock()

    def _execute_child(self, *given: Any) -> None:
        """Start the process. `Popen` calls this method with the values of `_PARAMETERS`."""
        words, _, preparation, _, passed, directory, environment = given[:7]
        pipes = given[10:16]
        in_session = given[21]
        environment = dict(os.environ if environment is None else environment)
        forks = isinstance(words, list) and words[:3] == _PROGRAM and not preparation and not passed
        if not forks or not _starts_alike(environment):
            super()._execute_child(*given)  # type: ignore[misc] # the stubs omit it
            return
        stdin, stdout, stderr = pipes[0], pipes[3], pipes[5]
        servers = _servers_of_this_process()
        with self._lock, _adopting_orphans():
            self.pid = forked_qcore.request(
                servers[next(self._turns) % _SERVERS].path,
                [os.fspath(word) for word in words[3:]],
                os.fspath(directory or os.getcwd()),
                environment,
                [
                    inherited if pipe == -1 else pipe
                    for inherited, pipe in enumerate((stdin, stdout, stderr))
                ],
                "session" if in_session else "orphan",
            )
            _wait_until_child(self.pid)
        self._child_created = True
        self._close_pipe_fds(*pipes)  # type: ignore[attr-defined] # the stubs omit it


@cache
def _servers_of_this_process() -> list[ForkingServer]:
    """Start the servers. They end with this process."""
    servers = [ForkingServer() for _ in range(_SERVERS)]
    for server in servers:
        atexit.register(server.close)
    return servers


def _starts_alike(environment: Mapping[str, str]) -> bool:
    """Whether Python and its libraries start with these variables as they did in the servers."""
    return _early(environment) == _early(_ENVIRONMENT)


def _early(environment: Mapping[str, str]) -> dict[str, str]:
    return {
        name: value for name, value in environment.items() if not name.startswith(_LATE_VARIABLES)
    }


@contextmanager
def _adopting_orphans() -> Iterator[None]:
    libc = CDLL(None)
    libc.prctl(_ADOPT_ORPHANS, 1, 0, 0, 0)
    try:
        yield
    finally:
        libc.prctl(_ADOPT_ORPHANS, 0, 0, 0, 0)


def _wait_until_child(process_id: int) -> None:
    """Wait until the parent of the process has ended, so that this process has adopted it.

    Raises:
        RuntimeError: that did not happen.
    """
    for _ in range(10_000):
        try:
            os.waitid(os.P_PID, process_id, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            time.sleep(0.001)
        else:
            return
    raise RuntimeError(f"process {process_id} is no child of this process")
