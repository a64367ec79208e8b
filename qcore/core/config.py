"""`RaftConfig`: the settings of one Raft server. Durations carry their unit in the name."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from qcore.errors import ConfigError
from qcore.settings import check_bounds, setting

#: The most entries in one append. `qcore.transport.codec.frame_bounds` derives from it how large a peer's message may
#: be.
MAX_BATCH_BYTES: Final = 256 * 1024

#: The largest node id.
MAX_NODE_ID: Final = 2**63 - 1


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
    """Settings of a `RaftCore`. The text beside each field gives its meaning, unit and bounds.

    Raises:
        ConfigError: a value is out of range; the message names the field.
    """

    node_id: int = field(
        metadata=setting(
            "This node's id in the cluster.",
            name="id",
            minimum=1,
            maximum=MAX_NODE_ID,
            scenario=None,
        )
    )
    election_timeout_min_ms: int = field(
        default=150,
        metadata=setting(
            "Shortest election timeout. Each one is drawn uniformly between the shortest and the longest. A follower "
            "regards its leader as live for the shortest after each of its messages.",
            unit="ms",
            minimum=1,
            node_default=500,
            scenario="election_timeout_ms",
        ),
    )
    election_timeout_max_ms: int = field(
        default=300,
        metadata=setting(
            "Longest election timeout.",
            unit="ms",
            minimum=1,
            node_default=1000,
            scenario="election_timeout_ms",
        ),
    )
    heartbeat_ms: int = field(
        default=50,
        metadata=setting(
            "Interval between the leader's heartbeats: it sends at least this often to each peer.",
            unit="ms",
            minimum=1,
            node_default=100,
        ),
    )
    # `node=False` below: every real node keeps these rules, and the sizes on which its peers rely.
    pre_vote: bool = field(
        default=True,
        metadata=setting(
            "Ask for pre-votes before raising the term (dissertation 9.6).", node=False
        ),
    )
    check_quorum: bool = field(
        default=True,
        metadata=setting(
            "A leader without contact to a quorum for an election timeout steps down, and servers in contact with a "
            "leader reject votes (dissertation 6.2, 4.2.3).",
            node=False,
        ),
    )
    max_inflight_messages: int = field(
        default=16,
        metadata=setting(
            "Most appends sent to one follower and not yet acknowledged. Beyond it the leader waits.",
            unit="messages",
            minimum=1,
        ),
    )
    max_inflight_bytes: int = field(
        default=1024 * 1024,
        metadata=setting(
            "Most entries in appends sent to one follower and not yet acknowledged. Beyond it the leader waits.",
            unit="bytes",
            minimum=1,
        ),
    )
    max_batch_bytes: int = field(
        default=MAX_BATCH_BYTES,
        metadata=setting(
            "Most entries in one append. A single larger entry is sent alone.",
            unit="bytes",
            minimum=1,
            node=False,
        ),
    )
    max_uncommitted_bytes: int = field(
        default=64 * 1024 * 1024,
        metadata=setting(
            "Most entries that are appended and not yet committed. Beyond it the leader rejects proposals, and writes "
            "are rejected as overloaded.",
            unit="bytes",
            minimum=1,
        ),
    )
    max_snapshot_chunk: int = field(
        default=256 * 1024,
        metadata=setting(
            "Size of a snapshot's part in one message, as UTF-8. A larger single character is sent alone.",
            unit="bytes",
            minimum=1,
            node=False,
        ),
    )
    max_snapshot_size: int = field(
        default=4 * 1024 * 1024 * 1024,
        metadata=setting(
            "Largest snapshot that a leader may send to this node. A larger one is ignored.",
            unit="bytes",
            minimum=1,
        ),
    )
    priority: int = field(
        default=1,
        metadata=setting(
            "A caught-up voter of higher priority takes over the leadership. A node of priority 0 never leads.",
            minimum=0,
            scenario="priorities",
        ),
    )
    lease_reads: bool = field(
        default=False,
        metadata=setting(
            "Allow reads under the leader's lease (dissertation 6.4.1). Set this to the same value on all nodes. A "
            "server then promises its vote to the leader for the shortest election timeout. The promise outlives a "
            "restart."
        ),
    )
    max_clock_drift_percent: int = field(
        default=10,
        metadata=setting(
            "Bound on how much the speeds of any two clocks differ. It shortens the lease.",
            unit="percent",
            minimum=0,
            maximum=99,
            node=False,
        ),
    )
    max_wall_skew_ms: int = field(
        default=1000,
        metadata=setting(
            "The leader stamps entries with its wall clock only within this distance of a quorum's. A clock further "
            "away is reported.",
            unit="ms",
            minimum=1,
        ),
    )
    safeguards: Safeguards = field(default_factory=Safeguards)

    def __post_init__(self) -> None:
        check_bounds(self)
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
