"""The parts of a scenario that hold for the whole run: cluster, network and workload."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from qcore.core.config import RaftConfig, Safeguards
from qcore.core.version import LATEST_RULES
from qcore.errors import ConfigError
from qcore.replica.config import ReplicaConfig
from qcore.replica.sessions.session_table import LIFETIME_MAX_MS, LIFETIME_MIN_MS
from qcore.sim.scenario.distributions import Distribution, LatencySpec, fixed, uniform
from qcore.sim.scenario.settings import (
    NO_SETTINGS,
    Natural,
    NodeSettings,
    Positive,
    Rules,
    known_safeguards,
    timeout_range,
)
from qcore.sim.scenario.values import (
    Flag,
    Milliseconds,
    NodeId,
    Nodes,
    Probability,
    ReadKinds,
    Selector,
    Spec,
)

#: Settings that have the same name in a scenario and in `RaftConfig`, and the same for `ReplicaConfig`.
_RAFT_SETTINGS = (
    "heartbeat_ms",
    "pre_vote",
    "check_quorum",
    "max_inflight_messages",
    "max_inflight_bytes",
    "max_batch_bytes",
    "max_uncommitted_bytes",
    "max_snapshot_chunk",
    "lease_reads",
    "max_clock_drift_percent",
)
_REPLICA_SETTINGS = ("snapshot_entries", "snapshot_bytes", "keep_entries", "max_rules")


class DiskSpec(Spec):
    """The disk of every node. `latency_ms` is the time of one sync, which any number of writes share."""

    latency_ms: LatencySpec = uniform(0.3, 0.6)


class ClockSpec(Spec):
    """The errors of a node's clocks: the wall clock is ahead by `offset_ms`, and all clocks run fast by `drift_ppm`."""

    offset_ms: Annotated[float, Field(strict=True, allow_inf_nan=False)] = 0.0
    drift_ppm: Annotated[int, Field(gt=-1_000_000, lt=10_000_000, strict=True)] = 0


