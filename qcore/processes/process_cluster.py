"""`ProcessCluster`: several real node processes on the loopback interface."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from ssl import SSLContext
from types import TracebackType
from typing import Self

from qcore.processes.node_process import NodeProcess, ProcessError, free_ports, wait_for


class ProcessCluster:
    """Several node processes with their data in one directory.

        with ProcessCluster(directory, size=3) as cluster:
            cluster.start()

    Args:
        directory: an existing directory.
        size: the number of nodes; their ids begin with 1.
        arguments: further options of every `qcore node start`.
        environment: further variables of every process.
        tls: see `NodeProcess`.
    """

    def __init__(
        self,
        directory: Path,
        size: int = 3,
        arguments: Sequence[str] = (),
        environment: dict[str, str] | None = None,
        tls: SSLContext | None = None,
    ) -> None:
        self.nodes = {
            node_id: NodeProcess(node_id, port, directory, arguments, environment, tls)
            for node_id, port in enumerate(free_ports(size), start=1)
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for node in self.nodes.values():
            node.kill()

    def authorize(self, token: str) -> None:
        """Read the nodes' pages with this token. Once there are users, a page needs one who may `observe`."""
        for node in self.nodes.values():
            node.authorization = f"Bearer {token}"

    @property
    def endpoints(self) -> list[str]:
        """The addresses of all nodes, running or not."""
        return [node.address for node in self.nodes.values()]

    @property
    def members(self) -> list[tuple[int, str]]:
        """`(id, address)` of all nodes: the argument of `Init`."""
        return [(node.node_id, node.address) for node in self.nodes.values()]

    def start(self, timeout_s: float = 30.0) -> None:
        """Start all nodes that are not running, in parallel, and wait until they listen."""
        idle = [node for node in self.nodes.values() if not node.running]
        for node in idle:
            node.spawn()
        for node in idle:
            node.wait_live(timeout_s)

    def running(self) -> list[NodeProcess]:
        """The nodes whose process exists."""
        return [node for node in self.nodes.values() if node.running]

    def active(self) -> list[NodeProcess]:
        """The running nodes that are not paused."""
        return [node for node in self.running() if not node.paused]

    def leader(self) -> NodeProcess | None:
        """The active node that reports itself leader in the highest term; None if there is none."""
        leading: list[tuple[int, int]] = []
        for node in self.active():
            status = node.status()
            if status.get("state") == "Leader":
                leading.append((status["current_term"], node.node_id))
        return self.nodes[max(leading)[1]] if leading else None

    def wait_leader(self, timeout_s: float = 30.0) -> NodeProcess:
        """Wait until a node leads, and return it.

        Raises:
            ProcessError: no node led in time.
        """
        return wait_for(self.leader, timeout_s, "a leader")

    def wait_converged(self, timeout_s: float = 30.0) -> str:
        """Wait until all active nodes have applied the same entries, and return their common state hash.

        Raises:
            ProcessError: the nodes did not converge in time. The message lists their last positions.
        """
        seen: list[tuple[int, int, str]] = []

        def converged() -> str | None:
            seen[:] = [
                (status["id"], status["qcore"]["applied_index"], status["qcore"]["state_hash"])
                for node in self.active()
                if (status := node.status())
            ]
            same = {(index, digest) for _, index, digest in seen}
            if len(seen) == len(self.active()) and len(same) == 1 and seen[0][1] > 0:
                return seen[0][2]
            return None

        try:
            return wait_for(converged, timeout_s, "equal state hashes")
        except ProcessError as error:
            raise ProcessError(f"{error}; seen (node, applied, hash): {seen}") from None
