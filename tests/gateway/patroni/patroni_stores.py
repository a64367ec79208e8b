"""What keeps Patroni's state in the drill: a real etcd, or qcore behind gateways. Both are real processes."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from qcore.client import SyncClient
from qcore.processes import ProcessCluster, ProcessGuard, free_ports, wait_for

_PATIENCE_S: Final = 30.0


class Store(Protocol):
    """A store with the API of etcd, and whose processes can fail.

    Attributes:
        hosts: the addresses that Patroni gets.
    """

    hosts: list[str]

    def start(self) -> None:
        """Start all processes, and wait until they answer."""

    def kill_leader(self) -> str:
        """Kill the leader, wait for a new one, and return the name of what was killed."""

    def pause_leader(self) -> str:
        """Stop the leader, wait for a new one, and return the name of what was stopped."""

    def pause_majority(self) -> str:
        """Stop two of the three processes that agree, and return their names."""

    def kill_front(self) -> str:
        """Kill a process to which Patroni connects, and return its name."""

    def mend(self) -> None:
        """Start and continue all processes, and wait until they answer."""

    def close(self) -> None:
        """Kill all processes."""


class ServerProcess:
    """A process that serves etcd's API over HTTP.

    Args:
        name: its name.
        command: the program with its options.
        address: where it serves clients.
        log_path: the file for its output, kept over restarts.
        guard: kills it when the program of the test ends.
    """

    def __init__(
        self, name: str, command: Sequence[str], address: str, log_path: Path, guard: ProcessGuard
    ) -> None:
        self.name = name
        self.address = address
        self.log_path = log_path
        self.paused = False
        self._command = list(command)
        self._guard = guard
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def active(self) -> bool:
        """Whether the process exists and is not stopped."""
        return self._process is not None and self._process.poll() is None and not self.paused

    def spawn(self) -> None:
        """Start the process without waiting for it."""
        with open(self.log_path, "ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._guard.watch(self._process.pid)

    def wait_healthy(self) -> None:
        """Wait until it answers that it is healthy."""
        wait_for(self._healthy, _PATIENCE_S, f"{self.name} to be healthy; see {self.log_path}")

    def kill(self) -> None:
        """Send SIGKILL and wait."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self.paused = False

    def pause(self) -> None:
        """Send SIGSTOP and wait until the process has stopped."""
        assert self._process is not None, "not started"
        self._process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WNOWAIT)
        self.paused = True

    def mend(self) -> None:
        """Continue or start the process, without waiting for it."""
        if self.paused and self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self.paused = False
        elif not self.active:
            self.spawn()

    def ask(self, method: str, path: str, timeout_s: float = 2.0) -> dict[str, Any]:
        """The object that the process answers; empty if it does not."""
        host, _, port = self.address.rpartition(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=timeout_s)
        try:
            connection.request(method, path, b"{}" if method == "POST" else None)
            response = connection.getresponse()
            content = response.read()
            decoded: dict[str, Any] = json.loads(content) if response.status == 200 else {}
            return decoded
        except (OSError, http.client.HTTPException, ValueError):
            return {}
        finally:
            connection.close()

    def _healthy(self) -> bool:
        return str(self.ask("GET", "/health").get("health")) == "true"