class ClusterSpec(Spec):
    """The nodes and their settings. `nodes` is a number or a list of ids.

    `machine` is `kv`, `entity`, or a custom state machine: `file.py:Class` or `module:Class`. `rules` are the apply
    rules that the cluster begins with (`qcore.core.version`). Its leader raises them once all members support more.
    """

    nodes: tuple[NodeId, ...] = (1, 2, 3)
    election_timeout_ms: tuple[Positive, Positive] = (150, 300)
    heartbeat_ms: Positive = 50
    pre_vote: Flag = True
    check_quorum: Flag = True
    max_inflight_messages: Positive = 16
    max_inflight_bytes: Positive = 1024 * 1024
    max_batch_bytes: Positive = 256 * 1024
    max_uncommitted_bytes: Positive = 64 * 1024 * 1024
    max_snapshot_chunk: Positive = 256 * 1024
    snapshot_entries: Natural = 0
    snapshot_bytes: Natural = 0
    keep_entries: Natural = 1000
    priorities: dict[NodeId, Natural] = Field(default_factory=dict)
    lease_reads: Flag = False
    max_clock_drift_percent: Natural = 10
    max_rules: Rules = LATEST_RULES
    safeguards: dict[str, Flag] = Field(default_factory=dict)
    settings: dict[NodeId, NodeSettings] = Field(default_factory=dict)
    rules: Rules = LATEST_RULES
    machine: str = "kv"
    disk: DiskSpec = DiskSpec()
    clocks: dict[NodeId, ClockSpec] = Field(default_factory=dict)

    @field_validator("nodes", mode="before")
    @classmethod
    def _number_of_nodes(cls, value: object) -> object:
        if isinstance(value, int) and not isinstance(value, bool):
            if not 1 <= value <= 99:
                raise ValueError(f"{value} nodes; give 1 to 99")
            return tuple(range(1, value + 1))
        if isinstance(value, list):
            return tuple(value)
        return value

    @field_validator("nodes")
    @classmethod
    def _distinct(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if not value or len(set(value)) != len(value):
            raise ValueError(f"{list(value)}: give at least one id, and each id once")
        return tuple(sorted(value))

    @field_validator("election_timeout_ms", mode="before")
    @classmethod
    def _range(cls, value: object) -> object:
        return timeout_range(value)

    @field_validator("machine")
    @classmethod
    def _known_machine(cls, value: str) -> str:
        if value not in ("kv", "entity") and not re.fullmatch(r".+:[A-Za-z_]\w*", value):
            raise ValueError(
                f"no machine is called {value!r}; write kv, entity, or a custom one as file.py:Class"
            )
        return value

    @field_validator("safeguards")
    @classmethod
    def _known_safeguards(cls, value: dict[str, bool]) -> dict[str, bool]:
        return known_safeguards(value)

    @model_validator(mode="after")
    def _consistent(self) -> ClusterSpec:
        for node, settings in self.settings.items():
            if settings.priority is not None and node in self.priorities:
                raise ValueError(f"settings and priorities both give node {node} a priority")
        if not any(self.priority_of(node) for node in self.nodes):
            raise ValueError(
                f"all of the voters {list(self.nodes)} have priority 0, so that no node could ever lead: give one of "
                "them another priority"
            )
        for node in (self.nodes[0], *self.settings):
            try:
                rules = self.replica_config(node).max_rules
            except ConfigError as error:
                where = f"settings: node {node}: " if node in self.settings else ""
                raise ValueError(f"{where}{error}") from None
            if rules < self.rules:
                raise ValueError(
                    f"node {node} has max_rules {rules} and cannot apply the rules {self.rules} that the cluster "
                    "begins with: lower `rules`, or raise max_rules"
                )
        return self

    def priority_of(self, node_id: int) -> int:
        """The priority that a node begins with."""
        priority = self.settings.get(node_id, NO_SETTINGS).priority
        return self.priorities.get(node_id, 1) if priority is None else priority

    def replica_config(self, node_id: int, changed: NodeSettings = NO_SETTINGS) -> ReplicaConfig:
        """All settings of one node.

        Args:
            node_id: the node.
            changed: settings that a later restart gave it.

        Raises:
            ConfigError: the settings contradict each other.
        """
        node_settings = self.settings.get(node_id, NO_SETTINGS).changed(changed)

        def of(
            name: str,
        ) -> Any:  # Any: the settings have many types; the configurations check them
            value = getattr(node_settings, name)
            return getattr(self, name) if value is None else value

        low, high = of("election_timeout_ms")
        raft = RaftConfig(
            node_id=node_id,
            election_timeout_min_ms=low,
            election_timeout_max_ms=high,
            priority=self.priority_of(node_id)
            if node_settings.priority is None
            else node_settings.priority,
            safeguards=Safeguards(**{**self.safeguards, **(node_settings.safeguards or {})}),
            **{name: of(name) for name in _RAFT_SETTINGS},
        )
        return ReplicaConfig(raft, **{name: of(name) for name in _REPLICA_SETTINGS})


class QualitySpec(Spec):
    """How links treat messages. A setting that is left out stays as it was."""

    latency_ms: LatencySpec | None = None
    loss: Probability | None = None
    duplicate: Probability | None = None
    reorder: Probability | None = None
    reorder_extra_ms: LatencySpec | None = None
    bandwidth_bytes_per_s: Positive | None = None

    @model_validator(mode="before")
    @classmethod
    def _other_names(cls, value: object) -> object:
        if not isinstance(value, dict):
            return value
        names = {
            "latency": "latency_ms",
            "duplication": "duplicate",
            "duplicates": "duplicate",
            "reordering": "reorder",
            "bandwidth": "bandwidth_bytes_per_s",
        }
        renamed = {names.get(key, key): item for key, item in value.items()}
        reorder = renamed.get("reorder")
        if isinstance(reorder, dict):
            if set(reorder) != {"probability", "extra_ms"}:
                raise ValueError(
                    "reorder is a probability, or {probability: 0.1, extra_ms: [0, 20]}"
                )
            renamed["reorder"] = reorder["probability"]
            renamed["reorder_extra_ms"] = reorder["extra_ms"]
        return renamed


class LinkSpec(QualitySpec):
    """Links that differ from the others: from `from` to `to`; in both directions with `both`."""

    source: Nodes = Field(alias="from")
    target: Nodes = Field(alias="to")
    both: Flag = False

    @field_validator("source", "target")
    @classmethod
    def _ids_only(cls, value: Selector, info: ValidationInfo) -> Selector:
        for term in value.terms:
            if isinstance(term, str) and term not in ("all", "rest"):
                raise ValueError(
                    f"{term!r} is not known before the run; name nodes by id, all or rest"
                )
        return value


class NetworkSpec(QualitySpec):
    """All links between nodes. `links` lists exceptions; `clients` describes the links of the clients.

    By default the links of clients have the same latency and lose nothing. They never duplicate or reorder messages,
    because each of them stands for one connection.
    """

    latency_ms: LatencySpec = uniform(1, 5)
    links: tuple[LinkSpec, ...] = ()
    clients: ClientLinkSpec | None = None

    @field_validator("links", mode="before")
    @classmethod
    def _list_of_links(cls, value: object) -> object:
        return tuple(value) if isinstance(value, list) else value


class ClientLinkSpec(Spec):
    """The links between clients and nodes."""

    latency_ms: LatencySpec | None = None
    loss: Probability = 0.0


class RequestSpec(Spec):
    """A request that clients send to a custom state machine: `{write: text}` or `{read: text}`."""

    write: str | None = None
    read: str | None = None
    weight: Annotated[float, Field(gt=0, strict=True, allow_inf_nan=False)] = 1.0

    @model_validator(mode="after")
    def _one_of_both(self) -> RequestSpec:
        if (self.write is None) == (self.read is None):
            raise ValueError("give either `write` or `read`, with the text of the request")
        return self

    @property
    def kind(self) -> Literal["write", "read"]:
        return "read" if self.write is None else "write"

    @property
    def payload(self) -> str:
        text = self.read if self.write is None else self.write
        assert text is not None
        return text


class WorkloadSpec(Spec):
    """What the clients do.

    Open loop: all clients together begin `rate_per_s` operations a second, at random moments, without waiting for
    responses. Closed loop (`mode: closed`, or `think_ms`): each client has one operation at a time and thinks before
    the next.

    Operations go to `keys` registers. An operation that is neither a read nor a cas writes a value that no other
    operation writes. Each read is of one of the kinds in `read_kind`. A stale read may see a state that is up to
    `max_staleness_ms` old.

    With `sessions`, every operation adds 1 to a register, once, in a client session. After `attempt_ms` without a
    response the client repeats it at another node. A session that was idle for `session_lifetime_ms` expires, and
    the client opens another.

    With a custom state machine, the clients draw from `requests` by weight; keys and fractions have no meaning.
    """

    clients: Annotated[int, Field(ge=0, le=10_000, strict=True)] = 3
    rate_per_s: Annotated[float, Field(ge=0, strict=True, allow_inf_nan=False)] = 50.0
    mode: Literal["open", "closed"] = "open"
    think_ms: LatencySpec | None = None
    read_fraction: Probability = 0.4
    cas_fraction: Probability = 0.1
    keys: Positive = 8
    read_kind: ReadKinds = ("read",)
    max_staleness_ms: Natural = 1000
    sessions: Flag = False
    session_lifetime_ms: Annotated[
        int, Field(ge=LIFETIME_MIN_MS, le=LIFETIME_MAX_MS, strict=True)
    ] = LIFETIME_MAX_MS
    attempt_ms: Positive = 300
    requests: tuple[RequestSpec, ...] = ()
    timeout_ms: Annotated[int, Field(ge=1, strict=True)] = 1000
    start_ms: Milliseconds = 0.0
    stop_ms: Milliseconds | None = None

    @field_validator("requests", mode="before")
    @classmethod
    def _list_of_requests(cls, value: object) -> object:
        return tuple(value) if isinstance(value, list) else value

    @model_validator(mode="before")
    @classmethod
    def _closed_by_think_time(cls, value: object) -> object:
        if isinstance(value, dict) and "think_ms" in value:
            return {"mode": "closed", **value}
        return value

    @model_validator(mode="after")
    def _consistent(self) -> WorkloadSpec:
        if self.read_fraction + self.cas_fraction > 1:
            raise ValueError(
                f"read_fraction ({self.read_fraction}) and cas_fraction ({self.cas_fraction}) "
                "together exceed 1"
            )
        if self.think_ms is not None and self.mode == "open":
            raise ValueError("think_ms belongs to the closed loop; leave out `mode: open`")
        return self

    @property
    def think(self) -> Distribution:
        return self.think_ms if self.think_ms is not None else fixed(10)


NetworkSpec.model_rebuild()
