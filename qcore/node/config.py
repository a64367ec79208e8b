"""`NodeConfig`: the settings of one node, with their defaults and checks."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from qcore.core.config import RaftConfig
from qcore.core.version import LATEST_RULES
from qcore.errors import ConfigError
from qcore.replica.config import ReplicaConfig
from qcore.transport.address import Address
from qcore.transport.limits import TransportLimits, frame_bytes_for

LogFormat = Literal["text", "json"]

#: The largest topology, in bytes of its command. The command is one entry. A frame (16 MiB) must hold that entry as a
#: JSON text within JSON, which is at most twice as long.
MAX_TOPOLOGY_BYTES: Final = 6 * 1024 * 1024


@dataclass(slots=True, frozen=True)
class NodeConfig:
    """Settings of one node.

    Attributes:
        node_id: this node's id in the cluster, a positive integer.
        ws_addr: the address to listen on, for WebSocket and HTTP. Port 0 takes a free one.
        advertise_addr: the address at which others reach this node; None for the address that the node listens on.
        data_dir: the data directory; created if missing; used by one process at a time.
        config_file: the topology to load when the cluster is first initialised, or None.
        trace_file: the file to write the trace to, or None.
        log_format, log_level: format and lowest level of the log lines on stderr.
        heartbeat_ms, election_timeout_min_ms, election_timeout_max_ms: see `RaftConfig`.
        use_uvloop: None uses uvloop if it is installed.
        request_timeout_ms: a client's request that has no outcome after this time ends as unknown.
        max_pending_requests, max_pending_bytes: the most client requests in progress, and the most bytes of their
            payloads; beyond either, requests are rejected as overloaded.
        max_command_bytes: a client's larger command is rejected. The topology may be larger: see
            `MAX_TOPOLOGY_BYTES`.
        max_session_requests: the most requests in progress at this node that open, keep or close sessions.
        max_admin_requests: the most membership changes, catch-ups and transfers in progress; a quarter is reserved for
            operators.
        max_uncommitted_bytes: size of the entries that are not committed; beyond it writes are rejected as overloaded.
        max_inflight_messages, max_inflight_bytes: appends on their way to one follower; beyond either the leader waits.
        max_snapshot_size: the most bytes of a snapshot from a leader; a larger one is ignored.
        snapshot_entries, snapshot_bytes, keep_entries, keep_bytes: when to take a snapshot, and which entries it leaves
            in the log; see `ReplicaConfig`.
        priority, lease_reads, max_wall_skew_ms: see `RaftConfig`.
        max_rules: the newest apply rules that this node supports. A lower number than the program's newest holds the
            cluster back, so that an older program can still replace this one.
        shutdown_grace_ms: how long to wait for requests in progress after SIGTERM.
        limits: of connections. The frame limits must allow a command of `max_command_bytes`.

    Raises:
        ConfigError: a value is out of range; the message names the field.
    """

    node_id: int
    ws_addr: Address
    data_dir: Path
    config_file: Path | None = None
    trace_file: Path | None = None
    log_format: LogFormat = "text"
    log_level: str = "info"
    heartbeat_ms: int = 100
    election_timeout_min_ms: int = 500
    election_timeout_max_ms: int = 1000
    use_uvloop: bool | None = None
    request_timeout_ms: int = 5000
    max_pending_requests: int = 8192
    max_pending_bytes: int = 64 * 1024 * 1024
    max_command_bytes: int = 1024 * 1024
    max_session_requests: int = 1024
    max_admin_requests: int = 64
    max_uncommitted_bytes: int = 64 * 1024 * 1024
    max_inflight_messages: int = 16
    max_inflight_bytes: int = 1024 * 1024
    max_snapshot_size: int = 4 * 1024 * 1024 * 1024
    limits: TransportLimits = field(default_factory=TransportLimits)
    shutdown_grace_ms: int = 5000
    snapshot_entries: int = 50_000
    snapshot_bytes: int = 64 * 1024 * 1024
    keep_entries: int = 5_000
    keep_bytes: int = 64 * 1024 * 1024
    priority: int = 1
    lease_reads: bool = False
    max_rules: int = LATEST_RULES
    max_wall_skew_ms: int = 1000
    advertise_addr: Address | None = None

    def __post_init__(self) -> None:
        advertised = self.advertise_addr
        if advertised is not None and (advertised.is_unspecified or advertised.port == 0):
            raise ConfigError(
                f"--advertise-addr: {advertised} cannot be dialled: give the host and port at which others reach "
                "this node"
            )
        if not 1 <= self.node_id <= 2**63 - 1:
            raise ConfigError(f"--id is {self.node_id}; it must be a positive 64-bit number")
        for name in (
            "request_timeout_ms",
            "shutdown_grace_ms",
            "max_command_bytes",
            "max_session_requests",
        ):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least 1")
        needed = frame_bytes_for(self.max_command_bytes)
        for name in ("max_client_frame_bytes", "max_frame_bytes"):
            if getattr(self.limits, name) < needed:
                raise ConfigError(
                    f"{name} is {getattr(self.limits, name)}; it must be at least {needed}: a command of "
                    f"max_command_bytes ({self.max_command_bytes}) may be written with six bytes for one"
                )
        self.replica_config()

    def replica_config(self) -> ReplicaConfig:
        """The settings that the replica needs.

        Raises:
            ConfigError: a value is out of range or the timeouts contradict each other.
        """
        return ReplicaConfig(
            raft=RaftConfig(
                node_id=self.node_id,
                election_timeout_min_ms=self.election_timeout_min_ms,
                election_timeout_max_ms=self.election_timeout_max_ms,
                heartbeat_ms=self.heartbeat_ms,
                priority=self.priority,
                lease_reads=self.lease_reads,
                max_wall_skew_ms=self.max_wall_skew_ms,
                max_uncommitted_bytes=self.max_uncommitted_bytes,
                max_inflight_messages=self.max_inflight_messages,
                max_inflight_bytes=self.max_inflight_bytes,
                max_snapshot_size=self.max_snapshot_size,
            ),
            # `RequestHandler` checks clients' commands; the replica must accept the topology as well.
            max_command_bytes=max(self.max_command_bytes, MAX_TOPOLOGY_BYTES),
            max_pending_requests=self.max_pending_requests,
            max_pending_bytes=self.max_pending_bytes,
            max_admin_requests=self.max_admin_requests,
            snapshot_entries=self.snapshot_entries,
            snapshot_bytes=self.snapshot_bytes,
            keep_entries=self.keep_entries,
            keep_bytes=self.keep_bytes,
            max_rules=self.max_rules,
        )
