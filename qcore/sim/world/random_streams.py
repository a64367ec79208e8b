"""Named random streams: independent generators that all derive from the seed of the run.

The numbers of a stream depend only on the seed and its name. A new fault, client or link draws from a new stream, so it
leaves the numbers of all others unchanged.
"""

from __future__ import annotations

import hashlib
import random


class Streams:
    """Makes a `random.Random` for each name.

    Args:
        seed: the run's seed, any integer.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def get(self, name: str) -> random.Random:
        """A fresh generator for `name`. The same name gives the same numbers again."""
        digest = hashlib.sha256(f"{self._seed}/{name}".encode()).digest()
        return random.Random(int.from_bytes(digest, "big"))
