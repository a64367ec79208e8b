"""The models of timeline actions on single messages between nodes: drop, hold, release."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from qcore.sim.scenario.values import Flag, Nodes, Spec, distinct_ends

#: The messages that nodes send to each other.
MESSAGES = (
    "RequestVote",
    "RequestVoteResponse",
    "PreVote",
    "PreVoteResponse",
    "AppendEntries",
    "AppendEntriesResponse",
    "InstallSnapshot",
    "InstallSnapshotResponse",
    "TimeoutNow",
    "TimeoutNowResponse",
    "ReadIndex",
    "ReadIndexResponse",
    "Forward",
    "ForwardResponse",
)


def known_message(name: str) -> str:
    """Return `name` if it is in `MESSAGES`.

    Raises:
        ValueError: there is no such message.
    """
    if name not in MESSAGES:
        raise ValueError(f"no message is called {name!r}; there are {', '.join(MESSAGES)}")
    return name


def _names(value: object) -> object:
    names = value if isinstance(value, list | tuple) else (value,)
    return tuple(known_message(name) if isinstance(name, str) else name for name in names)


MessageNames = Annotated[tuple[str, ...], BeforeValidator(_names), Field(min_length=1)]
Times = Annotated[int, Field(ge=1, strict=True)] | Literal["all"]


class MessageAction(Spec):
    """Base of the actions on messages that are sent from now on. Short form: the message's name."""

    message: MessageNames = Field(
        default=MESSAGES,
        description="The names of messages, one or a list. Without it, every message between nodes.",
    )
    source: Nodes | None = Field(
        default=None, alias="from", description="The sender; by default any node."
    )
    target: Nodes | None = Field(
        default=None, alias="to", description="The receiver; by default any node."
    )
    entries: Flag | None = Field(
        default=None,
        description="Of AppendEntries, only those with entries (true), or only heartbeats (false).",
    )
    times: Times = Field(
        default=1,
        description="How many messages, or `all`. The default is `all` without `message`, and 1 with it.",
    )

    @model_validator(mode="before")
    @classmethod
    def _just_the_message(cls, value: object) -> object:
        if not isinstance(value, dict):
            return {"message": value}
        if "message" in value or "times" in value:
            return value
        if not {"from", "to"} & {*value}:
            raise ValueError("name the `message`, or the links with `from` and `to`")
        return {**value, "times": "all"}

    @model_validator(mode="after")
    def _goes_together(self) -> MessageAction:
        distinct_ends(self.source, self.target)
        if self.entries is not None and self.message != ("AppendEntries",):
            raise ValueError("`entries` goes with message: AppendEntries only")
        return self


class Drop(MessageAction):
    """Lose the next such message, or the next `times`."""

    kind: Literal["drop"] = "drop"


class Hold(MessageAction):
    """Hold the next such message, or the next `times`, until `release`. `{from: 1, to: 2}` holds the link."""

    kind: Literal["hold"] = "hold"


class Release(Spec):
    """Deliver held messages and end the hold: of all items, or of the item with this label."""

    kind: Literal["release"] = "release"
    label: str | None = Field(
        default=None,
        description="The label of the item whose messages are released; all held messages if left out.",
    )

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, value: object) -> object:
        if value is None or value == "all":
            return {}
        return value if isinstance(value, dict) else {"label": value}
