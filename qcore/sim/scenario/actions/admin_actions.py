"""The models of timeline actions on the cluster: joins, membership changes and leadership transfers."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from qcore.sim.scenario.values import Flag, NodeId, Nodes, Selector, Spec, known_outcomes

_LEADER = Selector(terms=("leader",))
Ids = tuple[NodeId, ...]

#: The outcomes of an admin request: ok or not_ok, the name of an error, or the reason of a rejection.
ADMIN_OUTCOMES = (
    "ok",
    "not_ok",
    "NotLeader",
    "NotCaughtUp",
    "TransferFailed",
    "TransferUnknown",
    "OutcomeUnknown",
    "Overloaded",
    "DiskFull",
    "ProposalDropped",
    "DeadlineExceeded",
    "pending",
    "changed",
    "empty",
    "unknown_member",
    "contradiction",
    "not_ready",
    "transferring",
    "overwritten",
    "is_voter",
    "priorities",
    "unreachable",
    "invalid",
    "unsupported",
    "lost",
    "no_leader",
    "timeout",
)


def _as_tuple(value: object) -> object:
    if isinstance(value, int) and not isinstance(value, bool):
        return (value,)
    return tuple(value) if isinstance(value, list) else value


class Join(Spec):
    """Start pristine nodes that are not members of the cluster yet. Short form: their ids."""

    kind: Literal["join"] = "join"
    ids: Ids = Field(
        alias="nodes",
        min_length=1,
        description=(
            "The nodes that start. A node that joined before is stopped and starts on a blank disk. A first "
            "member cannot join: `restart` starts it again."
        ),
    )

    @model_validator(mode="before")
    @classmethod
    def _just_ids(cls, value: object) -> object:
        if isinstance(value, dict):
            raw = value.get("nodes", value.get("node"))
            rest = {key: item for key, item in value.items() if key not in ("node", "nodes")}
            return {**rest, "nodes": _as_tuple(raw)}
        return {"nodes": _as_tuple(value)}


class AdminAction(Spec):
    """Base of the admin requests.

    Attributes:
        at: the node that receives the request; the current leader if left out.
        retry: whether to repeat the request, each time at the current leader, until it succeeds or times out.
        timeout_ms: the timeout of the request with all its repetitions.
        outcome: the outcome that it must have: `ok`, `not_ok`, the name of an error or the reason of a rejection, or
            a list of these.
    """

    at: Nodes = Field(default=_LEADER, description="The node that receives the request.")
    retry: Flag = Field(
        default=True,
        description="Whether to repeat the request, each time at the current leader, until it succeeds or times out.",
    )
    timeout_ms: Annotated[int, Field(ge=1, strict=True)] = Field(
        default=5000, description="The time in milliseconds in which the request may be repeated."
    )
    outcome: tuple[str, ...] | None = Field(
        default=None,
        description=(
            "The outcome that it must have, or a list of allowed ones: `ok`, `not_ok`, the name of an error, "
            "or the reason of a rejection."
        ),
    )

    @field_validator("outcome", mode="before")
    @classmethod
    def _one_or_several(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else _as_tuple(value)

    @field_validator("outcome")
    @classmethod
    def _known_outcome(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return known_outcomes(value, ADMIN_OUTCOMES)


class AddLearnerAction(AdminAction):
    """Make a node a learner. The request ends when the node has caught up. Short form: its id."""

    kind: Literal["add_learner"] = "add_learner"
    node: NodeId = Field(description="The node.")

    @model_validator(mode="before")
    @classmethod
    def _just_the_node(cls, value: object) -> object:
        return value if isinstance(value, dict) else {"node": value}


class ChangeMembersAction(AdminAction):
    """Change the voters and learners. Short form: the voters.

    Give either `voters`, the new set of voters, or the difference as `add` and `remove`. Without `learners`, the
    current learners stay, except for those that become voters or are removed.
    """

    kind: Literal["change_members"] = "change_members"
    voters: Ids | None = Field(default=None, description="The new set of voters.")
    learners: Ids | None = Field(
        default=None,
        description=(
            "The new set of learners. Left out: the current ones, without those that become voters or are "
            "removed."
        ),
    )
    add: Ids = Field(default=(), description="Nodes that become voters.")
    remove: Nodes | None = Field(default=None, description="Nodes that leave the cluster.")
    expected_index: Annotated[int, Field(ge=0, strict=True)] | None = Field(
        default=None,
        description=(
            "The index of the configuration that is to be changed. With another one in effect, the request is "
            "rejected."
        ),
    )

    @model_validator(mode="before")
    @classmethod
    def _just_voters(cls, value: object) -> object:
        return value if isinstance(value, dict) else {"voters": value}

    @field_validator("voters", "learners", "add", mode="before")
    @classmethod
    def _ids(cls, value: object) -> object:
        return _as_tuple(value)

    @model_validator(mode="after")
    def _says_something(self) -> ChangeMembersAction:
        relative = bool(self.add) or self.remove is not None
        if self.voters is not None and relative:
            raise ValueError("give either `voters`, or `add` and `remove`")
        if self.voters is None and not relative and self.learners is None:
            raise ValueError("nothing to change; give voters, learners, add or remove")
        return self


class RemoveAction(AdminAction):
    """Remove nodes from the cluster. Short form: the nodes."""

    kind: Literal["remove"] = "remove"
    nodes: Nodes = Field(description="The nodes.")

    @model_validator(mode="before")
    @classmethod
    def _just_nodes(cls, value: object) -> object:
        if isinstance(value, dict):
            return {("nodes" if key == "node" else key): item for key, item in value.items()}
        return {"nodes": value}


class TransferAction(AdminAction):
    """Transfer leadership to a voter, or to the best one (null). Short form: the voter."""

    kind: Literal["transfer"] = "transfer"
    to: NodeId | None = Field(
        default=None, description="The voter that becomes leader; null for the best one."
    )

    @model_validator(mode="before")
    @classmethod
    def _just_the_target(cls, value: object) -> object:
        return value if isinstance(value, dict) else {"to": value}
