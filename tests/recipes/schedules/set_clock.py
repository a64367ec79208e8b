"""A client of a real cluster whose wall clock a test sets."""

from __future__ import annotations

from qcore.client import Client
from qcore.runtime.interface import Runtime
from qcore.runtime.real import AsyncioRuntime
from tests.recipes.queues.counted_client import CountedClient


class SetClock(CountedClient):
    """A client with such a clock.

    Args:
        client: the real client.
        wall_s: what the wall clock shows, seconds since the Unix epoch. It stands still.
    """

    def __init__(self, client: Client, wall_s: float) -> None:
        super().__init__(client)
        self.wall_s = wall_s

        clock = self

        class WithSetClock(AsyncioRuntime):
            def wall_us(self) -> int:
                return round(1_000_000 * clock.wall_s)

        self._runtime = WithSetClock()

    @property
    def runtime(self) -> Runtime:
        """The real one, but for the wall clock."""
        return self._runtime
