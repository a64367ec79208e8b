"""`TransportLimits`: the times, sizes and numbers by which every wait ends and every queue is bounded."""

from __future__ import annotations

from dataclasses import dataclass, field

from qcore.errors import ConfigError
from qcore.settings import check_bounds, setting

KIB = 1024
MIB = 1024 * 1024

#: The size of the largest command of a client, unless configured otherwise.
DEFAULT_COMMAND_BYTES = MIB

#: The most founders of a cluster (`--expect`): nodes that are no members yet send a list of all.
MAX_FOUNDERS = 31


def frame_bytes_for(max_command_bytes: int) -> int:
    """The size of a client's frame that can carry any command of at most this many bytes.

    Every byte of a text may be written as an escape of six bytes, and the envelope needs some bytes as well.
    """
    return 6 * max_command_bytes + 64 * KIB


@dataclass(slots=True, frozen=True)
class TransportLimits:
    """Limits of one server, pool or client. The text beside each field gives its meaning, unit and bounds.

    Raises:
        ConfigError: a value is out of range, `dead_after_s` leaves no time to answer a ping, or `backoff_max_s` is
            below `backoff_min_s`; the text names the field.
    """

    max_frame_bytes: int = field(
        default=16 * MIB,
        metadata=setting(
            "Largest frame of a peer. A larger one closes the connection with 1009.",
            unit="bytes",
            minimum=1,
        ),
    )
    max_client_frame_bytes: int = field(
        default=frame_bytes_for(DEFAULT_COMMAND_BYTES),
        metadata=setting(
            "Largest frame of a client, and of a peer before its `Hello` is accepted. It must hold a command of "
            "`max_command_bytes` in which every byte takes six. A value above `max_frame_bytes` has no effect.",
            unit="bytes",
            minimum=1,
        ),
    )
    max_queue_bytes: int = field(
        default=32 * MIB,
        metadata=setting(
            "Most bytes sent that the socket has not accepted. Beyond it the connection is dropped.",
            unit="bytes",
            minimum=1,
        ),
    )
    max_watch_queue_bytes: int = field(
        default=4 * MIB,
        metadata=setting(
            "Most bytes sent to a watching client that the socket has not accepted. Beyond it the watches of the "
            "connection end with `WatchOverflow`.",
            unit="bytes",
            minimum=256 * KIB,
        ),
    )
    ping_interval_s: float = field(
        default=5.0,
        metadata=setting(
            "Ping the other end after this long without a byte from it.",
            unit="s",
            above=0,
        ),
    )
    dead_after_s: float = field(
        default=15.0,
        metadata=setting(
            "Drop the connection after this long without a byte from the other end.",
            unit="s",
            above=0,
        ),
    )
    probe_after_s: float = field(
        default=0.25,
        metadata=setting(
            "Of a client: while a request waits, ping the node after this long without a byte from it.",
            unit="s",
            above=0,
            node=False,
        ),
    )
    silent_after_s: float = field(
        default=1.0,
        metadata=setting(
            "Of a client: drop the connection if such a ping is unanswered for this long.",
            unit="s",
            above=0,
            node=False,
        ),
    )
    send_stall_s: float = field(
        default=10.0,
        metadata=setting(
            "Drop the connection if the other end accepts none of the waiting bytes for this long.",
            unit="s",
            above=0,
        ),
    )
    close_timeout_s: float = field(
        default=2.0,
        metadata=setting(
            "Time that a closing handshake may take.",
            unit="s",
            above=0,
        ),
    )
    handshake_timeout_s: float = field(
        default=5.0,
        metadata=setting(
            "Time that opening a connection may take (TCP, HTTP).",
            unit="s",
            above=0,
        ),
    )
    hello_timeout_s: float = field(
        default=3.0,
        metadata=setting(
            "Time that a peer may take to send or answer `Hello`.",
            unit="s",
            above=0,
        ),
    )
    max_clients: int = field(
        default=512,
        metadata=setting(
            "Most connections of clients. A further one gets HTTP 503.",
            unit="connections",
            minimum=1,
        ),
    )
    max_handshakes: int = field(
        default=384,
        metadata=setting(
            "Most connections that have not finished their HTTP request. Beyond it the oldest is dropped.",
            unit="connections",
            minimum=1,
        ),
    )
    reserved_for_peers: int = field(
        default=64,
        metadata=setting(
            "Connections beyond `max_clients` that announce themselves as peers.",
            unit="connections",
            minimum=1,
        ),
    )
    reserved_for_admin: int = field(
        default=8,
        metadata=setting(
            "Connections beyond `max_clients` that announce themselves as admin connections. Beyond it the one "
            "without a request for the longest time is dropped.",
            unit="connections",
            minimum=1,
        ),
    )
    login_timeout_s: float = field(
        default=10.0,
        metadata=setting(
            "Once there are users: time for which a client's connection without a user keeps its place when all are "
            "taken.",
            unit="s",
            above=0,
        ),
    )
    idle_timeout_s: float = field(
        default=300.0,
        metadata=setting(
            "Close a client's connection with 1001 after this long without a request, sent or in progress.",
            unit="s",
            above=0,
            zero="never",
        ),
    )
    backoff_min_s: float = field(
        default=0.05,
        metadata=setting(
            "Shortest pause before reconnecting to a peer. The pause doubles after each failure, with jitter.",
            unit="s",
            above=0,
        ),
    )
    backoff_max_s: float = field(
        default=1.0,
        metadata=setting(
            "Longest pause before reconnecting to a peer.",
            unit="s",
            above=0,
        ),
    )
    refused_backoff_s: float = field(
        default=5.0,
        metadata=setting(
            "Pause, with jitter, after a peer refused this node's `Hello`.",
            unit="s",
            above=0,
        ),
    )
    max_peer_queue_messages: int = field(
        default=4096,
        metadata=setting(
            "Most messages that wait for one peer, in one turn of the event loop or while its socket is full. "
            "Further ones are dropped.",
            unit="messages",
            minimum=1,
        ),
    )
    max_clients_bytes: int = field(
        default=64 * MIB,
        metadata=setting(
            "Most memory held for all clients together: responses that they have not read, frames that they have "
            "not finished, and frames that wait. Beyond it the connections that hold most are dropped.",
            unit="bytes",
            minimum=1,
        ),
    )
    max_client_requests: int = field(
        default=16384,
        metadata=setting(
            "Of a client: most requests of one connection that wait for responses. Beyond it `Overloaded`.",
            unit="requests",
            minimum=1,
            node=False,
        ),
    )

    def __post_init__(self) -> None:
        check_bounds(self)
        if self.dead_after_s <= self.ping_interval_s:
            raise ConfigError(
                f"dead_after_s ({self.dead_after_s}) must be above ping_interval_s "
                f"({self.ping_interval_s}): a ping needs time to be answered"
            )
        if self.backoff_max_s < self.backoff_min_s:
            raise ConfigError(
                f"backoff_max_s ({self.backoff_max_s}) is below backoff_min_s ({self.backoff_min_s}): "
                "the pause grows from one to the other"
            )
