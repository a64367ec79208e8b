"""What a light generator of load needs of a protocol: frames that are ready to send, and a scan of what comes back.

A generator must cost little, and the same for every system, or it is a part of what is measured. So all requests are
encoded before the load begins, and a response is looked at only as far as it shows whether the request succeeded.

These modules import nothing but the standard library: a process of load starts in a moment.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Load:
    """What a process of load does.

    Attributes:
        system: `qcore` (WebSocket), `etcd` (JSON over HTTP/1.1) or `etcd-grpc` (gRPC over HTTP/2).
        operation: `write` or `read`. A read is linearizable.
        endpoint: `host:port` of the node that gets the requests.
        target: qcore: the entity as JSON text; etcd: the key.
        value: the text that is written, and that a read must return.
        in_flight: requests in flight, over all connections.
        connections: how many connections share them.
        seconds: how long is measured.
        warm_up: seconds before that, which do not count.
        processes: process ids whose processor time is measured, the leader's first.
    """

    system: str
    operation: str
    endpoint: str
    target: str
    value: str
    in_flight: int
    connections: int
    seconds: float
    warm_up: float = 0.5
    processes: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Measured:
    """What a process of load saw.

    Attributes:
        per_s: requests per second that succeeded.
        p50_ms, p99_ms: their latency.
        errors: requests that did not succeed.
        client_us: processor time of the load for each request, in µs.
        processes_us: processor time of each process of `Load.processes` for each request, in µs.
    """

    per_s: float
    p50_ms: float
    p99_ms: float
    errors: int
    client_us: float
    processes_us: tuple[float, ...] = ()

    def to_json(self) -> dict[str, object]:
        """The name of each field -> its value."""
        return asdict(self)


class LoadError(Exception):
    """The load could not be generated."""


class Wire(Protocol):
    """One connection. Slots are the requests that it keeps in flight, numbered from 0.

    Attributes:
        answer: bytes to send before anything else, such as the answer to a ping; empty mostly.
        failure: the begin of the last response that was not a success.
    """

    answer: bytes
    failure: bytes

    def open(self, address: tuple[str, int]) -> socket.socket:
        """Connect, and do what comes before the first request."""
        ...

    def request(self, slots: Sequence[int]) -> bytes:
        """The next request of each of these slots."""
        ...

    def receive(self, data: bytes) -> Iterable[tuple[int, bool]]:
        """The slots whose responses are complete now, and whether each succeeded."""
        ...


def connect(address: tuple[str, int]) -> socket.socket:
    """A connection that sends small messages immediately."""
    opened = socket.create_connection(address, 10)
    opened.settimeout(None)
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return opened
