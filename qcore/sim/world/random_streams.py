"""Independent random streams from one seed, each with a name.

A stream's numbers depend on the seed and on its own name only, so a new fault, client or link
draws from its own stream and leaves all others as they were.
"""

from __future__ import annotations

import hashlib
import random


class Streams:
    """Hands out one `random.Random` a name.

    Args:
        seed: the run's seed, any integer.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def get(self, name: str) -> random.Random:
        """A fresh generator for `name`; the same name gives the same numbers again."""
        digest = hashlib.sha256(f"{self._seed}/{name}".encode()).digest()
        return random.Random(int.from_bytes(digest, "big"))
