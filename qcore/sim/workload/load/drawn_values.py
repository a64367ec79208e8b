"""The keys and the values that operations draw."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from itertools import accumulate
from random import Random

from qcore.sim.scenario.specs.workload_spec import WorkloadSpec

#: So many clients times values stay apart in one number.
_VALUES_PER_CLIENT = 1_000_000


def key_source(spec: WorkloadSpec, rng: Random) -> Callable[[], str]:
    """What draws the key of the next operation, with one random number."""
    draw, keys = rng.random, spec.keys
    if spec.key_skew is None:
        return lambda: f"k{int(draw() * keys)}"
    sums = list(accumulate(spec.key_skew.weights(keys)))
    last = keys - 1  # the product below may be rounded up to the sum
    return lambda: f"k{bisect_right(sums, draw() * sums[-1], 0, last)}"


class ValueSource:
    """Makes values that no other operation writes.

    Args:
        spec: the sizes of the values.
        client: the number of the client.
        rng: draws the sizes.
    """

    def __init__(self, spec: WorkloadSpec, client: int, rng: Random) -> None:
        self._sizes = spec.value_bytes
        self._client = client
        self._rng = rng
        self._made = 0

    def __call__(self) -> int | str:
        """The next value: a number, or a text of a drawn size that begins with the number."""
        self._made += 1
        number = self._client * _VALUES_PER_CLIENT + self._made
        if self._sizes is None:
            return number
        low, high = self._sizes
        size = low if low == high else low + int(self._rng.random() * (high - low + 1))
        return f"{number}-".ljust(size, "x")
