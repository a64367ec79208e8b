"""`TransportLimits`: the times, sizes and numbers by which every wait ends and every queue is bounded."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from qcore.errors import ConfigError

KIB = 1024
MIB = 1024 * 1024

#: The size of the largest command of a client, unless configured otherwise.
DEFAULT_COMMAND_BYTES = MIB


def frame_bytes_for(max_command_bytes: int) -> int:
    """The size of a client's frame that can carry any command of at most this many bytes.

    Every byte of a text may be written as an escape of six bytes, and the envelope needs some bytes as well.
    """
    return 6 * max_command_bytes + 64 * KIB


#: Limits for which 0 means never.
OR_NEVER = ("idle_timeout_s",)

#: Limits that only a client uses.
CLIENT_ONLY = ("max_client_requests", "probe_after_s", "silent_after_s")


@dataclass(slots=True, frozen=True)
class TransportLimits:
    """Limits of one server, pool or client.

    Attributes:
        max_frame_bytes: the largest incoming frame; a larger one closes the connection with 1009.
        max_client_frame_bytes: the same for a frame of a client, and of a peer before its `Hello` is accepted. It must
            hold a command of `max_command_bytes` in which every byte takes six. A value above `max_frame_bytes` has no
            effect.
        max_queue_bytes: bytes sent that the socket has not accepted; above this the connection is dropped.
        ping_interval_s: ping the other end after this long without a byte from it.
        dead_after_s: drop the connection after this long without a byte from the other end.
        probe_after_s: of a client: while a request waits, ping the node after this long without a byte from it.
        silent_after_s: of a client: drop the connection if such a ping is unanswered for this long.
        send_stall_s: drop the connection if the other end accepts none of the waiting bytes for this long.
        close_timeout_s: how long a closing handshake may take.
        handshake_timeout_s: how long opening a connection may take (TCP, HTTP).
        hello_timeout_s: how long a peer may take to send or answer `Hello`.
        max_clients: the most connections of clients; a further one gets HTTP 503.
        max_handshakes: the most connections that have not finished their HTTP request; beyond this the oldest is
            dropped.
        reserved_for_peers: connections beyond `max_clients` that announce themselves as peers.
        reserved_for_admin: connections beyond `max_clients` that announce themselves as admin connections; beyond this,
            the one without a request for the longest time is dropped.
        idle_timeout_s: close a client's connection with 1001 after this long without a request, sent or in progress;
            0 for never.
        backoff_min_s, backoff_max_s: the shortest and the longest pause before reconnecting to a peer. The pause
            doubles after each failure, with jitter.
        refused_backoff_s: the pause, with jitter, after a peer refused this node's `Hello`.
        max_peer_queue_messages: the most messages that wait for one peer, in one turn of the event loop or while its
            socket is full; further ones are dropped.
        max_clients_bytes: the most memory held for all clients together: responses that they have not read, frames that
            they have not finished, and frames that wait. Above this, the connections that hold most are dropped.
        max_client_requests: of a client: the most requests of one connection that wait for responses; beyond this
            `Overloaded`.

    Raises:
        ConfigError: a value is not positive or not finite, `dead_after_s` leaves no time to answer a ping, or
            `backoff_max_s` is below `backoff_min_s`; the text names the field.
    """

    max_frame_bytes: int = 16 * MIB
    max_client_frame_bytes: int = frame_bytes_for(DEFAULT_COMMAND_BYTES)
    max_queue_bytes: int = 32 * MIB
    ping_interval_s: float = 5.0
    dead_after_s: float = 15.0
    probe_after_s: float = 0.25
    silent_after_s: float = 1.0
    send_stall_s: float = 10.0
    close_timeout_s: float = 2.0
    handshake_timeout_s: float = 5.0
    hello_timeout_s: float = 3.0
    max_clients: int = 512
    max_handshakes: int = 384
    reserved_for_peers: int = 64
    reserved_for_admin: int = 8
    idle_timeout_s: float = 300.0
    backoff_min_s: float = 0.05
    backoff_max_s: float = 1.0
    refused_backoff_s: float = 5.0
    max_peer_queue_messages: int = 4096
    max_clients_bytes: int = 64 * MIB
    max_client_requests: int = 16384

    def __post_init__(self) -> None:
        for field in fields(self):
            value, or_never = getattr(self, field.name), field.name in OR_NEVER
            if not (0 < value < math.inf or (value == 0 and or_never)):
                least = "positive and finite, or 0 for never" if or_never else "positive and finite"
                raise ConfigError(f"{field.name} is {value}; it must be {least}")
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
