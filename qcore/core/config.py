"""`RaftConfig`: the settings of one Raft server. Durations carry their unit in the name."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from qcore.errors import ConfigError

#: The most entries in one append. `qcore.transport.codec.frame_bounds` derives from it how large a peer's message may
#: be.
MAX_BATCH_BYTES: Final = 256 * 1024


@dataclass(slots=True, frozen=True)
class Safeguards:
    """The rules that the safety argument needs. For tests only: each can be switched off.

    A scenario that switches one off must show that the checkers catch the consequences.

    Attributes:
        vote_durable_before_reply: a vote is sent only after term and vote are durable (paper, figure 2).
        append_durable_before_ack: an append is acknowledged only after its entries are durable, and
            the leader counts itself only then (dissertation 10.2.1).
        log_freshness_check: votes go only to candidates whose log is up to date (paper, 5.4.1).
        one_vote_per_term: a server that voted for one candidate rejects the others (paper, 5.2).
        commit_own_term_only: entries of older terms are never committed by counting (paper, 5.4.2).
        noop_on_election: a new leader appends a no-op (dissertation 6.4).
        lease_drift_margin: the lease is shorter than the followers' promise by the bound on clock drift.
        read_confirmation: a linearizable read waits until a quorum has responded (dissertation 6.4).
        freshness_check: a state counts as fresh only on a leader that has committed in its current term, and on a
            follower that holds what that leader had committed; see `qcore.core.reads.freshness`.
    """

    vote_durable_before_reply: bool = True
    append_durable_before_ack: bool = True
    log_freshness_check: bool = True
    one_vote_per_term: bool = True
    commit_own_term_only: bool = True
    noop_on_election: bool = True
    lease_drift_margin: bool = True
    read_confirmation: bool = True
    freshness_check: bool = True


@dataclass(slots=True, frozen=True)
class RaftConfig:
    """Settings of a `RaftCore`.

    Attributes:
        node_id: this server, a positive integer.
        election_timeout_min_ms, election_timeout_max_ms: each election timeout is drawn uniformly
            from this range. A follower regards its leader as live for the minimum after each of its messages.
        heartbeat_ms: the leader sends at least this often to each peer.
        pre_vote: ask for pre-votes before raising the term (dissertation 9.6).
        check_quorum: a leader without contact to a quorum for an election timeout steps down, and
            servers in contact with a leader reject votes (dissertation 6.2, 4.2.3).
        max_inflight_messages, max_inflight_bytes: appends sent to one follower and not yet acknowledged.
            Later messages wait behind them on the link (measured in benchmarks/README.md).
        max_batch_bytes: entries in one append. A single larger entry is sent alone.
        max_uncommitted_bytes: appended and not yet committed. Beyond it the leader rejects proposals.
        max_snapshot_chunk: bytes of a snapshot in one message; a single larger character is sent alone.
        max_snapshot_size: bytes of a snapshot that a leader may send. A larger one is ignored.
        priority: a caught-up voter of higher priority takes over; a server of priority 0 never leads.
        lease_reads: allow reads under the leader's lease (dissertation 6.4.1). All nodes must agree on it. A server
            then promises its vote to the leader for the minimum election timeout. The promise outlives a restart.
        max_clock_drift_percent: bound on how much any two clocks' speeds differ; shortens the lease.
        max_wall_skew_ms: the leader stamps entries with its wall clock only within this distance of a quorum's;
            a clock further away is reported. See `qcore.core.clocks.wall_time`.

    Raises:
        ConfigError: a value is out of range; the message names the field.
    """

    node_id: int
    election_timeout_min_ms: int = 150
    election_timeout_max_ms: int = 300
    heartbeat_ms: int = 50
    pre_vote: bool = True
    check_quorum: bool = True
    max_inflight_messages: int = 16
    max_inflight_bytes: int = 1024 * 1024
    max_batch_bytes: int = MAX_BATCH_BYTES
    max_uncommitted_bytes: int = 64 * 1024 * 1024
    max_snapshot_chunk: int = 256 * 1024
    max_snapshot_size: int = 4 * 1024 * 1024 * 1024
    priority: int = 1
    lease_reads: bool = False
    max_clock_drift_percent: int = 10
    max_wall_skew_ms: int = 1000
    safeguards: Safeguards = field(default_factory=Safeguards)

    def __post_init__(self) -> None:
        for name in (
            "node_id",
            "election_timeout_min_ms",
            "heartbeat_ms",
            "max_inflight_messages",
            "max_inflight_bytes",
            "max_batch_bytes",
            "max_uncommitted_bytes",
            "max_wall_skew_ms",
            "max_snapshot_chunk",
            "max_snapshot_size",
        ):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if self.priority < 0:
            raise ConfigError(f"priority is {self.priority}; it must be at least 0 (0 never leads)")
        if not 0 <= self.max_clock_drift_percent < 100:
            raise ConfigError(
                f"max_clock_drift_percent is {self.max_clock_drift_percent}; it must be from 0 to 99"
            )
        if self.lease_reads and not self.check_quorum:
            raise ConfigError(
                "lease_reads needs check_quorum: without it servers grant votes while a leader lives, "
                "and the lease means nothing"
            )
        if self.election_timeout_max_ms < self.election_timeout_min_ms:
            raise ConfigError(
                f"election_timeout_max_ms ({self.election_timeout_max_ms}) is below "
                f"election_timeout_min_ms ({self.election_timeout_min_ms}); swap or widen them"
            )
        if self.heartbeat_ms >= self.election_timeout_min_ms:
            raise ConfigError(
                f"heartbeat_ms ({self.heartbeat_ms}) must be below election_timeout_min_ms "
                f"({self.election_timeout_min_ms}), better a third of it or less: followers would campaign "
                "against a live leader"
            )
