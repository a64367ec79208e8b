"""`ProcessGuard`: kills processes when the program that started them ends, also if the program is killed with -9.

The guard is a small process that reads from a pipe. Only the program holds the other end, so the pipe ends when the
program does. This file is that process, too: it runs without qcore, and so starts quickly.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path


class ProcessGuard:
    """Kills the processes that it watches when this program ends.

    Args:
        directory: if given, the guard deletes it after it has killed the processes.
    """

    def __init__(self, directory: Path | None = None) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__, *([] if directory is None else [directory])],
            stdin=subprocess.PIPE,
            start_new_session=True,  # a Ctrl-C at the terminal must not reach the guard
        )

    def watch(self, pid: int) -> None:
        """Kill this process too. It must be a child of this program that has not been waited for."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"%d\n" % pid)
        self._process.stdin.flush()

    def close(self) -> None:
        """Kill the processes that still run, and end the guard."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def _kill_at_end_of_input(directory: str | None) -> None:
    watched: list[int] = []
    for line in sys.stdin:
        try:
            # Unlike its id, this handle never means a later process with the same id.
            watched.append(os.pidfd_open(int(line)))
        except ProcessLookupError:
            continue  # it has ended
    for handle in watched:
        try:
            signal.pidfd_send_signal(handle, signal.SIGKILL)
        except ProcessLookupError:
            continue  # it has ended
    if directory is not None:
        import shutil

        shutil.rmtree(directory, ignore_errors=True)  # the program may have deleted it


if __name__ == "__main__":
    _kill_at_end_of_input(sys.argv[1] if len(sys.argv) > 1 else None)
