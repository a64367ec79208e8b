"""The models of a timeline's items and triggers: what happens, when, and for how long or how often."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from qcore.sim.scenario.actions.message_actions import known_message
from qcore.sim.scenario.actions.network_actions import FLAPPABLE
from qcore.sim.scenario.actions.registry import ACTIONS, REVERSIBLE, Action
from qcore.sim.scenario.distributions import Distribution
from qcore.sim.scenario.generated.random_actions import RandomAction, action_of, has_choices
from qcore.sim.scenario.generated.random_times import RandomGap, RandomTime, bounds
from qcore.sim.scenario.specs.flap_spec import FlapSpec
from qcore.sim.scenario.values import Flag, Milliseconds, Nodes, Selector, Spec

EventKind = Literal["send", "receive", "role", "vote", "commit", "apply", "durable"]

#: The keys of an item that say when and how often it acts, and what it is called.
TIMING_KEYS = (
    "at_ms",
    "after_ms",
    "for_ms",
    "every_ms",
    "times",
    "until_ms",
    "label",
    "note",
    "may_not_act",
    "flap",
    "when",
)

#: Keys whose values are blocks of actions.
_BLOCKS = ("do", "one_of")
_TIMING = (*TIMING_KEYS, *_BLOCKS)


class Trigger(Spec):
    """An event that fires an item when it first happens after `at_ms`.

    Names of nodes are resolved at each event: `from: leader` means the node that leads when the message is sent or
    received. The actions of the item may name `event_node`, and for a message its `sender` and `receiver`.
    """

    event: EventKind = Field(
        description=(
            "The event. `vote`: a node grants a vote. `commit`, `apply`: its commit or apply index grows. "
            "`durable`: a write is durable."
        ),
    )
    node: Nodes | None = Field(default=None, description="The nodes at which it happens.")
    message: str | None = Field(default=None, description="For send and receive: the message.")
    to: Nodes | None = Field(default=None, description="For send and receive: the receivers.")
    source: Nodes | None = Field(
        default=None,
        alias="from",
        description="For send and receive: the senders. For vote: the candidates.",
    )
    role: Literal["follower", "pre_candidate", "candidate", "leader", "learner"] | None = Field(
        default=None, description="For role: the new role."
    )
    term: Annotated[int, Field(ge=0, strict=True)] | None = Field(
        default=None, description="The term of the message, role, vote or applied entry."
    )
    index: Annotated[int, Field(ge=0, strict=True)] | None = Field(
        default=None, description="For commit, apply and durable: the least index."
    )

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
        if self.to is not None and self.event not in ("send", "receive"):
            raise ValueError(f"`to` goes with send or receive, not with {self.event}")
        if self.source is not None and self.event not in ("send", "receive", "vote"):
            raise ValueError(f"`from` goes with send, receive or vote, not with {self.event}")
        return self

    @property
    def own_end(self) -> Selector | None:
        """The end of the message that is the node of the event itself."""
        match self.event:
            case "send":
                return self.source
            case "receive":
                return self.to
            case _:
                return None

    @property
    def peer_end(self) -> Selector | None:
        """The other node of the event: the other end of the message, or the candidate."""
        return self.to if self.event == "send" else self.source


class Item(Spec):
    """One line of a timeline: one or more actions, and when they happen.

    Actions stand beside the times, such as `crash: leader`. A time may be a distribution, from which each seed draws.
    `one_of` lists blocks of actions, from which each seed draws one. Within an action, `{draw: [0.1, 0.5]}` stands for
    a drawn number and `{one_of: [leader, random]}` for a drawn value. An item that repeats draws again each time.
    """

    at_ms: RandomTime | None = Field(
        default=None,
        description="The time of the item in milliseconds. With `when`: the time from which the event counts.",
    )
    after_ms: RandomTime | None = Field(
        default=None,
        description="The time since the previous item, instead of `at_ms`. With `when`: the delay after the event.",
    )
    for_ms: RandomTime | None = Field(
        default=None, description="How long the actions last. Without it they last until a repair."
    )
    every_ms: RandomGap | None = Field(
        default=None,
        description="The time from one repetition to the next. A drawn gap is at least one millisecond.",
    )
    times: Annotated[int, Field(ge=1, strict=True)] | None = Field(
        default=None,
        description="How often the item fires. With `when`, once if left out; with `every_ms`, without a limit.",
    )
    until_ms: Milliseconds | None = Field(
        default=None,
        description="After this time the item neither fires nor waits any more. Held messages are released.",
    )
    label: Annotated[str, Field(min_length=1)] | None = Field(
        default=None, description="A name, for `heal: <label>` and for messages."
    )
    note: str = Field(default="", description="A text for readers.")
    may_not_act: Flag = Field(
        default=False,
        description="The run may pass although a fault of this item never acts.",
    )
    flap: FlapSpec | None = Field(
        default=None,
        description="The network faults of the item begin and end again and again, on the same links, until `for_ms`, "
        "`until_ms` or a `heal`.",
    )
    when: Trigger | None = Field(
        default=None, description="The event that fires the item, in place of a time."
    )
    actions: tuple[Action, ...] = Field(
        default=(), description="What happens, in this order. In a file, each action is a key."
    )
    random_actions: tuple[RandomAction, ...] = Field(
        default=(),
        description="What the seed chooses. In a file: `one_of`, and actions with drawn values.",
    )

    @model_validator(mode="before")
    @classmethod
    def _collect_actions(cls, value: object) -> object:
        if not isinstance(value, dict) or "actions" in value or "random_actions" in value:
            return value
        timing = {key: item for key, item in value.items() if key in _TIMING and key not in _BLOCKS}
        repeat = value.get("repeat")
        if isinstance(repeat, dict):
            timing.update(repeat)
        found = [
            (key, item) for key, item in value.items() if key not in _TIMING and key != "repeat"
        ]
        for block in _blocks(value.get("do")):
            found += block.items()
        plain = [(key, item) for key, item in found if not has_choices(item)]
        chosen = [
            RandomAction.read([{key: item}], _TIMING) for key, item in found if has_choices(item)
        ]
        if "one_of" in value:
            blocks = value["one_of"]
            if not isinstance(blocks, list):
                raise ValueError(f"one_of: {blocks!r}; write a list of actions to choose from")
            chosen.append(RandomAction.read(blocks, _TIMING))
        if not plain and not chosen:
            raise ValueError(f"the item has no action; add one of {', '.join(ACTIONS)}")
        return {
            **timing,
            "actions": tuple(action_of(key, item, _TIMING) for key, item in plain),
            **({"random_actions": tuple(chosen)} if chosen else {}),
        }

    @model_validator(mode="after")
    def _consistent(self) -> Item:
        if not self.actions and not self.random_actions:
            raise ValueError("the item has no action")
        if self.for_ms is not None:
            for action in self.possible_actions:
                if not isinstance(action, REVERSIBLE):
                    raise ValueError(f"for_ms: {action.kind} has no effect that could end")
        if self.flap is not None:
            for action in self.possible_actions:
                if not isinstance(action, FLAPPABLE):
                    raise ValueError(
                        f"flap: {action.kind} cannot flap, only cuts, clogs and changes of links"
                    )
        if self.every_ms is None and self.times is not None and self.when is None:
            raise ValueError(
                "times belongs to a repeated item (add every_ms) or to one with `when`"
            )
        latest = bounds(self.at_ms)[1]
        if self.until_ms is not None and self.until_ms < latest:
            raise ValueError(
                f"until_ms ({self.until_ms:g}) is before at_ms ({latest:g}): it would never act"
            )
        if self.when is not None and self.every_ms is not None:
            raise ValueError("an item with `when` cannot also repeat by time; use one of them")
        return self

    @property
    def possible_actions(self) -> tuple[Action, ...]:
        """The actions, and every action that a seed may choose."""
        chosen = [action for one in self.random_actions for action in one.possible()]
        return (*self.actions, *chosen)

    @property
    def is_random(self) -> bool:
        """Whether the seed decides a time or an action of this item."""
        times = (self.at_ms, self.after_ms, self.for_ms, self.every_ms)
        return bool(self.random_actions) or any(isinstance(time, Distribution) for time in times)

    @property
    def name(self) -> str:
        """The name for messages: the label, or the kinds of the actions."""
        return self.label or "+".join(action.kind for action in self.actions) or "one_of"


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
