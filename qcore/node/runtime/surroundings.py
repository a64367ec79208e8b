"""`NodeSurroundings`: what the request handlers of a node take from the world that it runs in.

Timers and futures are those of the running event loop. The simulator gives a node other surroundings; the handlers are
the same.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

from qcore.runtime.clock import now_us

T = TypeVar("T")


class RunLong(Protocol):
    """Runs work that takes longer than the event loop may wait."""

    async def __call__(self, work: Callable[[], T]) -> T:
        """The result of the work."""
        ...


@dataclass(slots=True, frozen=True)
class NodeSurroundings:
    """The world that a node runs in.

    Attributes:
        now_us: the clock of the replica, µs.
        new_token: makes a text that nothing else has.
        run_long: runs long work.
        first_id: the first number that a request and a watch get.
    """

    now_us: Callable[[], int]
    new_token: Callable[[], str]
    run_long: RunLong
    first_id: int = 1


async def _in_thread(work: Callable[[], T]) -> T:
    return await asyncio.get_running_loop().run_in_executor(None, work)


def _new_token() -> str:
    return str(uuid.uuid4())


#: A process of a real system.
REAL_SURROUNDINGS: Final = NodeSurroundings(now_us, _new_token, _in_thread)
