"""The watchers of a scenario: clients that watch what changes."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field, field_validator, model_validator

from qcore.sim.scenario.values import Milliseconds, Spec

#: The topic that stands for all registers with the machine entity: their entity type.
REGISTER_TYPE: Final = "Register"


class WatcherSpec(Spec):
    """The watchers: `{count: 3}`, or just a number.

    Each watches one of `topics`, one after the other; without `topics`, one of the registers. With the
    machine entity, the topic `Register` is all registers. On average every
    `move_every_ms` (0: never) it closes its watch by itself, stays away for `away_ms` on average, and resumes.
    """

    count: Annotated[int, Field(ge=0, le=1000, strict=True)] = 0
    topics: tuple[str, ...] = ()
    move_every_ms: Milliseconds = 0.0
    away_ms: Milliseconds = 0.0

    @model_validator(mode="before")
    @classmethod
    def _number(cls, value: object) -> object:
        return {"count": value} if isinstance(value, int) else value

    @field_validator("topics", mode="before")
    @classmethod
    def _list(cls, value: object) -> object:
        return tuple(value) if isinstance(value, list) else value
