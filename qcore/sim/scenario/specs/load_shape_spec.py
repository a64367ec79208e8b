"""How the load of a scenario is shaped: its phases, and how often each key is used."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from qcore.sim.scenario.values import Milliseconds, Probability, Spec


class PhaseSpec(Spec):
    """A phase of the load. What it leaves out is as in the workload."""

    until_ms: Milliseconds | None = Field(
        default=None,
        description="The end of the phase, in milliseconds. Only the last phase may leave it out.",
    )
    rate_per_s: Annotated[float, Field(ge=0, strict=True, allow_inf_nan=False)] | None = Field(
        default=None, description="The rate of all clients together, in operations per second."
    )
    read_fraction: Probability | None = Field(default=None, description="The share of reads.")
    cas_fraction: Probability | None = Field(default=None, description="The share of cas.")


class KeySkewSpec(Spec):
    """Some registers are used more often than others. Give one of the keys."""

    zipf: Annotated[float, Field(gt=0, le=10, strict=True)] | None = Field(
        default=None,
        description="Register number n (from 1) is used in proportion to 1 / n to this power.",
    )
    hot: Probability | None = Field(
        default=None, description="This share of the operations goes to `k0`, the rest to all keys."
    )

    @model_validator(mode="after")
    def _one(self) -> KeySkewSpec:
        if (self.zipf is None) == (self.hot is None):
            raise ValueError("give either zipf or hot")
        return self

    def weights(self, keys: int) -> list[float]:
        """How often each of so many keys is used, in proportion."""
        if self.zipf is not None:
            return [1 / (number + 1) ** self.zipf for number in range(keys)]
        assert self.hot is not None, "one of the two is given"
        rest = (1 - self.hot) / keys
        return [rest + self.hot, *[rest] * (keys - 1)]
