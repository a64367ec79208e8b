"""`ReplicaConfig`: the settings of a replica."""

from __future__ import annotations

from dataclasses import dataclass, field

from qcore.core.config import RaftConfig
from qcore.core.version import LATEST_RULES
from qcore.errors import ConfigError
from qcore.settings import check_bounds, section, setting


@dataclass(slots=True, frozen=True)
class ReplicaConfig:
    """Settings of a `Replica`. The text beside each field gives its meaning, unit and bounds.

    Raises:
        ConfigError: a value is out of range; the message names the field.
    """

    raft: RaftConfig = field(metadata=section("Raft"))
    max_command_bytes: int = field(
        default=1024 * 1024,
        metadata=setting(
            "Largest command or query of a client. A larger one is rejected (`TooLarge`) before it is appended. The "
            "topology may be larger.",
            unit="bytes",
            minimum=1,
        ),
    )
    max_pending_requests: int = field(
        default=8192,
        metadata=setting(
            "Most client requests that wait for an outcome. Beyond it requests are rejected as overloaded.",
            unit="requests",
            minimum=1,
        ),
    )
    max_pending_bytes: int = field(
        default=64 * 1024 * 1024,
        metadata=setting(
            "Most bytes that the payloads of these requests have together. Beyond it requests are rejected as "
            "overloaded.",
            unit="bytes",
            minimum=1,
        ),
    )
    max_admin_requests: int = field(
        default=64,
        metadata=setting(
            "Most membership changes, catch-ups of learners and transfers that wait for an outcome. A quarter is "
            "reserved for operators. Beyond it requests are rejected as overloaded.",
            unit="requests",
            minimum=1,
        ),
    )
    snapshot_entries: int = field(
        default=0,
        metadata=setting(
            "Take a snapshot after this many entries were applied since the last one. 0 disables this trigger.",
            unit="entries",
            minimum=0,
            node_default=50_000,
        ),
    )
    snapshot_bytes: int = field(
        default=0,
        metadata=setting(
            "Take a snapshot after this many bytes of entries were applied since the last one, but at least half the "
            "size of the last snapshot. 0 disables this trigger.",
            unit="bytes",
            minimum=0,
            node_default=64 * 1024 * 1024,
        ),
    )
    keep_entries: int = field(
        default=1000,
        metadata=setting(
            "Entries covered by a snapshot that stay in the log for slow followers.",
            unit="entries",
            minimum=0,
            node_default=5_000,
        ),
    )
    keep_bytes: int = field(
        default=64 * 1024 * 1024,
        metadata=setting("Most bytes that these entries have.", unit="bytes", minimum=0),
    )
    state_quota_bytes: int = field(
        default=0,
        metadata=setting(
            "While the state of the state machine has more bytes, the leader rejects commands that may add to it "
            "(`QuotaExceeded`). What deletes is still possible. 0: no quota.",
            unit="bytes",
            minimum=0,
            node_default=2 * 1024 * 1024 * 1024,
        ),
    )
    log_quota_bytes: int = field(
        default=0,
        metadata=setting(
            "While the log has more bytes, the leader rejects commands (`QuotaExceeded`) until a snapshot has replaced "
            "a part of it. Must be above `keep_bytes`. 0: no quota.",
            unit="bytes",
            minimum=0,
            node_default=4 * 1024 * 1024 * 1024,
        ),
    )
    watch_history_changes: int = field(
        default=10_000,
        metadata=setting(
            "Most changes of the state machine that are kept for watches that resume.",
            unit="changes",
            minimum=0,
        ),
    )
    watch_history_bytes: int = field(
        default=16 * 1024 * 1024,
        metadata=setting("Most memory that these changes take.", unit="bytes", minimum=0),
    )
    max_watches: int = field(
        default=50_000,
        metadata=setting(
            "Most watches at this node. Beyond it new ones are rejected as overloaded.",
            unit="watches",
            minimum=1,
        ),
    )
    digest_interval_ms: int = field(
        default=0,
        metadata=setting(
            "How often a member sends digests of its state to the others, which find divergence. 0: never.",
            unit="ms",
            minimum=0,
            node_default=2_000,
        ),
    )
    max_rules: int = field(
        default=LATEST_RULES,
        metadata=setting(
            "Newest apply rules that this node supports. A lower number holds the cluster back, so that an older qcore "
            "can still replace this one.",
            minimum=1,
            maximum=LATEST_RULES,
        ),
    )

    gather_reads: bool = field(
        default=False,
        metadata=setting(
            "Ask once for all linearizable reads of one step: a follower its leader, and a leader its quorum.",
            node=False,
            node_default=True,
        ),
    )

    def __post_init__(self) -> None:
        check_bounds(self)
        if 0 < self.log_quota_bytes <= self.keep_bytes:
            raise ConfigError(
                f"log_quota_bytes is {self.log_quota_bytes}; it must be above keep_bytes ({self.keep_bytes}), "
                "which a snapshot leaves in the log"
            )
