"""The distributions of durations that a scenario can give for the latencies of links and disks."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from qcore.sim.scenario.frozen_model import FrozenModel

#: Draws one duration in microseconds, never negative.
Sampler = Callable[[], int]

_SHAPES = ("fixed", "uniform", "normal", "lognormal", "exponential")


class Distribution(FrozenModel):
    """A distribution of durations in milliseconds.

    A scenario writes it as a number (always the same), `[low, high]` (uniform), or one of `{fixed: 5}`,
    `{uniform: [1, 5]}`, `{normal: [mean, deviation]}`, `{lognormal: [median, sigma]}`, `{exponential: mean}`. The last
    three take `min_ms` and `max_ms` as limits.
    """

    shape: Literal["fixed", "uniform", "normal", "lognormal", "exponential"] = Field(
        description="The kind of distribution."
    )
    first: float = Field(
        ge=0, description="The first parameter: the value, the lower end, the mean or the median."
    )
    second: float = Field(
        default=0.0,
        ge=0,
        description="The second parameter: the upper end, the deviation or sigma.",
    )
    min_ms: float = Field(default=0.0, ge=0, description="No draw is below this, in milliseconds.")
    max_ms: float = Field(
        default=math.inf, gt=0, description="No draw is above this, in milliseconds."
    )

    @model_validator(mode="after")
    def _ordered(self) -> Distribution:
        if self.shape == "uniform" and self.second < self.first:
            raise ValueError(
                f"uniform: the upper end {self.second} is below the lower {self.first}"
            )
        if self.max_ms < self.min_ms:
            raise ValueError(f"max_ms ({self.max_ms}) is below min_ms ({self.min_ms})")
        return self

    def sampler(self, rng: random.Random) -> Sampler:
        """A function that draws from this distribution with `rng`."""
        first, second = self.first * 1000, self.second * 1000
        draw = rng.random
        match self.shape:
            case "fixed":
                whole = round(first)
                return lambda: whole
            case "uniform":
                low, width = round(first), round(second) - round(first) + 1
                return lambda: low + int(draw() * width)
            case "normal":
                return self._limited(lambda: rng.gauss(first, second))
            case "lognormal":
                mu, sigma = math.log(max(first, 1.0)), self.second
                return self._limited(lambda: rng.lognormvariate(mu, sigma))
            case "exponential":
                return self._limited(lambda: -math.log(1.0 - draw()) * first)

    def _limited(self, raw: Callable[[], float]) -> Sampler:
        low = self.min_ms * 1000
        high = self.max_ms * 1000
        return lambda: int(min(high, max(low, raw())))


def _from_yaml(value: object) -> object:
    """Expand the short forms. pydantic validates the rest."""
    if isinstance(value, Distribution):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return {"shape": "fixed", "first": value}
    if isinstance(value, list) and len(value) == 2:
        return {"shape": "uniform", "first": value[0], "second": value[1]}
    if isinstance(value, dict):
        if "shape" in value:
            return value
        shapes = [key for key in value if key in (*_SHAPES, "constant")]
        if len(shapes) == 1:
            return _from_shape(shapes[0], value)
    raise ValueError(
        f"{value!r} is not a distribution; write milliseconds as 5, [1, 5], {{fixed: 5}}, {{uniform: [1, 5]}}, "
        "{normal: [mean, deviation]}, {lognormal: [median, sigma]} or {exponential: mean}"
    )


def _from_shape(shape: str, value: dict[str, object]) -> dict[str, object]:
    arguments = value[shape]
    rest = {key: item for key, item in value.items() if key != shape}
    pair = shape in ("uniform", "normal", "lognormal")
    if isinstance(arguments, dict):
        names = {
            "uniform": ("min", "max"),
            "normal": ("mean", "deviation"),
            "lognormal": ("median", "sigma"),
            "exponential": ("mean",),
        }.get(shape, ("value",))
        if set(arguments) != set(names):
            raise ValueError(
                f"{shape} takes {', '.join(names)}, not {', '.join(map(str, arguments))}"
            )
        arguments = [arguments[name] for name in names]
    elif not isinstance(arguments, list):
        arguments = [arguments]
    if len(arguments) != (2 if pair else 1):
        raise ValueError(
            f"{shape} takes {'two numbers' if pair else 'one number'}, not {arguments}"
        )
    kind = "fixed" if shape == "constant" else shape
    return {"shape": kind, "first": arguments[0], "second": arguments[1] if pair else 0, **rest}


#: The field type to use in models.
LatencySpec = Annotated[Distribution, BeforeValidator(_from_yaml)]


def fixed(milliseconds: float) -> Distribution:
    """Always the same duration."""
    return Distribution(shape="fixed", first=milliseconds)


def uniform(low_ms: float, high_ms: float) -> Distribution:
    """Uniform between two durations in milliseconds."""
    return Distribution(shape="uniform", first=low_ms, second=high_ms)
