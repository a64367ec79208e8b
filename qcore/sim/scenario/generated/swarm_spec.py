"""The model of `swarm`: each seed draws which kinds of faults exist, how strong they are, and when they come."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field, field_validator, model_validator

from qcore.sim.scenario.generated.random_faults_spec import FaultPhases
from qcore.sim.scenario.generated.swarm_kinds import DEFAULT_KINDS, SWARM_KINDS
from qcore.sim.scenario.values import Probability, one_or_several

Kinds = Annotated[tuple[str, ...], BeforeValidator(one_or_several)]


class SwarmSpec(FaultPhases):
    """A swarm of faults. Each seed draws a subset of the kinds, and for each its strength, its rate and its times.

    A run with few kinds of faults reaches states that a run with all of them never reaches.
    """

    kinds: Kinds = Field(
        default=DEFAULT_KINDS,
        description=(
            "The kinds from which a seed draws. Left out: all that the cluster survives, without those that only "
            "`qcore sim swarm` draws."
        ),
    )
    without: Kinds = Field(default=(), description="Kinds that no seed draws.")
    probability: Probability = Field(
        default=0.4,
        description="The probability of each kind to be in a run. At least one is.",
    )
    intensity: Annotated[float, Field(gt=0, le=100, strict=True)] = Field(
        default=1.0, description="How often faults come: 2 doubles every rate."
    )

    @model_validator(mode="before")
    @classmethod
    def _just_on(cls, value: object) -> object:
        return {} if value is True else value

    @field_validator("kinds", "without")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if name not in SWARM_KINDS:
                raise ValueError(f"no kind is called {name!r}; there are {', '.join(SWARM_KINDS)}")
        return value

    @model_validator(mode="after")
    def _some_kind(self) -> SwarmSpec:
        if not self.allowed:
            raise ValueError("no kind is left; name more `kinds`, or fewer in `without`")
        return self

    @property
    def allowed(self) -> tuple[str, ...]:
        """The kinds from which a seed draws, in the order of the catalogue."""
        return tuple(
            name for name in SWARM_KINDS if name in self.kinds and name not in self.without
        )
