"""The cluster of a scenario: its nodes with their settings, disks, clocks and state machine."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final

from pydantic import Field, field_validator, model_validator

from qcore.core.config import Safeguards
from qcore.core.version import LATEST_RULES
from qcore.errors import ConfigError
from qcore.replica.config import ReplicaConfig
from qcore.settings import build
from qcore.sim.scenario.distributions import LatencySpec, uniform
from qcore.sim.scenario.specs.node_settings import (
    NO_SETTINGS,
    Natural,
    NodeSettings,
    Positive,
    Rules,
    known_safeguards,
    timeout_range,
)
from qcore.sim.scenario.specs.setting_keys import SETTING_KEYS, ClusterKeys
from qcore.sim.scenario.values import (
    Flag,
    NodeId,
    Spec,
)

#: The most nodes of a cluster. The cost of a run grows with the square of their number.
MAX_NODES: Final = 999


class DiskSpec(Spec):
    """The disk of every node. `latency_ms` is the time of one sync, which any number of writes share."""

    latency_ms: LatencySpec = Field(
        default=uniform(0.3, 0.6),
        description="The time of one sync, which all writes that wait share.",
    )


class ClockSpec(Spec):
    """The errors of a node's clocks: the wall clock is ahead by `offset_ms`, and all clocks run fast by `drift_ppm`."""

    offset_ms: Annotated[float, Field(strict=True, allow_inf_nan=False)] = Field(
        default=0.0,
        description="How far the wall clock is ahead, in milliseconds; negative: behind.",
    )
    drift_ppm: Annotated[int, Field(gt=-1_000_000, lt=10_000_000, strict=True)] = Field(
        default=0,
        description="How much faster all clocks of the node run, in millionths; negative: slower.",
    )


class ClusterSpec(ClusterKeys):
    """The nodes and their settings, disks and clocks, and the state machine."""

    nodes: tuple[NodeId, ...] = Field(
        default=(1, 2, 3),
        description="The first members: a number n for the ids 1 to n, or a list of ids.",
    )
    election_timeout_ms: tuple[Positive, Positive] = Field(
        default=(150, 300),
        description="The range of the election timeout in milliseconds, `[min, max]`. One number n means `[n, 2n]`.",
    )
    priorities: dict[NodeId, Natural] = Field(
        default_factory=dict,
        description=(
            "Priorities of nodes; each other node has 1. A caught-up node of higher priority becomes leader, "
            "if it is likely to stay leader. A node of priority 0 never leads, and at least one voter needs "
            "another priority."
        ),
    )
    safeguards: dict[str, Flag] = Field(
        default_factory=dict,
        description=(
            "Rules of the safety argument to switch off, such as `{commit_own_term_only: false}`, to see what "
            "happens without them."
        ),
    )
    settings: dict[NodeId, NodeSettings] = Field(
        default_factory=dict,
        description="Settings of single nodes, such as `{2: {lease_reads: true, priority: 0}}`.",
    )
    rules: Rules = Field(
        default=LATEST_RULES,
        description=(
            "The apply rules with which the cluster begins; 1 are those of qcore 0.1.0. The leader raises them "
            "once every member supports more."
        ),
    )
    machine: str = Field(
        default="register",
        description=(
            "The state machine: `register` (registers), `kv` (keys with revisions, transactions and leases), "
            "`entity` (the entity store, which has no cas), or a custom one as `file.py:Class` or `module:Class`. The "
            "file is beside the scenario, or in the working directory."
        ),
    )
    check_determinism: Flag = Field(
        default=True,
        description="Whether a custom state machine is checked after the run: copies with another clock, entropy, hash "
        "seed and snapshots must give the same. `false` saves the time of applying all commands several times.",
    )
    disk: DiskSpec = Field(default=DiskSpec(), description="The disk of every node.")
    callback_us: Natural = Field(
        default=4,
        description=(
            "With `fidelity: node`, the simulated time that each callback of a node's event loop takes, in "
            "microseconds."
        ),
    )
    event_us: Natural = Field(
        default=50,
        description=(
            "With `fidelity: node`, the additional time that the replica takes for each event (a message, a request, "
            "a finished write), in microseconds."
        ),
    )
    clocks: dict[NodeId, ClockSpec] = Field(
        default_factory=dict,
        description="Errors of the clocks of nodes, also of nodes that join later.",
    )

    @field_validator("nodes", mode="before")
    @classmethod
    def _number_of_nodes(cls, value: object) -> object:
        if isinstance(value, int) and not isinstance(value, bool):
            if not 1 <= value <= MAX_NODES:
                raise ValueError(f"{value} nodes; give 1 to {MAX_NODES}")
            return tuple(range(1, value + 1))
        if isinstance(value, list | tuple):
            return tuple(value)
        raise ValueError(f"{value!r:.100} is neither a number of nodes nor a list of ids")

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
        if value not in ("register", "kv", "entity") and not re.fullmatch(
            r".+:[A-Za-z_]\w*", value
        ):
            raise ValueError(
                f"no machine is called {value!r}; write register, kv, entity, or a custom one as "
                "file.py:Class"
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

        # `Any`: the settings have many types, and the configurations check them.
        def of(name: str) -> Any:
            value = getattr(node_settings, name)
            return getattr(self, name) if value is None else value

        low, high = of("election_timeout_ms")
        priority = node_settings.priority
        values = {
            "node_id": node_id,
            "election_timeout_min_ms": low,
            "election_timeout_max_ms": high,
            "priority": self.priority_of(node_id) if priority is None else priority,
            "safeguards": Safeguards(**{**self.safeguards, **(node_settings.safeguards or {})}),
            **{each.field.name: of(each.field.name) for each in SETTING_KEYS},
        }
        return build(ReplicaConfig, values)
