"""The networks of a soak: network namespaces, where links can be cut, or the loopback interface, where they cannot."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from types import TracebackType
from typing import Final, Protocol, Self

#: Concurrent soaks are in separate networks.
_SUBNET: Final = f"10.213.{os.getpid() % 256}"
_HOST_OF_CLIENTS: Final = f"{_SUBNET}.254"


class Network(Protocol):
    """Where the nodes run, and what can be done to their links."""

    #: Whether links can be cut and slowed down.
    has_faults: bool

    def host(self, node_id: int) -> str:
        """The host on which a node listens."""

    def prefix(self, node_id: int) -> Sequence[str]:
        """The words before the command that starts a node."""

    def cut(self, node_id: int) -> None:
        """Lose all packets from and to a node."""

    def block(self, node_id: int, other: int) -> None:
        """Lose all packets that a node sends to another one. The other direction works."""

    def slow(self, node_id: int) -> None:
        """Limit what a node receives to 200 kbit/s."""

    def heal(self) -> None:
        """End all faults of links."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


class Loopback:
    """Nodes on the loopback interface."""

    has_faults = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def host(self, _node_id: int) -> str:
        return "127.0.0.1"

    def prefix(self, _node_id: int) -> Sequence[str]:
        return ()

    def cut(self, _node_id: int) -> None:
        raise NotImplementedError("the loopback interface cannot be cut")

    def block(self, _node_id: int, _other: int) -> None:
        raise NotImplementedError("the loopback interface cannot be cut")

    def slow(self, _node_id: int) -> None:
        raise NotImplementedError("the loopback interface cannot be slowed down")

    def heal(self) -> None: ...


class Namespaces:
    """One network namespace for each node, and a bridge between them. The clients are outside, at the bridge.

    Needs the rights of root. Raises `subprocess.CalledProcessError` on entry without them.

    Args:
        nodes: the number of namespaces.
    """

    has_faults = True

    def __init__(self, nodes: int) -> None:
        self._nodes = range(1, nodes + 1)
        self._name = f"qs{os.getpid() % 100_000}"
        self._cut: set[int] = set()
        self._slow: set[int] = set()
        self._blocked: set[tuple[int, int]] = set()

    def __enter__(self) -> Self:
        bridge = f"{self._name}b"
        try:
            _run("ip", "link", "add", bridge, "type", "bridge")
            _run("ip", "addr", "add", f"{_HOST_OF_CLIENTS}/24", "dev", bridge)
            _run("ip", "link", "set", bridge, "up")
            for node in self._nodes:
                inside = f"{self._name}i{node}"
                _run("ip", "netns", "add", self._space(node))
                _run(*("ip", "link", "add", self._link(node), "type", "veth", "peer", inside))
                _run("ip", "link", "set", inside, "netns", self._space(node))
                _run("ip", "link", "set", self._link(node), "master", bridge, "up")
                self._inside(node, "addr", "add", f"{self.host(node)}/24", "dev", inside)
                self._inside(node, "link", "set", inside, "up")
                self._inside(node, "link", "set", "lo", "up")
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._remove()

    def host(self, node_id: int) -> str:
        return f"{_SUBNET}.{node_id}"

    def prefix(self, node_id: int) -> Sequence[str]:
        return ("ip", "netns", "exec", self._space(node_id))

    def cut(self, node_id: int) -> None:
        _run("ip", "link", "set", self._link(node_id), "down")
        self._cut.add(node_id)

    def block(self, node_id: int, other: int) -> None:
        self._inside(node_id, "route", "add", "blackhole", self.host(other))
        self._blocked.add((node_id, other))

    def slow(self, node_id: int) -> None:
        limit = ("rate", "200kbit", "burst", "16kb", "latency", "400ms")
        _run("tc", "qdisc", "add", "dev", self._link(node_id), "root", "tbf", *limit)
        self._slow.add(node_id)

    def heal(self) -> None:
        for node in self._cut:
            _run("ip", "link", "set", self._link(node), "up")
        for node, other in self._blocked:
            self._inside(node, "route", "del", "blackhole", self.host(other))
        for node in self._slow:
            _run("tc", "qdisc", "del", "dev", self._link(node), "root")
        self._cut, self._blocked, self._slow = set(), set(), set()

    def _space(self, node: int) -> str:
        return f"{self._name}n{node}"

    def _link(self, node: int) -> str:
        return f"{self._name}o{node}"

    def _inside(self, node: int, *words: str) -> None:
        _run("ip", "-n", self._space(node), *words)

    def _remove(self) -> None:
        for node in self._nodes:
            _try("ip", "link", "del", self._link(node))
            _try("ip", "netns", "del", self._space(node))
        _try("ip", "link", "del", f"{self._name}b")


def _run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True)


def _try(*words: str) -> None:
    """Run a command that may fail because there is nothing to remove."""
    subprocess.run(words, check=False, capture_output=True)


def best_network(nodes: int) -> Network:
    """Namespaces where this process may make them, else the loopback interface."""
    try:
        with Namespaces(1):
            return Namespaces(nodes)
    except (OSError, subprocess.CalledProcessError):
        return Loopback()
