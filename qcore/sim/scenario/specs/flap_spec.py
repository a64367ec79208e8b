"""Flapping: a fault that begins and ends again and again."""

from __future__ import annotations

from pydantic import Field, model_validator

from qcore.sim.scenario.distributions import LatencySpec
from qcore.sim.scenario.values import Spec


class FlapSpec(Spec):
    """How a network fault flaps. It begins with a time of `down_ms`. Each time is drawn, and lasts at least 1 ms."""

    down_ms: LatencySpec = Field(description="How long the fault is active each time.")
    up_ms: LatencySpec = Field(description="How long the links are healthy in between.")

    @model_validator(mode="before")
    @classmethod
    def _pair(cls, value: object) -> object:
        if isinstance(value, list) and len(value) == 2:
            return {"down_ms": value[0], "up_ms": value[1]}
        if not isinstance(value, dict | FlapSpec):
            raise ValueError(f"{value!r}: write {{down_ms: 50, up_ms: [100, 200]}}, or [50, 100]")
        return value
