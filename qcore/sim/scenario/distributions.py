"""The distributions of durations that a scenario can give for the latencies of links and disks."""

from __future__ import annotations

import math
import random
from bisect import bisect_right
from collections.abc import Callable
from itertools import accumulate
from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field, model_validator

from qcore.errors import ConfigError
from qcore.files import decode_text, read_regular
from qcore.sim.scenario.frozen_model import FrozenModel, written
from qcore.sim.scenario.specs.samplers import FixedSampler, UniformSampler
from qcore.sim.scenario.validation_scope import current_scope

#: The largest file of samples that is read.
_MAX_FILE_BYTES = 1 << 20

#: The longest duration of a scenario, in milliseconds: three years. No draw is longer.
_LONGEST_MS = 1e11
#: With a larger sigma, a draw of a log-normal distribution could be too large for a number.
_LARGEST_SIGMA = 20.0

#: Draws one duration in microseconds, never negative.
Sampler = Callable[[], int]

#: The names of the shapes.
SHAPES = ("fixed", "uniform", "normal", "lognormal", "exponential", "pareto", "samples")
#: Shapes that take two numbers, and the names of these.
_PAIRS = {
    "uniform": ("min", "max"),
    "normal": ("mean", "deviation"),
    "lognormal": ("median", "sigma"),
    "pareto": ("min", "alpha"),
}


