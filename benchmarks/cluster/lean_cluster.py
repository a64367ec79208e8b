"""Runs the processes of `benchmarks.cluster.lean_node` as a system under load."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from benchmarks.cluster.wire import Load
from benchmarks.support.python_build import CHECKOUT, environment_of
from qcore.processes import free_ports


class LeanSystem:
    """A leader and two followers.

    Args:
        stack: stops them.
        connections: over which the load spreads its requests.
        program: the Python that runs them.
        qcore_log: they store their log as qcore does.
    """

    module = "benchmarks.cluster.light_load"

    def __init__(
        self,
        stack: ExitStack,
        connections: int,
        *,
        program: str = sys.executable,
        qcore_log: bool = False,
    ) -> None:
        self.name = "lean, qcore's log" if qcore_log else "lean"
        directory = stack.enter_context(
            tempfile.TemporaryDirectory(dir=os.environ.get("QCORE_BENCH_DIR"))
        )
        leader, *followers = free_ports(3)
        self._connections = connections
        self._endpoint = f"127.0.0.1:{leader}"
        self._processes: list[int] = []
        for port, others in (
            *((port, []) for port in followers),
            (leader, followers),  # last, because it connects with the others
        ):
            home = Path(directory, str(port))
            home.mkdir()
            process = subprocess.Popen(
                [
                    *(program, "-m", "benchmarks.cluster.lean_node"),
                    *(["--qcore-log"] if qcore_log else []),
                    str(home),
                    *map(str, (port, *others)),
                ],
                cwd=CHECKOUT,
                env={**os.environ, **environment_of(program)},
                stdout=subprocess.PIPE,
            )
            stack.callback(process.wait)
            stack.callback(process.kill)
            assert process.stdout is not None
            if process.stdout.readline() != b"ready\n":
                raise SystemExit("a lean process did not start")
            self._processes.insert(0, process.pid)

    def load(
        self, operation: str, in_flight: int, seconds: float, *, follower: bool, value: str
    ) -> Load:
        """A load of writes on the leader; it offers nothing else."""
        if operation != "write" or follower:
            raise ValueError("the lean processes take writes at their leader only")
        return Load(
            system="qcore",
            operation=operation,
            endpoint=self._endpoint,
            target=json.dumps(["Lean", 1]),
            value=value,
            in_flight=in_flight,
            connections=min(in_flight, self._connections),
            seconds=seconds,
            processes=tuple(self._processes),
        )
