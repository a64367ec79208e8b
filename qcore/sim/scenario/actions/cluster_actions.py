"""What can happen in a timeline: the actions, each a small model with its short forms."""

from __future__ import annotations

import json
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from qcore.sim.scenario.actions.admin_actions import (
    AddLearnerAction,
    ChangeMembersAction,
    Join,
    RemoveAction,
    TransferAction,
)
from qcore.sim.scenario.actions.message_actions import Drop, Hold, Release
from qcore.sim.scenario.cluster import QualitySpec
from qcore.sim.scenario.distributions import LatencySpec
from qcore.sim.scenario.settings import Natural, NodeSettings
from qcore.sim.scenario.values import (
    Flag,
    Milliseconds,
    Nodes,
    ReadKinds,
    Spec,
    distinct_ends,
    known_outcomes,
    one_or_several,
    parse_selector,
)

#: What can become of one operation: in general, or the name of the error that it ended with.
OUTCOMES = (
    "ok",
    "refused",
    "unknown",
    "NotLeader",
    "Overloaded",
    "TooStale",
    "TooLarge",
    "ResultTooLarge",
    "ResultInvalid",
    "DeadlineExceeded",
    "OutcomeUnknown",
    "ProposalDropped",
    "StoreError",
    "timeout",
    "connection refused",
    "connection lost",
)


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


class Partition(Spec):
    """Split the nodes into groups; links between groups are cut, both ways.

    Nodes that no group names form one more group. A node named in two groups bridges them. Clients
    reach every node unless a group names them.
    """

    kind: Literal["partition"] = "partition"
    groups: tuple[Nodes, ...] = Field(min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _just_groups(cls, value: object) -> object:
        if isinstance(value, dict) and "groups" in value:
            groups = value["groups"]
            rest = {key: item for key, item in value.items() if key != "groups"}
            return {**rest, "groups": tuple(groups) if isinstance(groups, list) else groups}
        if isinstance(value, list):
            return {"groups": tuple(value)}
        return {"groups": (value,)}


class Isolate(NodeAction):
    """Cut every link between these nodes and all other nodes; with `clients`, the clients' links too."""

    kind: Literal["isolate"] = "isolate"
    clients: Flag = False


class Cut(Spec):
    """Cut links: `{from: x, to: y}` one way, `{between: [x, y]}` or just `[x, y]` both ways."""

    kind: Literal["cut"] = "cut"
    source: Nodes = Field(alias="from")
    target: Nodes = Field(alias="to")
    both: Flag = False

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, value: object) -> object:
        return _ends(value)

    @model_validator(mode="after")
    def _distinct_ends(self) -> Cut:
        distinct_ends(self.source, self.target)
        if self.source.names_rest and self.target.names_rest:
            raise ValueError("`rest` on both ends: name one of them")
        return self


class Deaf(NodeAction):
    """These nodes receive nothing from other nodes; they can still send."""

    kind: Literal["deaf"] = "deaf"


class Mute(NodeAction):
    """Nothing that these nodes send reaches other nodes; they still receive."""

    kind: Literal["mute"] = "mute"


class Heal(Spec):
    """Mend cuts and link changes: `all`, those of one `label`, or those that touch some nodes."""

    kind: Literal["heal"] = "heal"
    label: str | None = None
    nodes: Nodes | None = None

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, value: object) -> object:
        if value is None or value is True or value in ("all", "everything", "network"):
            return {}
        if isinstance(value, dict):
            return value
        try:
            return {"nodes": parse_selector(value)}
        except ValueError:
            if isinstance(value, str):
                return {"label": value}
            raise


class LinkChange(QualitySpec):
    """Change how links behave from now on: all node links, or those `from` ... `to` / `between`."""

    kind: Literal["links"] = "links"
    source: Nodes | None = Field(default=None, alias="from")
    target: Nodes | None = Field(default=None, alias="to")
    both: Flag = False

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, value: object) -> object:
        if isinstance(value, dict) and ("between" in value or "node" in value or "nodes" in value):
            return _ends(value)
        return value

    @model_validator(mode="after")
    def _changes_something(self) -> LinkChange:
        if not self.changes():
            raise ValueError("nothing to change; give latency_ms, loss, duplicate, reorder, ...")
        distinct_ends(self.source, self.target)
        return self

    def changes(self) -> list[str]:
        """The names of the settings that it changes."""
        return [name for name in QualitySpec.model_fields if getattr(self, name) is not None]

    @property
    def only_removes_impairments(self) -> bool:
        """Whether it only takes trouble away, and so can never do anything visible."""
        return all(getattr(self, name) in (0, 0.0) for name in self.changes())


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