class Distribution(FrozenModel):
    """A distribution of durations in milliseconds.

    A scenario writes it as a number (always the same), `[low, high]` (uniform), or one of `{fixed: 5}`,
    `{uniform: [1, 5]}`, `{normal: [mean, deviation]}`, `{lognormal: [median, sigma]}`, `{exponential: mean}`,
    `{pareto: [min, alpha]}` (a heavy tail: the share of the draws above x is `(min / x) ** alpha`) and
    `{samples: [3, 4, 90]}` (measured values, each drawn equally often, or with `weights`; a text is the name of a file
    with one number a line, beside the scenario). All but the first three take `min_ms` and `max_ms` as limits.
    """

    is_value: ClassVar[bool] = True

    shape: Literal[
        "fixed", "uniform", "normal", "lognormal", "exponential", "pareto", "samples"
    ] = Field(description="The kind of distribution.")
    first: float = Field(
        default=0.0,
        description="The first parameter: the value, the lower end, the mean or the median.",
    )
    second: float = Field(
        default=0.0,
        description="The second parameter: the upper end, the deviation or sigma.",
    )
    min_ms: float = Field(default=0.0, ge=0, description="No draw is below this, in milliseconds.")
    max_ms: float = Field(
        default=math.inf, gt=0, description="No draw is above this, in milliseconds."
    )
    samples: tuple[Annotated[float, Field(allow_inf_nan=False)], ...] = Field(
        default=(), repr=False, description="The measured values, in milliseconds."
    )
    weights: tuple[Annotated[float, Field(ge=0, allow_inf_nan=False)], ...] = Field(
        default=(),
        repr=False,
        description="How often each of the samples is drawn, in relation to the others.",
    )

    @model_validator(mode="after")
    def _ordered(self) -> Distribution:
        for value in (self.first, self.second, *self.samples):
            if not 0 <= value <= _LONGEST_MS:
                raise ValueError(
                    f"{self.shape}: {value:g} is not at least 0 and at most {_LONGEST_MS:g}"
                )
        if self.shape == "lognormal" and self.second > _LARGEST_SIGMA:
            raise ValueError(
                f"lognormal: [median, sigma] needs a sigma up to {_LARGEST_SIGMA:g}, not {self.second:g}"
            )
        if self.shape == "uniform" and self.second < self.first:
            raise ValueError(
                f"uniform: the upper end {self.second} is below the lower {self.first}"
            )
        if self.shape == "pareto" and (self.first <= 0 or not 0.1 <= self.second <= 100):
            raise ValueError(
                "pareto: [min, alpha] needs a minimum above 0 and an alpha from 0.1 to 100"
            )
        if (self.shape == "samples") != bool(self.samples):
            raise ValueError("samples: give at least one value in milliseconds")
        if self.weights and (len(self.weights) != len(self.samples) or not any(self.weights)):
            raise ValueError(
                f"weights: give one for each of the {len(self.samples)} samples, at least one of them above 0"
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
                return FixedSampler(round(first))
            case "uniform":
                low, width = round(first), round(second) - round(first) + 1
                return UniformSampler(draw, low, width)
            case "normal":
                return self._limited(lambda: rng.gauss(first, second))
            case "lognormal":
                mu, sigma = math.log(max(first, 1.0)), self.second
                return self._limited(lambda: rng.lognormvariate(mu, sigma))
            case "exponential":
                return self._limited(lambda: -math.log(1.0 - draw()) * first)
            case "pareto":
                power = -1.0 / self.second
                return self._limited(lambda: first * (1.0 - draw()) ** power)
            case "samples":
                return self._limited(self._sample(draw))

    def _sample(self, draw: Callable[[], float]) -> Callable[[], float]:
        values = [sample * 1000 for sample in self.samples]
        if not self.weights:
            return lambda: values[int(draw() * len(values))]
        sums = list(accumulate(self.weights))
        last = len(sums) - 1  # the product below may be rounded up to the sum
        return lambda: values[bisect_right(sums, draw() * sums[-1], 0, last)]

    def _limited(self, raw: Callable[[], float]) -> Sampler:
        low = self.min_ms * 1000
        high = min(self.max_ms, _LONGEST_MS) * 1000
        return lambda: int(min(high, max(low, raw())))


def _from_yaml(value: object) -> object:
    """Expand the short forms. pydantic validates the rest."""
    if isinstance(value, Distribution):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return {"shape": "fixed", "first": value}
    if isinstance(value, list) and len(value) == 2:
        return _from_shape("uniform", {"uniform": value})
    if isinstance(value, dict):
        if "shape" in value:
            return value
        shapes = [key for key in value if key in (*SHAPES, "constant")]
        if len(shapes) == 1:
            return _from_shape(shapes[0], value)
    raise ValueError(
        f"{value!r} is not a distribution; write milliseconds as 5, [1, 5], {{fixed: 5}}, {{uniform: [1, 5]}}, "
        "{normal: [mean, deviation]}, {lognormal: [median, sigma]}, {exponential: mean}, {pareto: [min, alpha]} or "
        "{samples: [3, 4, 90]}"
    )


def _from_shape(shape: str, value: dict[str, object]) -> dict[str, object]:
    arguments = value[shape]
    rest = {key: item for key, item in value.items() if key != shape}
    if shape == "samples":
        return _from_samples(arguments, rest)
    pair = shape in _PAIRS
    if isinstance(arguments, dict):
        names = _PAIRS.get(shape, ("mean",) if shape == "exponential" else ("value",))
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
    for argument in arguments:
        if isinstance(argument, bool) or not isinstance(argument, int | float):
            raise ValueError(f"{shape}: write a number, not {written(argument)}")
    kind = "fixed" if shape == "constant" else shape
    return {"shape": kind, "first": arguments[0], "second": arguments[1] if pair else 0, **rest}


def _from_samples(samples: object, rest: dict[str, object]) -> dict[str, object]:
    if isinstance(samples, str):
        samples = _read_samples(samples)
    elif not isinstance(samples, list | tuple):
        raise ValueError(
            f"samples: {samples!r}; give a list of milliseconds, or the name of a file"
        )
    if isinstance(weights := rest.get("weights"), list):
        rest = {**rest, "weights": tuple(weights)}
    return {"shape": "samples", "samples": tuple(samples), **rest}


def _read_samples(name: str) -> list[float]:
    """The numbers of a file beside the scenario, one a line. Empty lines, and comments after `#`, have no effect.

    Raises:
        ValueError: it cannot be read, or a line is no number.
    """
    path = current_scope().folder / name
    try:
        text = decode_text(read_regular(path, _MAX_FILE_BYTES), name)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise ValueError(f"samples: cannot read {name}: {why}") from None
    except ConfigError as error:
        raise ValueError(f"samples: {error}") from None
    values: list[float] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not (word := line.partition("#")[0].strip()):
            continue
        try:
            values.append(float(word))
        except ValueError:
            raise ValueError(
                f"samples: {name}:{number}: {word[:40]!r} is no number of milliseconds"
            ) from None
    return values


#: The field type to use in models.
LatencySpec = Annotated[Distribution, BeforeValidator(_from_yaml)]


def fixed(milliseconds: float) -> Distribution:
    """Always the same duration."""
    return Distribution(shape="fixed", first=milliseconds)


def uniform(low_ms: float, high_ms: float) -> Distribution:
    """Uniform between two durations in milliseconds."""
    return Distribution(shape="uniform", first=low_ms, second=high_ms)
