"""`NodeConfig`: the settings of one node, with their defaults and checks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Literal, Self

from qcore.core.config import RaftConfig
from qcore.core.entry import Membership
from qcore.core.version import LATEST_RULES
from qcore.errors import ConfigError
from qcore.node.addresses.peer_addresses import PeerAddresses, parse_hints
from qcore.node.backups.backup_config import BackupConfig
from qcore.node.discovery.discovery_config import DiscoveryConfig
from qcore.node.tls_config import TlsConfig
from qcore.replica.config import ReplicaConfig
from qcore.settings import check_bounds, for_node, section, setting
from qcore.transport.address import Address
from qcore.transport.limits import TransportLimits, frame_bytes_for
from qcore.transport.server.origins import AllowedOrigins
from qcore.transport.server.page_guard import PageGuard

LogFormat = Literal["text", "json"]
LogLevel = Literal["debug", "info", "warning", "error"]

#: The largest topology, in bytes of its command. The command is one entry. A frame (16 MiB) must hold that entry as a
#: JSON text within JSON, which is at most twice as long.
MAX_TOPOLOGY_BYTES: Final = 6 * 1024 * 1024


@dataclass(slots=True, frozen=True, kw_only=True)
class NodeConfig:
    """Settings of one node. The text beside each field gives its meaning, unit and bounds.

    `NodeConfig.of` makes one from the names of all settings, with the defaults of a real node.

    Raises:
        ConfigError: a value is out of range, or values contradict each other; the message names the field.
    """

    replica: ReplicaConfig = field(metadata=section("Requests and snapshots"))
    limits: TransportLimits = field(
        default_factory=TransportLimits, metadata=section("Connections")
    )
    tls: TlsConfig = field(default_factory=TlsConfig, metadata=section("TLS"))
    backups: BackupConfig = field(
        default_factory=BackupConfig, metadata=section("Scheduled backups")
    )
    discovery: DiscoveryConfig = field(
        default_factory=DiscoveryConfig, metadata=section("Discovery")
    )
    data_dir: Path = field(
        metadata=setting(
            "Data directory; created if it does not exist. One process at a time uses it."
        )
    )
    ws_addr: Address = field(
        default=Address("127.0.0.1", 8080),
        metadata=setting(
            "host:port to listen on, for WebSocket and HTTP. Port 0 picks a free port."
        ),
    )
    advertise_addr: Address | None = field(
        default=None,
        metadata=setting(
            "host:port at which others reach this node. Default: the address on which it listens. If the configuration "
            "of the cluster has another address for this node, the leader changes it."
        ),
    )
    peers: tuple[str, ...] = field(
        default=(),
        metadata=setting(
            "Addresses of other members, as ID=host:port. This node tries them, too, if it does not reach a member at "
            "the address in the configuration: for a start after several members have moved.",
            item="peer",
        ),
    )
    allow_origins: tuple[str, ...] = field(
        default=(),
        metadata=setting(
            "Web pages that may use this node, by their origin, such as `http://127.0.0.1:8000`. `null`: pages from "
            "files. `*`: every page. A WebSocket request of another page gets HTTP 403. Programs are not affected.",
            item="allow_origin",
        ),
    )
    allow_hosts: tuple[str, ...] = field(
        default=(),
        metadata=setting(
            "More names of this node, without a port, by which browsers and monitoring may request `/status` and "
            "`/metrics`. IP addresses, `localhost` and the hosts of `ws_addr` and `advertise_addr` are always allowed. "
            "A request by another name gets HTTP 421.",
            item="allow_host",
        ),
    )
    join_token_file: Path | None = field(
        default=None,
        metadata=setting(
            "File with a join token (`qcore member token`), which only its owner may read. A new node proves it to the "
            "cluster that adds the node, and joins no other one. The variable QCORE_JOIN_TOKEN can hold the token "
            "itself. A member ignores it."
        ),
    )
    topology: Path | None = field(
        default=None,
        metadata=setting(
            "Topology file (YAML), loaded once when the cluster is initialised.",
            older="config_file",
        ),
    )
    machine: str = field(
        default="entity",
        metadata=setting(
            "The state machine: entity, kv, register, or a custom one as FILE.py:CLASS or MODULE:CLASS."
        ),
    )
    trace: Path | None = field(
        default=None, metadata=setting("File to which the node writes its trace.")
    )
    otel: bool = field(
        default=False,
        metadata=setting(
            "Export spans of requests whose client traces them, with OpenTelemetry, to the collector that "
            "OTEL_EXPORTER_OTLP_ENDPOINT names. Needs `qcore-raft[otel]`."
        ),
    )
    record: Path | None = field(
        default=None,
        metadata=setting(
            "File to which the node writes a recording, which `qcore sim replay` steps through. It holds the commands "
            "of clients."
        ),
    )
    record_limit_bytes: int = field(
        default=1024 * 1024 * 1024,
        metadata=setting(
            "The recording ends after about this many bytes. A new process of the node moves a file of more than half "
            "of them to FILE.1.",
            unit="bytes",
            minimum=1,
        ),
    )
    audit_log: Path | None = field(
        default=None,
        metadata=setting(
            "File to which the node appends who did what, as JSON lines: logins, changes of users, roles and tokens, "
            "admin requests, and refused requests. Only its owner may read it."
        ),
    )
    log_format: LogFormat = field(default="text", metadata=setting("Format of log lines."))
    log_level: LogLevel = field(
        default="info",
        metadata=setting(
            "Lowest level that is logged. SIGHUP reads it again from the configuration file."
        ),
    )
    log_file: Path | None = field(
        default=None,
        metadata=setting(
            "File to which the node appends its log lines. Default: stderr. SIGHUP opens it again."
        ),
    )
    uvloop: bool | None = field(
        default=None,
        metadata=setting("Use uvloop as the event loop. Default: if it is installed."),
    )
    request_timeout_ms: int = field(
        default=5000,
        metadata=setting(
            "A client's request that has no outcome after this time ends as unknown.",
            unit="ms",
            minimum=1,
        ),
    )
    shutdown_grace_ms: int = field(
        default=5000,
        metadata=setting(
            "Time to wait for requests in progress after SIGTERM.", unit="ms", minimum=1
        ),
    )
    max_session_requests: int = field(
        default=1024,
        metadata=setting(
            "Most requests in progress at this node that open, keep or close sessions. Beyond it they are rejected as "
            "overloaded.",
            unit="requests",
            minimum=1,
        ),
    )

    max_client_watches: int = field(
        default=1024,
        metadata=setting(
            "Most watches of one connection of a client. Beyond it a registration is rejected as overloaded.",
            unit="watches",
            minimum=1,
        ),
    )

    connection_requests_per_s: int = field(
        default=0,
        metadata=setting(
            "Most requests that one connection of a client may send to this node in a second, and twice as many after "
            "a pause. Beyond it they are rejected (`QuotaExceeded`). 0: no limit.",
            unit="requests",
            minimum=0,
        ),
    )
    connection_bytes_per_s: int = field(
        default=0,
        metadata=setting(
            "The same for the bytes of these requests, as they are sent. After a pause, a request of any size passes.",
            unit="bytes",
            minimum=0,
        ),
    )
    user_requests_per_s: int = field(
        default=0,
        metadata=setting(
            "Most requests that one user may send to this node in a second, over all its connections. 0: no limit.",
            unit="requests",
            minimum=0,
        ),
    )
    user_bytes_per_s: int = field(
        default=0,
        metadata=setting("The same for the bytes of these requests.", unit="bytes", minimum=0),
    )
    min_free_disk_bytes: int = field(
        default=0,
        metadata=setting(
            "While the disk of the data directory has less free space, this node rejects commands that may add to the "
            "data (`QuotaExceeded`). 0: no quota.",
            unit="bytes",
            minimum=0,
            node_default=256 * 1024 * 1024,
        ),
    )

    def __post_init__(self) -> None:
        advertised = self.advertise_addr
        if advertised is not None and (advertised.is_unspecified or advertised.port == 0):
            raise ConfigError(
                f"advertise_addr: {advertised} cannot be dialled: give the host and port at which others reach "
                "this node"
            )
        if advertised is None and self.discovery.auto_init and self.ws_addr.is_unspecified:
            raise ConfigError(
                f"auto_init: the other founders cannot dial {self.ws_addr}: give advertise_addr, the host and port at "
                "which they reach this node"
            )
        check_bounds(self)
        parse_hints(self.peers)
        self.page_guard()
        command_bytes = self.replica.max_command_bytes
        needed = frame_bytes_for(command_bytes)
        for name in ("max_client_frame_bytes", "max_frame_bytes"):
            if getattr(self.limits, name) < needed:
                raise ConfigError(
                    f"{name} is {getattr(self.limits, name)}; it must be at least {needed}: a command of "
                    f"max_command_bytes ({command_bytes}) may be written with six bytes for one"
                )

    @classmethod
    def of(cls, node_id: int, data_dir: Path, **settings: object) -> Self:
        """Settings of a real node, all by their names, and its defaults for the others.

            NodeConfig.of(1, Path("data/1"), ws_addr=Address("127.0.0.1", 8081), heartbeat_ms=50, max_clients=64)

        Args:
            node_id: the node's id.
            data_dir: its data directory.
            settings: the fields of `NodeConfig`, `ReplicaConfig`, `RaftConfig` and `TransportLimits`.

        Raises:
            ConfigError: a name is unknown, a value is out of range, or values contradict each other.
        """
        return for_node(cls, {"node_id": node_id, "data_dir": data_dir, **settings})

    @property
    def node_id(self) -> int:
        """This node's id in the cluster."""
        return self.replica.raft.node_id

    @property
    def raft(self) -> RaftConfig:
        """The settings of the Raft core."""
        return self.replica.raft

    def origins(self) -> AllowedOrigins:
        """The web pages that may use this node."""
        return AllowedOrigins(self.allow_origins)

    def peer_addresses(
        self, membership: Callable[[], Membership], warn: Callable[[int, str], None]
    ) -> PeerAddresses:
        """Where to dial the other members, and the address that this node announces. See `PeerAddresses`."""
        own = "" if self.advertise_addr is None else str(self.advertise_addr.canonical)
        return PeerAddresses(membership, self.node_id, own, parse_hints(self.peers), warn)

    def page_guard(self) -> PageGuard:
        """Decides who may request the HTTP pages. Probes and the dashboard are open to everyone."""
        own = [each.host for each in (self.ws_addr, self.advertise_addr) if each is not None]
        return PageGuard(own, self.allow_hosts, self.origins(), ("/livez", "/readyz"), ("/",))

    def replica_config(self) -> ReplicaConfig:
        """The settings that the replica needs. It must accept the topology, which may be larger than a command."""
        longest = max(self.replica.max_command_bytes, MAX_TOPOLOGY_BYTES)
        return replace(self.replica, max_command_bytes=longest)


def held_back(config: NodeConfig) -> dict[str, str]:
    """A field for the log line of the start if a setting holds the apply rules of the cluster down."""
    rules = config.replica.max_rules
    if rules == LATEST_RULES:
        return {}
    return {"rules": f"held at {rules} or below by --max-rules (the latest: {LATEST_RULES})"}