class EtcdStore:
    """Three members of etcd. Patroni connects to them itself, so each is a front, too."""

    def __init__(self, program: str, directory: Path, guard: ProcessGuard) -> None:
        clients, peers = free_ports(3), free_ports(3)
        initial = ",".join(
            f"m{number}=http://127.0.0.1:{port}" for number, port in enumerate(peers)
        )
        self.hosts = [f"127.0.0.1:{port}" for port in clients]
        self._members = []
        for number, (client, peer) in enumerate(zip(clients, peers, strict=True)):
            command = [
                *(program, "--name", f"m{number}", "--data-dir", str(directory / f"m{number}")),
                *("--listen-client-urls", f"http://127.0.0.1:{client}"),
                *("--advertise-client-urls", f"http://127.0.0.1:{client}"),
                *("--listen-peer-urls", f"http://127.0.0.1:{peer}"),
                *("--initial-advertise-peer-urls", f"http://127.0.0.1:{peer}"),
                *("--initial-cluster", initial),
            ]
            log_path = directory / f"etcd{number}.log"
            self._members.append(
                ServerProcess(f"m{number}", command, f"127.0.0.1:{client}", log_path, guard)
            )

    def start(self) -> None:
        """Start all members."""
        self.mend()

    def kill_leader(self) -> str:
        """Kill the leading member."""
        leader = self._leader()
        leader.kill()
        self._leader()
        return leader.name

    def pause_leader(self) -> str:
        """Stop the leading member."""
        leader = self._leader()
        leader.pause()
        self._leader()
        return leader.name

    def pause_majority(self) -> str:
        """Stop two members."""
        paused = self._members[:2]
        for member in paused:
            member.pause()
        return " and ".join(member.name for member in paused)

    def kill_front(self) -> str:
        """Kill a member that follows."""
        leader = self._leader()
        front = next(member for member in self._members if member is not leader)
        front.kill()
        return front.name

    def mend(self) -> None:
        """Start and continue all members."""
        for member in self._members:
            member.mend()
        for member in self._members:
            member.wait_healthy()

    def close(self) -> None:
        """Kill all members."""
        for member in self._members:
            member.kill()

    def _leader(self) -> ServerProcess:
        def look() -> ServerProcess | None:
            for member in self._members:
                status = member.ask("POST", "/v3/maintenance/status") if member.active else {}
                if status and status["header"]["member_id"] == status.get("leader"):
                    return member
            return None

        return wait_for(look, _PATIENCE_S, "etcd's leader")


class QcoreStore:
    """Three nodes of qcore with machine `kv`, and gateways in front of them."""

    def __init__(self, directory: Path, guard: ProcessGuard, gateways: int = 3) -> None:
        self._cluster = ProcessCluster(directory, 3, ("--machine", "kv"))
        for node in self._cluster.nodes.values():
            node.guard = guard
        self.hosts = [f"127.0.0.1:{port}" for port in free_ports(gateways)]
        self._killed = 0
        self._gateways = []
        for number, host in enumerate(self.hosts, start=1):
            others = [other for other in self.hosts if other != host]
            command = [
                *(sys.executable, "-m", "qcore", "gateway", "etcd", "--listen", host),
                *("--advertise", ",".join([host, *others])),
                *("--endpoints", ",".join(self._cluster.endpoints)),
            ]
            log_path = directory / f"gateway{number}.log"
            self._gateways.append(ServerProcess(f"gateway{number}", command, host, log_path, guard))

    def start(self) -> None:
        """Start the nodes, make them a cluster, and start the gateways."""
        self._cluster.start()
        with SyncClient(self._cluster.endpoints) as client:
            client.init(self._cluster.members)
        self._cluster.wait_leader()
        self.mend()

    def kill_leader(self) -> str:
        """Kill the leading node."""
        leader = self._cluster.wait_leader()
        leader.kill()
        self._cluster.wait_leader()
        return f"node{leader.node_id}"

    def pause_leader(self) -> str:
        """Stop the leading node."""
        leader = self._cluster.wait_leader()
        leader.pause()
        self._cluster.wait_leader()
        return f"node{leader.node_id}"

    def pause_majority(self) -> str:
        """Stop two nodes."""
        paused = list(self._cluster.nodes.values())[:2]
        for node in paused:
            node.pause()
        return " and ".join(f"node{node.node_id}" for node in paused)

    def kill_front(self) -> str:
        """Kill a gateway, each time the next one."""
        front = self._gateways[self._killed % len(self._gateways)]
        self._killed += 1
        front.kill()
        return front.name

    def mend(self) -> None:
        """Start and continue all nodes and gateways."""
        for node in self._cluster.nodes.values():
            if node.paused:
                node.resume()
            elif not node.running:
                node.spawn()
        for node in self._cluster.nodes.values():
            node.wait_live()
        self._cluster.wait_leader()
        self._cluster.wait_converged()
        for gateway in self._gateways:
            gateway.mend()
        for gateway in self._gateways:
            gateway.wait_healthy()

    def close(self) -> None:
        """Kill all nodes and gateways."""
        for gateway in self._gateways:
            gateway.kill()
        for node in self._cluster.nodes.values():
            node.kill()


def make_store(backend: str, directory: Path, guard: ProcessGuard) -> Store:
    """The store that `backend` names: `etcd` or `qcore`.

    Raises:
        ValueError: there is no such store.
    """
    if backend == "qcore":
        return QcoreStore(directory, guard)
    program = shutil.which("etcd")
    if backend != "etcd" or program is None:
        raise ValueError(f"no store {backend!r} here: give qcore, or etcd and install etcd-server")
    return EtcdStore(program, directory, guard)
