"""A faulty state machine: the query `hang` never ends, so the event loop of its node hangs."""

from __future__ import annotations

import time
from collections.abc import Iterable

from qcore.machines.interface import ApplyContext


class HangingMachine:
    """Counts its commands."""

    name = "hanging"
    versions = (1, 1)

    def __init__(self) -> None:
        self._count = 0

    def apply(self, command: str, context: ApplyContext) -> str:
        """Count the command."""
        self._count += 1
        return str(self._count)

    def query(self, query: str) -> str:
        """The number of commands."""
        while query == "hang":
            time.sleep(1)
        return str(self._count)

    def snapshot(self) -> Iterable[str]:
        """The state as text."""
        return [str(self._count)]

    def restore(self, chunks: Iterable[str]) -> None:
        """Replace the state with that of a snapshot."""
        self._count = int("".join(chunks))

    def state_hash(self) -> str:
        """The number of commands."""
        return str(self._count)
