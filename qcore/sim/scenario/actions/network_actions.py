"""The models of timeline actions on the network: partitions and cuts, heal, and changes of link quality."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from qcore.sim.scenario.actions.node_actions import NodeAction
from qcore.sim.scenario.distributions import LatencySpec, uniform
from qcore.sim.scenario.specs.network_spec import QualitySpec
from qcore.sim.scenario.values import Flag, Nodes, Spec, distinct_ends, parse_selector

#: The keys that give a partition a shape, instead of groups.
SHAPES = ("halves", "bridge", "ring", "majorities_ring", "pendants")


class Partition(Spec):
    """Divide the nodes: into groups, or in a shape. Links between the parts are cut, in both directions.

    Nodes that no group names form one more group. A node named in two groups bridges them. Clients reach every node
    unless a group names them. The shapes are those of Jepsen; they leave the links of clients as they are.
    """

    kind: Literal["partition"] = "partition"
    groups: tuple[Nodes, ...] | None = Field(
        default=None,
        min_length=1,
        description="The groups, each a list of nodes and clients. Short form: the list of groups alone.",
    )
    halves: Nodes | None = Field(
        default=None, description="Divide these nodes into two halves, the smaller one first."
    )
    bridge: Nodes | None = Field(
        default=None,
        description="All other nodes form two halves that are joined only through this node.",
    )
    ring: Nodes | None = Field(
        default=None, description="Each of these nodes reaches only its two neighbours in a ring."
    )
    majorities_ring: Nodes | None = Field(
        default=None,
        description="Each of these nodes reaches a majority of them, and no two reach the same one.",
    )
    pendants: Nodes | None = Field(
        default=None, description="Each of these nodes reaches only the `hub`."
    )
    hub: Nodes | None = Field(
        default=None,
        description="The node that pendants reach; by default a random one of the other nodes.",
    )
    order: Literal["random", "id"] = Field(
        default="random",
        description="The order of the nodes in halves and rings: drawn by the item, or by id.",
    )

    @model_validator(mode="before")
    @classmethod
    def _just_groups(cls, value: object) -> object:
        if isinstance(value, dict) and "groups" in value:
            groups = value["groups"]
            rest = {key: item for key, item in value.items() if key != "groups"}
            return {**rest, "groups": tuple(groups) if isinstance(groups, list) else groups}
        if isinstance(value, dict) and any(key in value for key in (*SHAPES, "hub", "order")):
            return value
        if isinstance(value, list):
            return {"groups": tuple(value)}
        return {"groups": (value,)}

    @model_validator(mode="after")
    def _one_shape(self) -> Partition:
        given = [name for name in ("groups", *SHAPES) if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                f"give one of groups, {', '.join(SHAPES)}"
                + (f"; there are {' and '.join(given)}" if given else "")
            )
        if self.hub is not None and self.pendants is None:
            raise ValueError("hub belongs to pendants")
        if "order" in self.model_fields_set and given[0] in ("groups", "pendants"):
            raise ValueError(f"order belongs to halves, bridge and rings, not to {given[0]}")
        return self


class Isolate(NodeAction):
    """Cut every link between these nodes and all other nodes; with `clients`, the clients' links too."""

    kind: Literal["isolate"] = "isolate"
    clients: Flag = Field(default=False, description="Whether the links to clients are cut, too.")


class LinkEnds(Spec):
    """Base of the actions on the links between two ends."""

    source: Nodes = Field(alias="from", description="Where the links begin.")
    target: Nodes = Field(alias="to", description="Where the links end.")
    both: Flag = Field(default=False, description="Also the links of the other direction.")

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, value: object) -> object:
        return _ends(value)

    @model_validator(mode="after")
    def _distinct_ends(self) -> LinkEnds:
        distinct_ends(self.source, self.target)
        if self.source.names_rest and self.target.names_rest:
            raise ValueError("`rest` on both ends: name one of them")
        return self


class Cut(LinkEnds):
    """Cut links: `{from: x, to: y}` one way, `{between: [x, y]}` or just `[x, y]` both ways."""

    kind: Literal["cut"] = "cut"


