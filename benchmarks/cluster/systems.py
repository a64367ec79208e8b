"""The systems under load: real processes on the loopback interface, and what a load needs to know of them."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

from benchmarks.cluster.etcd_cluster import etcd_cluster, leader_of
from benchmarks.cluster.library_load import CONNECTIONS, VALUE, prepare
from benchmarks.cluster.light_load import encode
from benchmarks.cluster.wire import Load, Measured
from benchmarks.support.python_build import CHECKOUT, run_with
from qcore.processes import ProcessCluster

LIGHT, LIBRARY = "benchmarks.cluster.light_load", "benchmarks.cluster.library_load"


class System(Protocol):
    """A running cluster.

    Attributes:
        name: for tables.
        module: what generates its load.
    """

    name: str
    module: str

    def load(
        self, operation: str, in_flight: int, seconds: float, *, follower: bool, value: str
    ) -> Load:
        """A load on the leader, or on a follower. The leader is looked up each time."""
        ...


class QcoreSystem:
    """Nodes of qcore.

    Args:
        stack: stops them.
        name: for tables.
        program: the Python that runs them.
        tree: the checkout that they run.
        size: how many there are.
        module: the process of load.
        connections: over which the load spreads its requests; None for one for each request in flight.
        environment: further variables of the nodes.
        program_of_nodes: what their Python runs.
        arguments: further options of `qcore node start`.
    """

    def __init__(
        self,
        stack: ExitStack,
        name: str = "qcore",
        *,
        program: str = sys.executable,
        tree: Path = CHECKOUT,
        size: int = 3,
        module: str = LIGHT,
        connections: int | None = CONNECTIONS,
        environment: dict[str, str] | None = None,
        program_of_nodes: Sequence[str] = ("-m", "qcore"),
        arguments: Sequence[str] = (),
    ) -> None:
        self.name = name
        self.module = module
        self.connections = connections
        directory = stack.enter_context(
            tempfile.TemporaryDirectory(dir=os.environ.get("QCORE_BENCH_DIR"))
        )
        self.cluster = ProcessCluster(
            Path(directory), size, ["--log-level", "warning", *arguments], environment
        )
        for node in self.cluster.nodes.values():
            node.program = program_of_nodes
            run_with(node, program, tree)
        stack.enter_context(self.cluster)
        self.cluster.start()
        self.entity = asyncio.run(prepare(self.cluster))

    def load(
        self, operation: str, in_flight: int, seconds: float, *, follower: bool, value: str = VALUE
    ) -> Load:
        """A load on the leader or on a follower."""
        leader = self.cluster.wait_leader()
        others = [node for node in self.cluster.nodes.values() if node is not leader]
        node = others[0] if follower else leader
        return Load(
            system="qcore",
            operation=operation,
            endpoint=node.address,
            target=json.dumps(self.entity),
            value=value,
            in_flight=in_flight,
            connections=min(in_flight, self.connections or in_flight),
            seconds=seconds,
            processes=tuple(one.pid for one in [leader, *others]),
        )


class EtcdSystem:
    """Members of etcd.

    Args:
        running: the members.
        grpc: whether the load uses gRPC, instead of JSON over HTTP.
    """

    module = LIGHT

    def __init__(self, running: EtcdRunning, *, grpc: bool = False) -> None:
        self.name = "etcd, gRPC" if grpc else "etcd"
        self._system = "etcd-grpc" if grpc else "etcd"
        self._running = running

    def load(
        self, operation: str, in_flight: int, seconds: float, *, follower: bool, value: str = VALUE
    ) -> Load:
        """A load on the leader or on a follower."""
        endpoint, processes = self._running.places(follower=follower)
        return Load(
            system=self._system,
            operation=operation,
            endpoint=endpoint,
            target="key",
            value=value,
            in_flight=in_flight,
            connections=min(in_flight, CONNECTIONS) if self._system == "etcd-grpc" else in_flight,
            seconds=seconds,
            processes=processes,
        )


class EtcdRunning:
    """The processes of etcd, which both kinds of load share.

    Args:
        stack: stops them.
        program: etcd.
        size: how many there are.
    """

    def __init__(self, stack: ExitStack, program: str, size: int = 3) -> None:
        self._members = stack.enter_context(etcd_cluster(program, size))
        leader_of(self._members.endpoints)

    def places(self, *, follower: bool) -> tuple[str, tuple[int, ...]]:
        """Where the requests go, and the processes, the leader's first."""
        members = self._members
        leader = leader_of(members.endpoints)
        first = members.endpoints.index(leader)
        others = [place for place in range(len(members.endpoints)) if place != first]
        endpoint = members.endpoints[others[0] if follower else first]
        return endpoint, tuple(members.processes[place] for place in [first, *others])


def measure(
    system: System,
    operation: str,
    in_flight: int,
    seconds: float,
    *,
    follower: bool = False,
    value: str = VALUE,
    change: Callable[[Load], Load] = lambda load: load,
) -> Measured:
    """Run a process of load, and return what it saw."""
    load = change(system.load(operation, in_flight, seconds, follower=follower, value=value))
    done = subprocess.run(
        [sys.executable, "-m", system.module],
        input=encode(load),  # the arguments of a process are too short for a large value
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise SystemExit(f"the load on {system.name} failed:\n{done.stderr.strip()}")
    fields = json.loads(done.stdout)
    return Measured(**{**fields, "processes_us": tuple(fields["processes_us"])})
