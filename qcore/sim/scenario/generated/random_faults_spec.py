"""The models of `random_faults`: kinds of faults that come at random times, and a quiet phase after them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator, model_validator

from qcore.sim.scenario.timeline import Item
from qcore.sim.scenario.values import Milliseconds, Spec


class FaultPhases(Spec):
    """The phases of a run with drawn faults.

    Faults begin from `from_ms` on. At `until_ms` everything is repaired, and no further fault comes: the quiet phase
    begins. The clients continue. After `quiet_ms` the cluster must be live, see `expect.live_within_ms`.
    """

    from_ms: Milliseconds = Field(
        default=500.0, description="The time from which faults begin, in milliseconds."
    )
    until_ms: Milliseconds | None = Field(
        default=None,
        description="The time at which everything is repaired. Left out: `quiet_ms` before the end of the run.",
    )
    quiet_ms: Annotated[float, Field(gt=0, strict=True, allow_inf_nan=False)] = Field(
        default=3000.0,
        description="How long after the repair the cluster may take until it serves again.",
    )

    def check_phases(self, name: str, run_ends_ms: float) -> None:
        """Check that the phases fit into the run.

        Raises:
            ValueError: they do not.
        """
        if self.quiet_ms >= run_ends_ms:
            raise ValueError(
                f"{name}.quiet_ms: the quiet phase of {self.quiet_ms:g} ms leaves no time for faults in a run of "
                f"{run_ends_ms:g} ms (until_ms)"
            )
        until = self.repair_ms(run_ends_ms)
        if until + self.quiet_ms > run_ends_ms:
            raise ValueError(
                f"{name}.until_ms: the quiet phase from {until:g} to {until + self.quiet_ms:g} ms ends after the run, "
                f"until_ms {run_ends_ms:g}"
            )
        if self.from_ms >= until:
            raise ValueError(
                f"{name}.from_ms: no time is left for faults between {self.from_ms:g} and {until:g} ms; the quiet "
                f"phase takes the last {self.quiet_ms:g} ms"
            )

    def repair_ms(self, run_ends_ms: float) -> float:
        """The time at which the quiet phase begins."""
        return run_ends_ms - self.quiet_ms if self.until_ms is None else self.until_ms


class RandomFault(Item):
    """A fault that comes again and again, at random times.

    It is written like an item of the timeline, with `every_ms` or `rate_per_s` instead of `at_ms`. With `when` it
    comes at an event. It may find nothing to do, so it never fails a run.
    """

    @model_validator(mode="before")
    @classmethod
    def _rate(cls, value: object) -> object:
        if not isinstance(value, dict) or "rate_per_s" not in value:
            return value
        rate = value["rate_per_s"]
        if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 < rate <= 1000:
            raise ValueError(f"rate_per_s: {rate!r} is not a rate above 0 and up to 1000")
        if "every_ms" in value:
            raise ValueError("rate_per_s and every_ms both set the rate; leave one out")
        rest = {key: item for key, item in value.items() if key != "rate_per_s"}
        return {**rest, "every_ms": {"exponential": 1000 / rate}}

    @model_validator(mode="after")
    def _without_a_time(self) -> RandomFault:
        for name in ("at_ms", "after_ms", "until_ms"):
            if getattr(self, name) is not None and not (name == "after_ms" and self.when):
                raise ValueError(
                    f"{name}: a random fault has no time; give every_ms or rate_per_s, and the phase with "
                    "random_faults.from_ms and until_ms"
                )
        if self.every_ms is None and self.when is None:
            raise ValueError(
                "give every_ms (the time between two faults, such as {exponential: 900}) or rate_per_s"
            )
        return self


class RandomFaultsSpec(FaultPhases):
    """Faults at random times, and a quiet phase after them."""

    faults: tuple[RandomFault, ...] = Field(
        min_length=1, description="The kinds of faults, each with its rate and duration."
    )

    @field_validator("faults", mode="before")
    @classmethod
    def _list_of_faults(cls, value: object) -> object:
        return tuple(value) if isinstance(value, list) else value
