"""`Progress`: what a leader knows of each follower: its log, and what is in flight to it.

| state | sends | leaves when |
|---|---|---|
| probe | one append, then waits for a response to it or to a heartbeat | one succeeds: replicate |
| replicate | a window of appends, optimistically | one is rejected, or the peer is unreachable: probe |
| snapshot | one chunk, then waits; heartbeats | the follower reports an index that the log can continue: replicate |
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from qcore.compiled_build import register_copies
from qcore.core.entry import Snapshot

ProgressState = Literal["probe", "replicate", "snapshot"]

#: A moment before all others, µs: the event has not happened yet.
NOT_YET: Final = -(1 << 62)


@dataclass
class OutgoingSnapshot:
    """A snapshot that is being sent to one follower, a chunk at a time.

    Attributes:
        snapshot: the snapshot that is sent. It stays the same while the log can continue after it.
        checksum: CRC-32 of its text.
        offset: how many characters the follower is known to hold.
        sent_at: when the newest chunk was sent, µs.
        reinstall: it replaces what the follower has; see `qcore.core.log.reinstall`.
    """

    snapshot: Snapshot
    checksum: int
    offset: int
    sent_at: int
    reinstall: bool = False


class Progress:
    """Replication state of one follower.

    Attributes:
        match: highest index known to be durable in the follower's log.
        next: the next index to send.
        acked_round: the newest read round to which the follower has responded; -1 if none in this term.
        address_changed_in_round: the round in which its address changed; -1 if it did not since this leader began.
        acked_round_started_at: when the round `acked_round` began, µs; `NOT_YET` if there is none.
        echo_us: the follower's clock as its newest response reported it; 0 if it did not.
        echo_arrived_at: when that response arrived, µs.
        last_response_at: when the follower last responded, µs (or when this leader began).
        responding_since: since when it responds without a break of an election timeout, µs; None if there was no break
            since this leader began.
        unanswered_heartbeats: heartbeats of the leader since the last response.
        last_sent_at: when an append was last sent, µs.
        priority: the follower's priority, as its last response reported it.
        promise_ms: for how long the follower grants no other node a vote, as its last response reported it.
        reinstall_through: the follower waits for a snapshot through this index or a later one that replaces all that it
            has, and gets no entry beyond it; None if it does not.
        wall_offset_us: how far its wall clock is ahead of the leader's monotonic clock, as its last response or
            its vote reported it; None while unreported.
    """

    __slots__ = (
        "acked_round",
        "acked_round_started_at",
        "address_changed_in_round",
        "echo_arrived_at",
        "echo_us",
        "inflight",
        "inflight_bytes",
        "last_response_at",
        "last_sent_at",
        "match",
        "next",
        "priority",
        "probe_sent",
        "promise_ms",
        "reinstall_through",
        "responding_since",
        "snapshot",
        "state",
        "unanswered_heartbeats",
        "wall_offset_us",
    )

    def __init__(self, next_index: int, now: int) -> None:
        self.state: ProgressState = "probe"
        self.match = 0
        self.next = next_index
        self.probe_sent = False
        self.snapshot: OutgoingSnapshot | None = None
        self.inflight: list[tuple[int, int]] = []  # (last index, bytes) of each append
        self.inflight_bytes = 0
        self.acked_round = -1
        self.address_changed_in_round = -1
        self.acked_round_started_at = NOT_YET
        self.echo_us = 0
        self.echo_arrived_at = now
        self.last_response_at = now
        self.responding_since: int | None = None
        self.unanswered_heartbeats = 0
        self.last_sent_at = -1
        self.priority = 1
        self.promise_ms = 0
        self.wall_offset_us: int | None = None
        self.reinstall_through: int | None = None

    def record_response(self, now: int, longest_silence_us: int) -> None:
        """Any response of the follower arrived.

        A break counts only if the leader was running meanwhile: after a pause of the leader every follower seems to
        have been silent.
        """
        if self.unanswered_heartbeats >= 3 and now - self.last_response_at >= longest_silence_us:
            self.responding_since = now
        self.unanswered_heartbeats = 0
        self.last_response_at = now

    def paused(self, max_messages: int, max_bytes: int) -> bool:
        """True while nothing but heartbeats may be sent."""
        if self.state == "replicate":
            return len(self.inflight) >= max_messages or self.inflight_bytes >= max_bytes
        return self.state == "snapshot" or self.probe_sent

    def record_sent(self, last_index: int, size: int) -> None:
        """An append that ends at `last_index` was sent."""
        if self.state == "replicate":
            self.next = last_index + 1
            self.inflight.append((last_index, size))
            self.inflight_bytes += size
        else:
            self.probe_sent = True

    def update_match(self, match_index: int) -> bool:
        """The follower durably holds everything up to `match_index`. True if that was not known."""
        inflight = self.inflight
        while inflight and inflight[0][0] <= match_index:
            self.inflight_bytes -= inflight.pop(0)[1]
        if match_index <= self.match:
            return False
        self.match = match_index
        self.next = max(self.next, match_index + 1)
        return True

    def become_probe(self, next_index: int) -> None:
        self._enter("probe")
        self.next = max(next_index, self.match + 1)

    def become_replicate(self, next_index: int) -> None:
        self._enter("replicate")
        self.next = max(next_index, self.match + 1)

    def become_snapshot(self, transfer: OutgoingSnapshot) -> None:
        self._enter("snapshot")
        self.snapshot = transfer
        self.next = transfer.snapshot.meta.last_included_index + 1

    def _enter(self, state: ProgressState) -> None:
        self.state = state
        self.probe_sent = False
        self.snapshot = None
        self.inflight.clear()
        self.inflight_bytes = 0


register_copies(globals())
