"""The models of a timeline's items and triggers: what happens, when, and for how long or how often."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, ValidationError, model_validator

from qcore.sim.scenario.actions.message_actions import known_message
from qcore.sim.scenario.actions.network_actions import FLAPPABLE
from qcore.sim.scenario.actions.registry import ACTIONS, REVERSIBLE, Action, read_action
from qcore.sim.scenario.specs.flap_spec import FlapSpec
from qcore.sim.scenario.values import Milliseconds, NodeId, Nodes, Spec

EventKind = Literal["send", "receive", "role", "vote", "commit", "apply", "durable"]

_TIMING = (
    "at_ms",
    "after_ms",
    "for_ms",
    "every_ms",
    "times",
    "until_ms",
    "label",
    "note",
    "flap",
    "when",
    "do",
)


class Trigger(Spec):
    """An event that fires an item when it first happens after `at_ms`.

    `send` and `receive` can name the `message` and the peer (`to` or `from`); `role` can name the new role. `term`
    and `index` narrow the event further (`index` is a minimum).
    """

    event: EventKind
    node: Nodes | None = None
    message: str | None = None
    to: NodeId | None = None
    source: NodeId | None = Field(default=None, alias="from")
    role: Literal["follower", "pre_candidate", "candidate", "leader", "learner"] | None = None
    term: Annotated[int, Field(ge=0, strict=True)] | None = None
    index: Annotated[int, Field(ge=0, strict=True)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _other_names(cls, value: object) -> object:
        if isinstance(value, str):
            return {"event": value}
        if isinstance(value, dict):
            event = {"recv": "receive", "deliver": "receive", "sync": "durable"}
            raw = value.get("event")
            return {**value, "event": event.get(raw, raw) if isinstance(raw, str) else raw}
        return value

    @model_validator(mode="after")
    def _known_message(self) -> Trigger:
        if self.message is not None:
            if self.event not in ("send", "receive"):
                raise ValueError(f"`message` goes with send or receive, not with {self.event}")
            known_message(self.message)
        if self.role is not None and self.event != "role":
            raise ValueError(f"`role` goes with the event `role`, not with {self.event}")
        return self


class Item(Spec):
    """One line of a timeline.

    Attributes:
        at_ms: the time of the item; with `when`, the time from which the trigger is armed.
        after_ms: the time since the previous item, instead of `at_ms`; with `when`, the delay after the trigger.
        for_ms: how long the actions last; then they end.
        every_ms, times: the period and number of repetitions; with `when`, `times` is how often the trigger may fire
            (1 if left out).
        until_ms: the time after which the item does not fire any more.
        label: a name, for `heal: <label>` and for messages.
        flap: the network faults of the item begin and end again and again.
        when: the event that fires the item.
        actions: what happens, in this order.
    """

    at_ms: Milliseconds | None = None
    after_ms: Milliseconds | None = None
    for_ms: Milliseconds | None = None
    every_ms: Annotated[float, Field(gt=0, strict=True, allow_inf_nan=False)] | None = None
    times: Annotated[int, Field(ge=1, strict=True)] | None = None
    until_ms: Milliseconds | None = None
    label: Annotated[str, Field(min_length=1)] | None = None
    note: str = ""
    flap: FlapSpec | None = Field(
        default=None,
        description="The network faults of the item begin and end again and again, on the same links, until `for_ms`, "
        "`until_ms` or a `heal`.",
    )
    when: Trigger | None = None
    actions: tuple[Action, ...]

    @model_validator(mode="before")
    @classmethod
    def _collect_actions(cls, value: object) -> object:
        if not isinstance(value, dict) or "actions" in value:
            return value
        timing = {key: item for key, item in value.items() if key in _TIMING and key != "do"}
        repeat = value.get("repeat")
        if isinstance(repeat, dict):
            timing.update(repeat)
        found = [
            (key, item) for key, item in value.items() if key not in _TIMING and key != "repeat"
        ]
        for block in _blocks(value.get("do")):
            found += block.items()
        if not found:
            raise ValueError(f"the item has no action; add one of {', '.join(ACTIONS)}")
        return {**timing, "actions": tuple(_action(key, item) for key, item in found)}

    @model_validator(mode="after")
    def _consistent(self) -> Item:
        if self.for_ms is not None:
            for action in self.actions:
                if not isinstance(action, REVERSIBLE):
                    raise ValueError(f"for_ms: {action.kind} has no effect that could end")
        if self.flap is not None:
            for action in self.actions:
                if not isinstance(action, FLAPPABLE):
                    raise ValueError(
                        f"flap: {action.kind} cannot flap, only cuts, clogs and changes of links"
                    )
        if self.every_ms is None and self.times is not None and self.when is None:
            raise ValueError(
                "times belongs to a repeated item (add every_ms) or to one with `when`"
            )
        if self.until_ms is not None and self.until_ms < (self.at_ms or 0.0):
            raise ValueError(
                f"until_ms ({self.until_ms:g}) is before at_ms ({self.at_ms:g}): it would never act"
            )
        if self.when is not None and self.every_ms is not None:
            raise ValueError("an item with `when` cannot also repeat by time; use one of them")
        return self

    @property
    def name(self) -> str:
        """The name for messages: the label, or the kinds of the actions."""
        return self.label or "+".join(action.kind for action in self.actions)


def _blocks(value: object) -> list[dict[str, object]]:
    if value is None:
        return []
    blocks: list[object] = value if isinstance(value, list) else [value]
    checked: list[dict[str, object]] = []
    for block in blocks:
        if not isinstance(block, dict):
            raise ValueError(f"do: {block!r} is not an action; write for example {{crash: leader}}")
        checked.append(block)
    return checked


def _action(key: object, value: object) -> Action:
    if not isinstance(key, str) or key not in ACTIONS:
        raise ValueError(
            f"unknown key {key!r}; actions are {', '.join(ACTIONS)}; times are {', '.join(_TIMING)}"
        )
    try:
        return read_action(key, value)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        raise ValueError(f"{key}{'.' + where if where else ''}: {message}") from None
