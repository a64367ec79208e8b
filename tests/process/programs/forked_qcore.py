"""Runs `qcore` commands in processes that are forked from an interpreter that has already imported qcore.

A new interpreter needs 0.4 s of processor time to import a command, and 0.8 s to import a node. The tests start
hundreds of them.

    python forked_qcore.py serve FD      Accept commands at this listening socket, until stdin ends.
    python forked_qcore.py ask PATH ...  Run `qcore ...` there, with the files, the directory and the environment of
                                         this process, and end with its exit code.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from typing import Final

#: stdin, stdout and stderr of the command.
_FILES: Final = (0, 1, 2)
#: The signals that a process ignores if its parent did.
_SIGNALS: Final = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)
#: What a node imports when it starts. No module of a group of commands imports it.
_OF_A_NODE: Final = ("qcore.node.main", "cel", "encodings.idna")


def ask(path: str, arguments: Sequence[str]) -> int:
    """Run a command and return its exit code."""
    return request(path, arguments, os.getcwd(), os.environ, _FILES, "wait")


def request(
    path: str,
    arguments: Sequence[str],
    directory: str,
    environment: Mapping[str, str],
    files: Sequence[int],
    how: str,
) -> int:
    """Let the server at a path run a command.

    Args:
        path: the server's socket.
        arguments: the words after `qcore`.
        directory: the working directory.
        environment: all variables of the command.
        files: its stdin, stdout and stderr.
        how: `wait` waits for the end of the command, and returns its exit code. `orphan` returns its process id; it
            has no parent, except for a process that adopts orphans. `session` is the same in a new session.
    """
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(path)
        ignored = [number for number in _SIGNALS if signal.getsignal(number) is signal.SIG_IGN]
        asked = json.dumps([list(arguments), directory, dict(environment), how, ignored]).encode()
        socket.send_fds(server, [b"%10d" % len(asked)], files)
        server.sendall(asked)
        with server.makefile() as reply:
            return int(reply.read())


def serve(listener: socket.socket) -> None:
    """Fork a process for each connection. It forks the command, and replies."""
    _import_all()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # no process waits for those of the connections
    while True:
        ready, _, _ = select.select([listener.fileno(), 0], [], [])
        if listener.fileno() not in ready:
            return  # the program that started this one has ended
        connection, _ = listener.accept()
        if os.fork():
            connection.close()
            continue
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        listener.close()
        size, files, _, _ = socket.recv_fds(connection, 10, len(_FILES))
        with connection.makefile("rb") as stream:
            arguments, directory, environment, how, ignored = json.loads(stream.read(int(size)))
        if command := os.fork():
            if how == "wait":
                status = os.waitpid(command, 0)[1]
                command = os.waitstatus_to_exitcode(status)
            connection.sendall(b"%d" % command)
            os._exit(0)
        connection.close()
        _take_over(arguments, directory, environment, files)
        _ignore_only(ignored)
        if how == "session":
            os.setsid()
        runpy.run_module("qcore", run_name="__main__", alter_sys=True)


def _import_all() -> None:
    """Import and prepare what a command would import and prepare by itself."""
    from qcore.cli.main import GROUPS
    from qcore.node.application import application_of, node_codec

    for module in (*(name for name, _ in GROUPS.values()), *_OF_A_NODE):
        importlib.import_module(module)
    node_codec(application_of("entity").perform_type, 1024)
    gc.collect()
    gc.freeze()  # so that no command looks for garbage among the modules


def _take_over(
    arguments: list[str], directory: str, environment: Mapping[str, str], files: list[int]
) -> None:
    """Take over the files, the directory, the environment and the arguments of the process that asks."""
    for received, number in zip(files, _FILES, strict=True):
        os.dup2(received, number)
        os.close(received)
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[0] = directory
    sys.argv = ["qcore", *arguments]
    sys.orig_argv = [sys.executable, "-m", "qcore", *arguments]


def _ignore_only(ignored: list[int]) -> None:
    """Handle signals as a Python program does at its start."""
    for number in _SIGNALS:
        normal = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
        signal.signal(number, signal.SIG_IGN if number in ignored else normal)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(socket.socket(fileno=int(sys.argv[2])))
    else:
        sys.exit(ask(sys.argv[2], sys.argv[3:]))
