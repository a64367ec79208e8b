"""`MessageRuntime`: the runtime of client programs and of the request handlers that answer them.

They exchange whole messages (`frames.py`), so there are no bytes of TCP here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random
from typing import NoReturn

from qcore.runtime.interface import Listening, P, T, TlsClient, TlsServer
from qcore.sim.world.programs.sim_loop import NotSimulated, SimLoop


class MessageRuntime:
    """See `Runtime`. What neither a program nor a handler needs raises `NotSimulated`.

    Args:
        loop: the event loop of the programs.
        monotonic_us, wall_us: the clocks.
        new_rng: makes generators.
        new_token: makes texts that nothing else in the run has.
    """

    def __init__(
        self,
        loop: SimLoop,
        *,
        monotonic_us: Callable[[], int] | None = None,
        wall_us: Callable[[], int] | None = None,
        new_rng: Callable[[], Random] | None = None,
        new_token: Callable[[], str] | None = None,
    ) -> None:
        self._loop = loop
        self._monotonic_us = monotonic_us
        self._wall_us = wall_us
        self._new_rng = new_rng
        self._new_token = new_token

    def monotonic_us(self) -> int:
        """See `Runtime`."""
        return _refuse("a clock") if self._monotonic_us is None else self._monotonic_us()

    def wall_us(self) -> int:
        """See `Runtime`."""
        return _refuse("wall time") if self._wall_us is None else self._wall_us()

    def seconds(self) -> float:
        """Simulated seconds since the start of the run."""
        return self._loop.time()

    def new_rng(self) -> Random:
        """See `Runtime`."""
        return _refuse("a generator") if self._new_rng is None else self._new_rng()

    def random_bytes(self, number: int, /) -> bytes:
        """Refuse."""
        return _refuse("random bytes")

    def new_token(self) -> str:
        """See `Runtime`."""
        return _refuse("a token") if self._new_token is None else self._new_token()

    async def run_long(self, work: Callable[[], T]) -> T:
        """Long work takes no simulated time."""
        return work()

    async def resolve(self, host: str, timeout_s: float) -> list[str]:
        """Refuse."""
        return _refuse("the name service")

    def is_resolving(self, host: str) -> bool:
        """There is no name service."""
        return False

    async def connect(
        self, factory: Callable[[], P], ip: str, port: int, tls: TlsClient | None = None
    ) -> P:
        """Refuse."""
        return _refuse("TCP")

    def unacknowledged_bytes(self, transport: asyncio.Transport) -> int:
        """There is no TCP."""
        return 0

    def listener(
        self,
        factory: Callable[[], asyncio.Protocol],
        refused: Callable[[], None],
        tls: TlsServer | None = None,
    ) -> Listening:
        """Refuse."""
        return _refuse("TCP")


def _refuse(what: str) -> NoReturn:
    raise NotSimulated(f"{what} is not here: programs and nodes exchange whole messages")
