"""Reads a distribution of durations from a command line: `uniform:30:40`."""

from __future__ import annotations

from typing import Final

from pydantic import TypeAdapter, ValidationError

from qcore.errors import ConfigError
from qcore.sim.scenario.distributions import Distribution, LatencySpec
from qcore.sim.scenario.frozen_model import error_text

FORMS: Final = (
    "constant:A, uniform:A:B, normal:MEAN:DEVIATION, lognormal:MEDIAN:SIGMA, exponential:MEAN, "
    "pareto:MIN:ALPHA or samples:A:B:C, in milliseconds"
)

_ADAPTER: Final[TypeAdapter[Distribution]] = TypeAdapter(LatencySpec)
_SHAPES: Final = ("constant", "fixed", "uniform", "normal", "lognormal", "exponential", "pareto")


def parse_distribution(text: str, option: str) -> Distribution:
    """The distribution that a text names. A number alone is a constant.

    Args:
        text: the name of a form and its numbers, divided by colons.
        option: the name for errors.

    Raises:
        ConfigError: the form is unknown, or its numbers are not possible.
    """
    shape, *words = text.strip().split(":")
    if not words:
        shape, words = "constant", [shape]
    if shape not in (*_SHAPES, "samples"):
        raise ConfigError(f"{option} {text!r:.80}: there is no form {shape!r:.40}; write {FORMS}")
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        raise ConfigError(
            f"{option} {text!r:.80} has a part that is no number; write {FORMS}"
        ) from None
    try:
        return _ADAPTER.validate_python({shape: numbers})
    except ValidationError as error:
        raise ConfigError(f"{option} {text!r:.80}: {error_text(error)}; write {FORMS}") from None


def upper_bound_us(distribution: Distribution) -> float:
    """No draw is longer than this, µs; infinite for a distribution without an upper end."""
    match distribution.shape:
        case "fixed":
            longest = distribution.first
        case "uniform":
            longest = distribution.second
        case "samples":
            longest = max(distribution.samples)
        case _:
            longest = distribution.max_ms
    return longest * 1000
