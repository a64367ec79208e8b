"""The watchers of a scenario: clients that watch what changes."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field, field_validator, model_validator

from qcore.sim.scenario.values import Milliseconds, Spec

#: The topic that stands for all registers with the machine entity: their entity type.
REGISTER_TYPE: Final = "Register"


class WatcherSpec(Spec):
    """Clients that watch what changes. Short form: their number."""

    count: Annotated[int, Field(ge=0, le=1000, strict=True)] = Field(
        default=0, description="The number of watchers."
    )
    topics: tuple[str, ...] = Field(
        default=(),
        description=(
            "What they watch, one topic each, from the first again if there are more watchers. Registers; with "
            "the machine entity also `Register` for all of them; or requests to watch a custom state machine. "
            "Left out: the registers."
        ),
    )
    move_every_ms: Milliseconds = Field(
        default=0.0,
        description=(
            "The mean time in milliseconds after which a watcher ends its watch by itself and resumes at a "
            "drawn node; 0: never."
        ),
    )
    away_ms: Milliseconds = Field(
        default=0.0, description="The mean time in milliseconds that it stays away in between."
    )

    @model_validator(mode="before")
    @classmethod
    def _number(cls, value: object) -> object:
        return {"count": value} if isinstance(value, int) else value

    @field_validator("topics", mode="before")
    @classmethod
    def _list(cls, value: object) -> object:
        return tuple(value) if isinstance(value, list) else value
