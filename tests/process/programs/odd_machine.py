"""A faulty state machine: on a node with ODD in its environment, the command `drift` has another effect."""

from __future__ import annotations

import os
from collections.abc import Iterable
from hashlib import sha256
from json import dumps, loads

from qcore.machines.interface import ApplyContext


class DivergingMachine:
    """Counts its commands, and remembers the value of ODD at each `drift`."""

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
        """The number of commands."""
        return str(self._count)

    def snapshot(self) -> Iterable[str]:
        """The state as text."""
        return [dumps([self._count, self._seen])]

    def restore(self, chunks: Iterable[str]) -> None:
        """Replace the state with that of a snapshot."""
        self._count, self._seen = loads("".join(chunks))

    def state_hash(self) -> str:
        """The digest of the state."""
        return sha256("".join(self.snapshot()).encode()).hexdigest()
