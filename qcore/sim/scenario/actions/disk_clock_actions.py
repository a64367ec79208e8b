"""The models of timeline actions on the disks and clocks of nodes."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from qcore.sim.scenario.actions.node_actions import NodeAction
from qcore.sim.scenario.distributions import LatencySpec
from qcore.sim.scenario.specs.node_settings import Natural
from qcore.sim.scenario.values import Spec

_Finite = Annotated[float, Field(strict=True, allow_inf_nan=False)]


class DiskStall(NodeAction):
    """No sync ends until `disk_recover`."""

    kind: Literal["disk_stall"] = "disk_stall"


class DiskSlow(NodeAction):
    """Every sync takes `latency_ms` longer until `disk_recover`."""

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


class DiskError(NodeAction):
    """The disk reports an I/O error (EIO).

    After a failed write or sync the node stops: it acknowledges nothing more, and a `restart` starts it again. After a
    failed read it refuses to start.
    """

    kind: Literal["disk_error"] = "disk_error"
    on: Literal["write", "sync", "read"] = Field(
        default="sync",
        description="What fails: `write` (the operating system does not take the writes), `sync`, or `read` (when the "
        "node starts).",
    )
    times: Annotated[int, Field(ge=1, strict=True)] | Literal["all"] = Field(
        default=1,
        description="How many such operations of each disk fail, or `all` until the fault ends.",
    )
    survives: Literal["none", "all", "random"] = Field(
        default="random",
        description="Whether the writes of a failed sync had reached the disk: `none`, `all`, or `random`, drawn for "
        "each failed sync. All writes of one sync survive together.",
    )

    @field_validator("times", mode="before")
    @classmethod
    def _number_or_all(cls, value: object) -> object:
        if value != "all" and type(value) is not int:
            raise ValueError(f"{value!r}: write how many operations fail, or all")
        return value


class FullDisk(NodeAction):
    """The disk has no space left. The node rejects writes as `DiskFull` and waits until there is space again."""

    kind: Literal["disk_full"] = "disk_full"
    free_bytes: Natural = Field(
        default=0,
        description="How many bytes of log and snapshot still fit, in addition to those on the disk when the fault "
        "begins. Compaction of the log gives space back.",
    )


class BitRot(NodeAction):
    """A bit on the disk changes. The node refuses to start, and names the entry.

    A running node does not notice. The damage is gone once the node writes that place again (compaction, truncation),
    or its disk is wiped.
    """

    kind: Literal["bit_rot"] = "bit_rot"
    place: Literal["log", "snapshot"] = Field(
        default="log",
        alias="in",
        description="What is damaged: an entry of the `log`, or the `snapshot`. The fault waits until the disk has "
        "one.",
    )
    entry: Annotated[int, Field(ge=1, strict=True)] | Literal["random", "first", "last"] = Field(
        default="random",
        description="Which entry of the log: `first`, `last`, `random`, or its index.",
    )

    @field_validator("entry", mode="before")
    @classmethod
    def _index_or_name(cls, value: object) -> object:
        if value not in ("random", "first", "last") and type(value) is not int:
            raise ValueError(f"{value!r}: write first, last, random, or the index of an entry")
        return value

    @model_validator(mode="after")
    def _entry_is_in_the_log(self) -> BitRot:
        if self.place == "snapshot" and "entry" in self.model_fields_set:
            raise ValueError("entry goes with `in: log`; a snapshot has no entries")
        return self


class DiskRecover(NodeAction):
    """End stalls, slow-downs, I/O errors and a full disk. Damaged data stays damaged."""

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


class JumpSize(Spec):
    """How far a clock jumps, milliseconds: one number, or `[low, high]` from which each jump is drawn."""

    low_ms: _Finite = Field(description="The smallest jump; negative: back.")
    high_ms: _Finite = Field(description="The largest jump.")

    @model_validator(mode="before")
    @classmethod
    def _number_or_range(cls, value: object) -> object:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return {"low_ms": float(value), "high_ms": float(value)}
        if isinstance(value, list) and len(value) == 2:
            return {"low_ms": value[0], "high_ms": value[1]}
        if isinstance(value, dict | JumpSize):
            return value
        raise ValueError(f"{value!r} is not a jump; write milliseconds as -5000, or [-5000, 5000]")

    @model_validator(mode="after")
    def _ordered(self) -> JumpSize:
        if self.high_ms < self.low_ms:
            raise ValueError(f"[{self.low_ms:g}, {self.high_ms:g}]: the lower end comes first")
        if self.low_ms == self.high_ms == 0:
            raise ValueError("a jump by 0 is none")
        return self


class ClockJump(NodeAction):
    """The wall clock jumps. Monotonic time, which election timers use, goes on as before."""

    kind: Literal["clock_jump"] = "clock_jump"
    by_ms: JumpSize = Field(
        description="How far the clock jumps, milliseconds: forward, or back if negative. `[low, high]`: drawn for "
        "each node and each jump.",
    )