class DiskStall(NodeAction):
    """No sync ends until `disk_recover`."""

    kind: Literal["disk_stall"] = "disk_stall"


class DiskSlow(NodeAction):
    """Every sync takes `extra_ms` longer until `disk_recover`."""

    kind: Literal["disk_slow"] = "disk_slow"
    extra_ms: LatencySpec = Field(alias="latency_ms")

    @model_validator(mode="before")
    @classmethod
    def _other_name(cls, value: object) -> object:
        if isinstance(value, dict) and "extra_ms" in value:
            return {
                ("latency_ms" if key == "extra_ms" else key): item for key, item in value.items()
            }
        return value


class DiskRecover(NodeAction):
    """End stalls and slowness."""

    kind: Literal["disk_recover"] = "disk_recover"


class ClockAction(NodeAction):
    """Set the clocks wrong: `offset_ms` moves the wall clock, `drift_ppm` makes all clocks run fast."""

    kind: Literal["clock"] = "clock"
    offset_ms: Annotated[float, Field(strict=True, allow_inf_nan=False)] | None = None
    drift_ppm: Annotated[int, Field(gt=-1_000_000, lt=10_000_000, strict=True)] | None = None

    @model_validator(mode="after")
    def _changes_something(self) -> ClockAction:
        if self.offset_ms is None and self.drift_ppm is None:
            raise ValueError("give offset_ms, drift_ppm, or both")
        return self


class CampaignAction(NodeAction):
    """Behave as if the election timeout had just passed."""

    kind: Literal["campaign"] = "campaign"


class TakeSnapshotAction(NodeAction):
    """Capture the state machine and compact the log, keeping `keep_entries`."""

    kind: Literal["snapshot"] = "snapshot"
    keep_entries: Annotated[int, Field(ge=0, strict=True)] = 0


