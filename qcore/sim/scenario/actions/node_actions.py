"""The models of timeline actions on nodes: crash, crash loop, power loss, wipe, restart, pause, slow CPU, ..."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from qcore.sim.scenario.distributions import Distribution, LatencySpec, fixed
from qcore.sim.scenario.specs.node_settings import Natural, NodeSettings
from qcore.sim.scenario.values import Flag, Milliseconds, Nodes, Spec

#: How long one step of a replica takes on a normal computer, about, milliseconds.
_NORMAL_STEP_MS = 0.05
#: The slowest processor of a scenario: an event takes 14 hours.
_MOST_TIMES_SLOWER = 1e9


class NodeAction(Spec):
    """Base of the actions on nodes. Short form: only the nodes."""

    nodes: Nodes = Field(description="The nodes.")

    @model_validator(mode="before")
    @classmethod
    def _just_nodes(cls, value: object) -> object:
        if isinstance(value, dict):
            if "random" in value and "nodes" not in value:
                return {"nodes": value}
            return {("nodes" if key == "node" else key): item for key, item in value.items()}
        return {"nodes": value}


class StopAction(NodeAction):
    """Base of the actions that end the process. With `settings`, it starts again with these settings changed."""

    settings: NodeSettings | None = Field(
        default=None, description="Settings with which the node starts again."
    )


class Crash(StopAction):
    """Kill the process (kill -9). Its memory is lost; what it wrote to the operating system stays."""

    kind: Literal["crash"] = "crash"


class PowerLoss(StopAction):
    """The node's computer loses power. Of the writes that were not synced, only `survives` are kept.

    The process wrote them in order, so the first ones survive. With `torn`, the power fails in the middle of the next
    one. Its checksum is wrong then, so the next start cuts all of it away.
    """

    kind: Literal["power_loss"] = "power_loss"
    survives: Natural | Literal["none", "all", "random"] = Field(
        default="none",
        description="How many of the writes that the operating system had not synced survive, at each node: a number, "
        "`none`, `all`, or `random`, drawn for each node.",
    )
    torn: Flag = Field(
        default=False,
        description="Whether a part of the first write that does not survive is on the disk. The next start cuts it "
        "away. The fault acts only where a write is torn.",
    )

    @field_validator("survives", mode="before")
    @classmethod
    def _number_or_name(cls, value: object) -> object:
        if value not in ("none", "all", "random") and type(value) is not int:
            raise ValueError(f"{value!r}: write how many writes survive, or none, all or random")
        return value

    @model_validator(mode="after")
    def _something_is_torn(self) -> PowerLoss:
        if self.torn and self.survives == "all":
            raise ValueError(
                "torn: with survives: all no write is left that could be torn; write none, random or a number"
            )
        return self


class Wipe(StopAction):
    """The process dies and its disk becomes blank: it starts like a node that has never run."""

    kind: Literal["wipe"] = "wipe"


class Restart(StopAction):
    """Start nodes that are down. If none of the named nodes is down, stop and start each one, `down_ms` apart."""

    kind: Literal["restart"] = "restart"
    down_ms: Milliseconds = Field(
        default=100.0, description="For nodes that run: how long they are down, in milliseconds."
    )


class Pause(NodeAction):
    """Freeze the process (SIGSTOP): nothing runs, messages queue up, and timers fire late."""

    kind: Literal["pause"] = "pause"


class Resume(NodeAction):
    """Resume paused processes (SIGCONT)."""

    kind: Literal["resume"] = "resume"


class CrashLoop(NodeAction):
    """Processes crash, start again, and crash again.

    Each node draws its times from a random stream, so several nodes do not crash in step. `for_ms` ends the loop and
    starts the nodes.
    """

    kind: Literal["crash_loop"] = "crash_loop"
    up_ms: LatencySpec = Field(
        default=fixed(300),
        description="How long a process runs before it crashes again, a distribution, drawn each time.",
    )
    down_ms: LatencySpec = Field(
        default=fixed(100),
        description="How long a node is down before its process starts again, a distribution, drawn each time.",
    )
    times: Annotated[int, Field(ge=1, strict=True)] | None = Field(
        default=None,
        description="How often each node crashes. Left out: until `for_ms`, or the end of the run.",
    )


class SlowCpu(NodeAction):
    """Every step of the replica takes time. Meanwhile events queue in order, so heartbeats are late."""

    kind: Literal["slow_cpu"] = "slow_cpu"
    step_ms: LatencySpec | None = Field(
        default=None,
        description="How long the processing of one event takes, a distribution, drawn for each event.",
    )
    factor: Annotated[float, Field(ge=1, strict=True, allow_inf_nan=False)] | None = Field(
        default=None,
        description="How many times slower than normal the processor is, instead of `step_ms`. Normally an event takes "
        "about 0.05 ms.",
    )

    @model_validator(mode="after")
    def _one_of_two(self) -> SlowCpu:
        if (self.step_ms is None) == (self.factor is None):
            raise ValueError("give step_ms (milliseconds for each event) or factor, one of the two")
        if self.factor is not None and self.factor > _MOST_TIMES_SLOWER:
            raise ValueError(f"factor: {self.factor:g} is not at most {_MOST_TIMES_SLOWER:g}")
        return self

    @property
    def step_time(self) -> Distribution:
        """How long one step takes."""
        if self.step_ms is not None:
            return self.step_ms
        assert self.factor is not None, "the validator demands one of the two"
        return fixed(self.factor * _NORMAL_STEP_MS)


class CampaignAction(NodeAction):
    """Campaign as if the election timeout had just passed."""

    kind: Literal["campaign"] = "campaign"


class TakeSnapshotAction(NodeAction):
    """Take a snapshot and compact the log, except for the last `keep_entries` entries."""

    kind: Literal["snapshot"] = "snapshot"
    keep_entries: Annotated[int, Field(ge=0, strict=True)] = Field(
        default=0, description="How many of the last entries stay in the log."
    )
