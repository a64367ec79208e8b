"""The faults of client programs: processes that are paused or killed, and clocks that drift."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field, model_validator

from qcore.sim.scenario.distributions import LatencySpec, uniform
from qcore.sim.scenario.values import Milliseconds, Probability, Spec

#: What has no effect without `every_ms`.
_OF_FAULTS: Final = ("pause_ms", "kill_fraction", "restart_after_ms", "until_ms")


class ProgramFaultsSpec(Spec):
    """Faults of the processes of client programs, and errors of their clocks.

    Each client is paused or killed again and again, at times that its seed draws, while its program runs. Faults begin
    between two steps of the program, also between steps that take no simulated time. At the end of the load, paused
    processes continue, and no process starts again.
    """

    every_ms: LatencySpec | None = Field(
        default=None,
        description=(
            "The time in milliseconds from the start of the load, or from the end of a fault, to the next fault of a "
            "client, at least 1. Left out: no process is paused or killed."
        ),
    )
    pause_ms: LatencySpec = Field(
        default=uniform(100, 2000),
        description=(
            "How long a process is paused, as by SIGSTOP, in milliseconds. None of its code runs, messages wait, and "
            "timers that become due fire after the pause."
        ),
    )
    kill_fraction: Probability = Field(
        default=0.25,
        description=(
            "The share of the faults that kill the process, as by SIGKILL: no `finally` runs, and its connections end."
        ),
    )
    restart_after_ms: LatencySpec = Field(
        default=uniform(100, 1000),
        description=(
            "The time in milliseconds after which a killed process starts again: the program from its beginning, with "
            "a new client and another generator, and the same number."
        ),
    )
    until_ms: Milliseconds | None = Field(
        default=None,
        description=(
            "No fault begins after this time, in milliseconds. Pauses still end, and killed processes start again. "
            "Left out: the end of the load."
        ),
    )
    clock_drift_ppm: Annotated[int, Field(ge=0, lt=1_000_000, strict=True)] = Field(
        default=0,
        description=(
            "Each client draws how much faster or slower its clocks run, up to this many millionths. It affects "
            "`monotonic_us` and `wall_us` of the runtime of its client, not timers."
        ),
    )
    clock_skew_ms: Milliseconds = Field(
        default=0.0,
        description=(
            "Each client draws how far its wall clock is ahead or behind, up to this many milliseconds."
        ),
    )

    @model_validator(mode="after")
    def _consistent(self) -> ProgramFaultsSpec:
        if not self.model_fields_set:
            raise ValueError(
                "it names no fault: give every_ms, clock_drift_ppm or clock_skew_ms, or leave program_faults out"
            )
        if self.every_ms is None:
            for name in _OF_FAULTS:
                if name in self.model_fields_set:
                    raise ValueError(
                        f"{name} has no effect without every_ms: give the time between the faults of a client, for "
                        "example every_ms: {uniform: [500, 3000]}"
                    )
        return self