class OperationAction(Spec):
    """One client operation at a given node. `write: leader`, `read: {node: 2, key: k0}`.

    Attributes:
        read_kind, max_staleness_ms: for a read; the workload's if left out.
        expect: the value that the read must find; null for a register that was never written.
        outcome: what must come of it: `ok`, `refused`, `unknown`, or the name of an error; or a list of these.
    """

    kind: Literal["operation"] = "operation"
    op: Literal["write", "read"]
    read_kind: ReadKinds | None = None
    max_staleness_ms: Natural | None = None
    node: Nodes
    key: str | None = None
    value: str | int | None = None
    timeout_ms: Annotated[int, Field(ge=1, strict=True)] = 1000
    expect: str | int | float | bool | None = None
    outcome: tuple[str, ...] | None = None

    @property
    def expects_a_value(self) -> bool:
        """Whether `expect` was said: null is a value too."""
        return "expect" in self.model_fields_set

    @field_validator("outcome", mode="before")
    @classmethod
    def _one_or_several(cls, value: object) -> object:
        return one_or_several(value)

    @field_validator("outcome")
    @classmethod
    def _known_outcome(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return known_outcomes(value, OUTCOMES)

    @model_validator(mode="after")
    def _goes_together(self) -> OperationAction:
        if self.op == "write":
            for name in ("read_kind", "max_staleness_ms", "expect"):
                if name in self.model_fields_set:
                    raise ValueError(f"{name} goes with a read, not with a write")
        elif "value" in self.model_fields_set:
            raise ValueError("a read has no value; `expect` says what it must find")
        elif self.expects_a_value and self.outcome is not None and "ok" not in self.outcome:
            raise ValueError(
                f"expect: a read that ends with {' or '.join(self.outcome)} finds nothing; leave out `expect` or "
                "`outcome`"
            )
        return self

    @field_validator("value", mode="before")
    @classmethod
    def _text_or_number(cls, value: object) -> object:
        if not isinstance(value, str | int) or isinstance(value, bool):
            raise ValueError(
                f"{json.dumps(value, default=str)} is nothing to write; give a text or a whole number, or leave "
                "`value` out for one that nobody else writes"
            )
        return value

    @field_validator("key", mode="before")
    @classmethod
    def _key_text(cls, value: object) -> object:
        return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _ends(value: object) -> object:
    """`{between: [a, b]}` and `[a, b]` as both directions; `{nodes: x}` as x and the rest."""
    if isinstance(value, list):
        value = {"between": value}
    if not isinstance(value, dict):
        raise ValueError(f"{value!r}: write {{from: 1, to: 2}} (one way) or [1, 2] (both ways)")
    rest = {key: item for key, item in value.items() if key not in ("between", "node", "nodes")}
    if "between" in value:
        pair = value["between"]
        if not isinstance(pair, list) or len(pair) != 2:
            raise ValueError(f"between: {pair!r}; give two ends, such as [1, 2] or [[1, 2], rest]")
        return {"from": pair[0], "to": pair[1], "both": True, **rest}
    if "node" in value or "nodes" in value:
        return {"from": value.get("nodes", value.get("node")), "to": "rest", "both": True, **rest}
    return value


Action = (
    Partition
    | Isolate
    | Cut
    | Deaf
    | Mute
    | Heal
    | LinkChange
    | Crash
    | PowerLoss
    | Wipe
    | Restart
    | Pause
    | Resume
    | DiskStall
    | DiskSlow
    | DiskRecover
    | ClockAction
    | CampaignAction
    | TakeSnapshotAction
    | OperationAction
    | Drop
    | Hold
    | Release
    | Join
    | AddLearnerAction
    | ChangeMembersAction
    | RemoveAction
    | TransferAction
)

#: What a timeline item may say -> the model that reads it.
ACTIONS: dict[str, type[Action]] = {
    "partition": Partition,
    "isolate": Isolate,
    "cut": Cut,
    "deaf": Deaf,
    "mute": Mute,
    "heal": Heal,
    "links": LinkChange,
    "network": LinkChange,
    "latency_ms": LinkChange,
    "loss": LinkChange,
    "duplicate": LinkChange,
    "reorder": LinkChange,
    "crash": Crash,
    "kill": Crash,
    "power_loss": PowerLoss,
    "wipe": Wipe,
    "restart": Restart,
    "start": Restart,
    "pause": Pause,
    "resume": Resume,
    "disk_stall": DiskStall,
    "disk_slow": DiskSlow,
    "disk_recover": DiskRecover,
    "clock": ClockAction,
    "campaign": CampaignAction,
    "snapshot": TakeSnapshotAction,
    "write": OperationAction,
    "read": OperationAction,
    "drop": Drop,
    "hold": Hold,
    "release": Release,
    "join": Join,
    "add_learner": AddLearnerAction,
    "change_members": ChangeMembersAction,
    "members": ChangeMembersAction,
    "remove": RemoveAction,
    "transfer": TransferAction,
}

#: Actions that can end by themselves, with `for_ms`.
REVERSIBLE = (
    Partition,
    Isolate,
    Cut,
    Deaf,
    Mute,
    LinkChange,
    Crash,
    PowerLoss,
    Wipe,
    Pause,
    DiskStall,
    DiskSlow,
    ClockAction,
    Drop,
    Hold,
)

#: What `heal` mends.
HEALABLE = (Partition, Isolate, Cut, Deaf, Mute, LinkChange)

#: Actions on links, which clients have too.
LINK_ACTIONS = (Partition, Isolate, Cut, Deaf, Mute, Heal, LinkChange)

#: Actions that take faults back; they may find nothing to do, so they are no faults themselves.
REPAIRS = (Heal, Restart, Resume, DiskRecover, Release)


def read_action(key: str, value: object) -> Action:
    """The model of one action.

    Raises:
        pydantic.ValidationError: the value does not fit the action.
    """
    if key in ("latency_ms", "loss", "duplicate", "reorder"):
        return LinkChange.model_validate(_quality_value(key, value))
    if key in ("write", "read"):
        fields = value if isinstance(value, dict) else {"node": value}
        return OperationAction.model_validate({"op": key, **fields})
    return ACTIONS[key].model_validate(value)


def _quality_value(key: str, value: object) -> object:
    """`loss: 0.3`, or `loss: {rate: 0.3, from: 1, to: 2}` for some links."""
    ends = ("from", "to", "between", "both", "node", "nodes")
    if not isinstance(value, dict) or not any(end in value for end in ends):
        return {key: value}
    where = {end: item for end, item in value.items() if end in ends}
    what = {name: item for name, item in value.items() if name not in ends}
    if len(what) == 1 and set(what) <= {"rate", "value", "probability"}:
        return {key: next(iter(what.values())), **where}
    return {key: what, **where}
