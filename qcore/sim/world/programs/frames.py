"""What a simulated client program and a node send each other. Each message belongs to one connection.

The messages of each end on a connection are numbered from 1, like the bytes of a TCP connection. If a number is
missing, a cut or a lossy link has lost a message, and the connection is broken: TCP never delivers what follows a lost
segment.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from qcore.replica.messages import RequestKind


@dataclass(slots=True, frozen=True)
class Open:
    """Connect. `admin`: as an admin connection."""

    admin: bool


@dataclass(slots=True, frozen=True)
class Opened:
    """The node has accepted the connection."""


@dataclass(slots=True, frozen=True)
class Ping:
    """Ask for a sign of life."""


@dataclass(slots=True, frozen=True)
class Pong:
    """A sign of life."""


@dataclass(slots=True, frozen=True)
class Close:
    """The sender has closed the connection."""


@dataclass(slots=True, frozen=True)
class Reset:
    """The connection does not exist (any more): no process listens, or it has died. Its number is 0."""


@dataclass(slots=True, frozen=True)
class Requests:
    """Envelopes of the wire protocol that a client sends together.

    Attributes:
        operations: for the trace: id of a message -> client and number of the operation that it is sent for.
    """

    envelopes: tuple[bytes, ...]
    operations: Mapping[str, tuple[int, int]]


@dataclass(slots=True, frozen=True)
class Service:
    """For the checkers: how a node served a request.

    Attributes:
        node, at_us: the node, and the simulated time of the response.
        index, term: the log index at which a command took effect, and the term of the entry; 0 if unknown.
        kind, payload: the kind and the text of the request to the replica. The text is that of the entry. None and
            empty for a request of another kind.
    """

    node: int
    at_us: int
    index: int
    term: int
    kind: RequestKind | None
    payload: str


@dataclass(slots=True, frozen=True)
class Envelope:
    """An envelope of the wire protocol that a node sends. `service`: if it is the response to a request."""

    data: bytes
    service: Service | None


ToNode: TypeAlias = Open | Requests | Ping | Close
FromNode: TypeAlias = Opened | Envelope | Pong | Close | Reset


@dataclass(slots=True, frozen=True)
class ClientFrame:
    """A message of a client program. `connection` is a number of the client."""

    connection: int
    number: int
    content: ToNode


@dataclass(slots=True, frozen=True)
class NodeFrame:
    """A message of a node to a client program."""

    connection: int
    number: int
    content: FromNode