class Clog(LinkEnds):
    """Clog links: their messages wait until the clog is over, and then arrive in order. The ends are those of `cut`."""

    kind: Literal["clog"] = "clog"
    clog_ms: LatencySpec | None = Field(
        default=None,
        description=(
            "How long the clog lasts; drawn each time. Without it the clog lasts for `for_ms` or until `heal`."
        ),
    )


class SwizzleClog(Spec):
    """Clog all links of some nodes, one node after the other, then unclog them. Both orders are random."""

    kind: Literal["swizzle_clog"] = "swizzle_clog"
    nodes: Nodes | None = Field(
        default=None, description="The nodes; by default a random number of random nodes."
    )
    clients: Flag = Field(default=False, description="Also the links between them and clients.")
    clog_gap_ms: LatencySpec = Field(
        default=uniform(0, 500), description="The time from one clog to the next."
    )
    clogged_ms: LatencySpec = Field(
        default=uniform(0, 1000),
        description="The time from the last clog to the first unclog.",
    )
    unclog_gap_ms: LatencySpec = Field(
        default=uniform(0, 500), description="The time from one unclog to the next."
    )

    @model_validator(mode="before")
    @classmethod
    def _just_nodes(cls, value: object) -> object:
        if value is None:
            return {}
        if isinstance(value, dict) and "random" not in value:
            return value
        return {"nodes": value}


class Deaf(NodeAction):
    """These nodes receive nothing from other nodes; they can still send."""

    kind: Literal["deaf"] = "deaf"


class Mute(NodeAction):
    """Nothing that these nodes send reaches other nodes; they still receive."""

    kind: Literal["mute"] = "mute"


class Heal(Spec):
    """Heal cuts, clogs and link changes: `all`, those of one `label`, or those that touch some nodes."""

    kind: Literal["heal"] = "heal"
    label: str | None = Field(
        default=None, description="The label of the item whose cuts and changes end."
    )
    nodes: Nodes | None = Field(default=None, description="The nodes whose links become normal.")

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
    """Change the quality of links from now on: of all links between nodes, or of those `from`, `to` or `between`."""

    kind: Literal["links"] = "links"
    source: Nodes | None = Field(
        default=None, alias="from", description="The nodes that send; any if left out."
    )
    target: Nodes | None = Field(
        default=None, alias="to", description="The nodes that receive; any if left out."
    )
    both: Flag = Field(
        default=False,
        description=(
            "Whether the links in the other direction change, too. `between: [1, 2]` stands for `from`, `to` "
            "and `both`."
        ),
    )

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
        """The names of the settings that the action changes."""
        return [name for name in QualitySpec.model_fields if getattr(self, name) is not None]

    @property
    def only_removes_impairments(self) -> bool:
        """Whether every change sets an impairment to zero. Such an action can never have a visible effect."""
        return all(getattr(self, name) in (0, 0.0) for name in self.changes())


#: Actions that `heal` ends.
HEALABLE = (Partition, Isolate, Cut, Deaf, Mute, Clog, SwizzleClog, LinkChange)

#: Actions that can flap: begin and end again and again.
FLAPPABLE = (Partition, Isolate, Cut, Deaf, Mute, Clog, LinkChange)

#: Actions on links. Clients have links, too, so these actions may name clients.
LINK_ACTIONS = (Partition, Isolate, Cut, Deaf, Mute, Clog, Heal, LinkChange)


def link_change_of(key: str, value: object) -> object:
    """The fields of a `LinkChange`, from `loss: 0.3`, or from `loss: {rate: 0.3, from: 1, to: 2}` for some links."""
    ends = ("from", "to", "between", "both", "node", "nodes")
    if not isinstance(value, dict) or not any(end in value for end in ends):
        return {key: value}
    where = {end: item for end, item in value.items() if end in ends}
    what = {name: item for name, item in value.items() if name not in ends}
    if len(what) == 1 and set(what) <= {"rate", "value", "probability"}:
        return {key: next(iter(what.values())), **where}
    return {key: what, **where}


def _ends(value: object) -> object:
    """The fields `from`, `to` and `both`.

    `{between: [a, b]}` and `[a, b]` mean both directions; `{nodes: x}` means the links between x and the rest.
    """
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
