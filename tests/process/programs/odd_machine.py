"""A state machine with a fault: on a node with ODD in its environment the command `drift` does something else."""

from __future__ import annotations

import os
from collections.abc import Iterable
from hashlib import sha256
from json import dumps, loads

from qcore.machines.interface import ApplyContext


class DivergingMachine:
    """Counts its commands, and remembers what ODD was at each `drift`."""

    name = "odd"
    versions = (1, 1)

    def __init__(self) -> None:
        self._count = 0
        self._seen: list[str] = []

    def apply(self, command: str, context: ApplyContext) -> str:
        """Count the command."""
        self._count += 1
        if command == "drift":
            self._seen.append(os.environ.get("ODD", ""))
        return str(self._count)

    def query(self, query: str) -> str:
        """How many commands there were."""
        return str(self._count)

    def snapshot(self) -> Iterable[str]:
        """All of it."""
        return [dumps([self._count, self._seen])]

    def restore(self, chunks: Iterable[str]) -> None:
        """The inverse."""
        self._count, self._seen = loads("".join(chunks))

    def state_hash(self) -> str:
        """Of all of it."""
        return sha256("".join(self.snapshot()).encode()).hexdigest()
