"""The models of timeline actions on processes of nodes: crash, power loss, wipe, restart, pause, campaign, snapshot."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from qcore.sim.scenario.specs.node_settings import Natural, NodeSettings
from qcore.sim.scenario.values import Milliseconds, Nodes, Spec


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

    The process wrote them in order, and a checksum cuts a torn tail, so the first ones survive. `survives` is their
    number at each node, `none`, `all`, or `random`, drawn for each node.
    """

    kind: Literal["power_loss"] = "power_loss"
    survives: Natural | Literal["none", "all", "random"] = Field(
        default="none",
        description=(
            "How many of the writes that were not synced had reached the disk: a number at each node, `none`, "
            "`all`, or `random`, drawn for each node."
        ),
    )

    @field_validator("survives", mode="before")
    @classmethod
    def _number_or_name(cls, value: object) -> object:
        if value not in ("none", "all", "random") and type(value) is not int:
            raise ValueError(f"{value!r}: write how many writes survive, or none, all or random")
        return value


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


class CampaignAction(NodeAction):
    """Campaign as if the election timeout had just passed."""

    kind: Literal["campaign"] = "campaign"


class TakeSnapshotAction(NodeAction):
    """Take a snapshot and compact the log, except for the last `keep_entries` entries."""

    kind: Literal["snapshot"] = "snapshot"
    keep_entries: Annotated[int, Field(ge=0, strict=True)] = Field(
        default=0, description="How many of the last entries stay in the log."
    )
