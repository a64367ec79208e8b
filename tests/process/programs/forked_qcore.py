"""Runs `qcore` commands in processes that are forked from an interpreter that has already imported qcore.

A new interpreter needs 0.4 s to import qcore. A session of a document has about a hundred commands.

    python forked_qcore.py serve FD      Accept commands at this listening socket, until it is killed.
    python forked_qcore.py ask PATH ...  Run `qcore ...` there, with the files, the directory and the environment of
                                         this process, and end with its exit code.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import socket
import sys

#: stdin, stdout and stderr of the command.
_FILES = (0, 1, 2)


def ask(path: str, arguments: list[str]) -> int:
    """Run a command and return its exit code."""
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(path)
        request = json.dumps([arguments, os.getcwd(), dict(os.environ)]).encode()
        socket.send_fds(server, [b"%10d" % len(request)], _FILES)
        server.sendall(request)
        with server.makefile() as reply:
            return int(reply.read())


def serve(listener: socket.socket) -> None:
    """Fork a process for each connection. It forks the command, and replies with its exit code."""
    from qcore.cli.main import GROUPS, main

    for module, _ in GROUPS.values():  # which a command imports by itself
        importlib.import_module(module)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # no process waits for those of the connections
    while True:
        connection, _ = listener.accept()
        if os.fork():
            connection.close()
            continue
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        listener.close()
        if command := os.fork():
            status = os.waitpid(command, 0)[1]
            connection.sendall(b"%d" % os.waitstatus_to_exitcode(status))
            os._exit(0)
        _become(connection)
        main()


def _become(connection: socket.socket) -> None:
    """Take over the files, the directory, the environment and the arguments of the process that asks."""
    size, files, _, _ = socket.recv_fds(connection, 10, len(_FILES))
    for received, number in zip(files, _FILES, strict=True):
        os.dup2(received, number)
        os.close(received)
    with connection, connection.makefile("rb") as stream:
        arguments, directory, environment = json.loads(stream.read(int(size)))
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[0] = directory
    sys.argv = ["qcore", *arguments]


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(socket.socket(fileno=int(sys.argv[2])))
    else:
        sys.exit(ask(sys.argv[2], sys.argv[3:]))
