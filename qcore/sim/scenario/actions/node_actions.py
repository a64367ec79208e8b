"""Timeline actions on the processes of nodes: crash, power loss, wipe, restart, pause, campaign, take a snapshot."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from qcore.sim.scenario.settings import Natural, NodeSettings
from qcore.sim.scenario.values import Milliseconds, Nodes, Spec


class NodeAction(Spec):
    """An action on nodes. Short form: just the nodes."""

    nodes: Nodes

    @model_validator(mode="before")
    @classmethod
    def _just_nodes(cls, value: object) -> object:
        if isinstance(value, dict):
            if "random" in value and "nodes" not in value:
                return {"nodes": value}
            return {("nodes" if key == "node" else key): item for key, item in value.items()}
        return {"nodes": value}


class StopAction(NodeAction):
    """Something that ends the process; with `settings` it starts again with these changed."""

    settings: NodeSettings | None = None


class Crash(StopAction):
    """Kill the process (kill -9): memory is lost, what was handed to the operating system stays."""

    kind: Literal["crash"] = "crash"


class PowerLoss(StopAction):
    """The machine loses power: of the writes that the operating system had not synced, only `survives` are kept.

    They were handed over in order, and a torn tail is cut by its checksum: so the first ones survive. `survives`
    is their number at each node, `none`, `all`, or `random`, drawn for each node.
    """

    kind: Literal["power_loss"] = "power_loss"
    survives: Natural | Literal["none", "all", "random"] = "none"

    @field_validator("survives", mode="before")
    @classmethod
    def _number_or_name(cls, value: object) -> object:
        if value not in ("none", "all", "random") and type(value) is not int:
            raise ValueError(f"{value!r}: write how many writes survive, or none, all or random")
        return value


class Wipe(StopAction):
    """The process dies and its disk is blank: it starts as a machine that never ran."""

    kind: Literal["wipe"] = "wipe"


class Restart(StopAction):
    """Start nodes that are down; if none of those named is, stop and start each, `down_ms` apart."""

    kind: Literal["restart"] = "restart"
    down_ms: Milliseconds = 100.0


class Pause(NodeAction):
    """Freeze the process (SIGSTOP): nothing runs, messages queue up, timers will fire late."""

    kind: Literal["pause"] = "pause"


class Resume(NodeAction):
    """Let paused processes go on (SIGCONT)."""

    kind: Literal["resume"] = "resume"


class CampaignAction(NodeAction):
    """Behave as if the election timeout had just passed."""

    kind: Literal["campaign"] = "campaign"


class TakeSnapshotAction(NodeAction):
    """Capture the state machine and compact the log, keeping `keep_entries`."""

    kind: Literal["snapshot"] = "snapshot"
    keep_entries: Annotated[int, Field(ge=0, strict=True)] = 0
