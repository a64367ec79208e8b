"""Times and durations that a scenario gives as a number, or as a distribution from which each seed draws."""

from __future__ import annotations

import math
from random import Random
from typing import Annotated, Final

from pydantic import PlainValidator, TypeAdapter, ValidationError
from pydantic_core import PydanticKnownError

from qcore.sim.scenario.distributions import Distribution, LatencySpec
from qcore.sim.scenario.values import microseconds

_DISTRIBUTION: Final[TypeAdapter[Distribution]] = TypeAdapter(LatencySpec)


def _read(value: object) -> float | Distribution:
    """A number of milliseconds, or a distribution.

    Raises:
        ValueError: the value is neither.
    """
    if isinstance(value, Distribution):
        return value
    if isinstance(value, dict | list):
        try:
            return _DISTRIBUTION.validate_python(value)
        except ValidationError as error:
            raise ValueError(error.errors()[0]["msg"].removeprefix("Value error, ")) from None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise PydanticKnownError("float_type")
    if not math.isfinite(value):
        raise PydanticKnownError("finite_number")
    if value < 0:
        raise PydanticKnownError("greater_than_equal", {"ge": 0})
    return float(value)


def _read_positive(value: object) -> float | Distribution:
    read = _read(value)
    if read == 0:
        raise PydanticKnownError("greater_than", {"gt": 0})
    return read


_FORMS = float | list[float] | dict[str, object]

#: A time or duration in milliseconds; from a distribution, each seed draws it.
RandomTime = Annotated[float | Distribution, PlainValidator(_read, json_schema_input_type=_FORMS)]
#: As `RandomTime`, but a number must be above zero.
RandomGap = Annotated[
    float | Distribution, PlainValidator(_read_positive, json_schema_input_type=_FORMS)
]


def bounds(time: float | Distribution | None) -> tuple[float, float]:
    """The earliest and latest value in milliseconds; the latest is infinite if nothing limits it. None means 0."""
    if not isinstance(time, Distribution):
        number = time or 0.0
        return number, number
    match time.shape:
        case "fixed":
            return time.first, time.first
        case "uniform":
            return time.first, time.second
        case "samples":
            low, high = min(time.samples), max(time.samples)
            return max(low, time.min_ms), min(high, time.max_ms)
        case _:
            return time.min_ms, time.max_ms


def draw_ms(time: float | Distribution, rng: Random) -> float:
    """The number itself, or one drawn from the distribution, in whole microseconds."""
    return time.sampler(rng)() / 1000 if isinstance(time, Distribution) else time


def drawn_already(time: float | Distribution | None) -> int | None:
    """A time of a drawn scenario, in microseconds; None stays None."""
    assert not isinstance(time, Distribution), "the world simulates drawn scenarios only"
    return None if time is None else microseconds(time)
