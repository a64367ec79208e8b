"""The samplers of the most frequent distributions, apart from the settings so that they can be compiled."""

from __future__ import annotations

from collections.abc import Callable


class UniformSampler:
    """Draws integers from a range, all equally often.

    Args:
        draw: draws a number from 0 to 1, without 1.
        low: the smallest integer.
        width: how many integers there are.
    """

    def __init__(self, draw: Callable[[], float], low: int, width: int) -> None:
        self._draw = draw
        self._low = low
        self._width = float(width)  # exact: no duration has more than 53 bits

    def __call__(self) -> int:
        """Draw one."""
        return self._low + int(self._draw() * self._width)


class FixedSampler:
    """Always the same integer."""

    def __init__(self, value: int) -> None:
        self._value = value

    def __call__(self) -> int:
        """The integer."""
        return self._value
