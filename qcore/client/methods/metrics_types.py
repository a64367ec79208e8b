"""`Metrics`: the types of the metrics object that `GetMetrics` returns. docs/reference/api.md describes its keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypedDict

from pydantic import JsonValue


class LeaderIdJson(TypedDict):
    """A term, and the node that led it; 0 if the reporting node does not know it."""

    term: int
    node_id: int


class LogIdJson(TypedDict):
    """The place of an entry in the log."""

    leader_id: LeaderIdJson
    index: int


class VoteJson(TypedDict):
    """The node's vote; `committed` once it knows the leader of the term."""

    leader_id: LeaderIdJson
    committed: bool


class NodeAddressJson(TypedDict):
    """How to reach a member."""

    addr: str


class MembershipJson(TypedDict):
    """The voters, in two lists while they change, and the address of each member by id."""

    configs: list[list[int]]
    nodes: dict[str, NodeAddressJson]


class MembershipConfigJson(TypedDict):
    """The effective configuration, and its place in the log."""

    log_id: LogIdJson | None
    membership: MembershipJson


class CommittedMembershipJson(TypedDict):
    """The newest committed configuration, and its index in the log."""

    index: int
    membership: MembershipJson
    learners: list[int]


class StoredJson(TypedDict):
    """What the node holds on disk."""

    first_log_index: int
    last_log_index: int
    log_bytes: int
    snapshot_index: int


class QuotaJson(TypedDict):
    """The use of a quota."""

    limit: int
    use: int | None
    refused: int
    reached: bool


class QcoreMetrics(TypedDict, total=False):
    """What only qcore reports. An older node lacks some keys."""

    version: str
    cluster_id: str | None
    address: str
    peer_refusals: dict[str, str]
    apply_rules: dict[str, JsonValue]
    machine: dict[str, JsonValue]
    members_support: dict[str, dict[str, JsonValue]]
    role: str
    removed: str | None
    leader_ready: bool | None
    commit_index: int
    applied_index: int
    durable_index: int
    first_log_index: int
    stored: StoredJson
    membership_index: int
    public_keys: dict[str, str]
    committed_membership: CommittedMembershipJson
    priority: int
    priorities: dict[str, int] | None
    learners: list[int]
    snapshot_transfers: dict[str, JsonValue]
    state_hash: str
    state_digests: dict[str, str]
    state_comparison: dict[str, JsonValue] | None
    diverged_at: int | None
    disk_full: bool
    quotas: dict[str, QuotaJson]
    clock: dict[str, JsonValue]
    event_loop_stall_seconds_max: float
    queues: dict[str, int]
    connections: dict[str, int]
    watches: dict[str, JsonValue]
    uptime_seconds: float


class Metrics(TypedDict):
    """The metrics object of one node."""

    running_state: Mapping[Literal["Ok", "Err"], str | None]
    id: int
    current_term: int
    vote: VoteJson
    last_log_index: int | None
    last_applied: LogIdJson | None
    snapshot: LogIdJson | None
    purged: LogIdJson | None
    state: Literal["Leader", "Follower", "Candidate", "Learner", "Shutdown"]
    current_leader: int | None
    millis_since_quorum_ack: int | None
    membership_config: MembershipConfigJson
    replication: dict[str, LogIdJson | None] | None
    qcore: QcoreMetrics
