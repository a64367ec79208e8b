"""The models of timeline actions on the disks and clocks of nodes."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from qcore.sim.scenario.actions.node_actions import NodeAction
from qcore.sim.scenario.distributions import LatencySpec


class DiskStall(NodeAction):
    """No sync ends until `disk_recover`."""

    kind: Literal["disk_stall"] = "disk_stall"


class DiskSlow(NodeAction):
    """Every sync takes `extra_ms` longer until `disk_recover`."""

    kind: Literal["disk_slow"] = "disk_slow"
    extra_ms: LatencySpec = Field(
        alias="latency_ms", description="How much longer each sync takes, in milliseconds."
    )

    @model_validator(mode="before")
    @classmethod
    def _other_name(cls, value: object) -> object:
        if isinstance(value, dict) and "extra_ms" in value:
            return {
                ("latency_ms" if key == "extra_ms" else key): item for key, item in value.items()
            }
        return value


class DiskRecover(NodeAction):
    """End stalls and slow-downs."""

    kind: Literal["disk_recover"] = "disk_recover"


class ClockAction(NodeAction):
    """Set clocks wrong: `offset_ms` moves the wall clock, `drift_ppm` makes all clocks of the node run fast."""

    kind: Literal["clock"] = "clock"
    offset_ms: Annotated[float, Field(strict=True, allow_inf_nan=False)] | None = Field(
        default=None, description="How far the wall clock is ahead, in milliseconds."
    )
    drift_ppm: Annotated[int, Field(gt=-1_000_000, lt=10_000_000, strict=True)] | None = Field(
        default=None, description="How much faster all clocks of the node run, in millionths."
    )

    @model_validator(mode="after")
    def _changes_something(self) -> ClockAction:
        if self.offset_ms is None and self.drift_ppm is None:
            raise ValueError("give offset_ms, drift_ppm, or both")
        return self
