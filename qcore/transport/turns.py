"""Shares the event loop between a server's clients, and leaves most of it to everything else.

Heartbeats, peers' messages, the disk and clients' frames share one event loop. Whatever clients send, they get a slice
of each turn of it together. What is left of a connection's frames waits for one of the next turns, in order, and the
connection is not read meanwhile.
"""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

from qcore.transport.connection import BATCH_BYTES

#: So long clients' frames may keep one turn of the event loop, together, seconds. It ends with a frame.
SLICE_S: Final = 0.01

#: Time is counted from turn to turn until it is this much: a timer in every turn would cost more than small frames.
_COUNT_FROM_S: Final = 0.001

#: A larger frame has a turn of its own, bytes. The client library puts small requests together up to `BATCH_BYTES`.
HEAVY_BYTES: Final = BATCH_BYTES + 4096

#: After a heavy frame that took longer, the next one waits for as long as it took, seconds: a request of another client
#: needs several turns at several nodes, and finds one without a heavy frame at each.
_REST_FROM_S: Final = 0.005


class Waits(Protocol):
    """A connection with frames that wait."""

    def go_on(self, *, heavy: bool) -> None:
        """Take frames until `Turns.over`; and the first one whatever its size, if `heavy`."""


class Turns:
    """The turns of one server. Made before there is an event loop; used within one."""

    def __init__(self) -> None:
        # Dictionaries as ordered sets: first come, first served.
        self._light: dict[Waits, None] = {}
        self._heavy: dict[Waits, None] = {}
        self._heavy_from = 0.0
        self._spent_s = 0.0
        self._began = 0.0
        self._soon: asyncio.Handle | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def waiting(self) -> int:
        """Connections that wait."""
        return len(self._light) + len(self._heavy)

    def begin(self, now: float) -> bool:
        """A connection begins to take frames; False if it must wait for the next turn instead."""
        self._began = now
        return self._spent_s < SLICE_S

    def over(self, now: float) -> bool:
        """Whether the connection that took frames since `begin` must leave the rest of them for later."""
        return self._spent_s + now - self._began >= SLICE_S

    def end(self, now: float) -> None:
        """The connection takes no more frames in this turn."""
        self._spent_s += now - self._began
        self._began = now
        if self._spent_s >= _COUNT_FROM_S:
            self._expect_turn()

    def wait(self, connection: Waits, *, heavy: bool) -> None:
        """Call the connection's `go_on` in a later turn."""
        (self._heavy if heavy else self._light)[connection] = None
        self._expect_turn()

    def leave(self, connection: Waits) -> None:
        """The connection is gone."""
        self._light.pop(connection, None)
        self._heavy.pop(connection, None)

    def _expect_turn(self) -> None:
        if self._soon is None:
            self._soon = asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        self._soon = None
        self._spent_s = 0.0
        loop = asyncio.get_running_loop()
        now = loop.time()
        if self._heavy and now >= self._heavy_from:
            now = self._serve(self._heavy, now, heavy=True)
            self._heavy_from = now + self._spent_s if self._spent_s > _REST_FROM_S else now
        for _ in range(len(self._light)):
            if self._spent_s >= SLICE_S or not self._light:
                break
            now = self._serve(self._light, now, heavy=False)
        if self._light or (self._heavy and now >= self._heavy_from):
            self._expect_turn()
        elif self._heavy and self._timer is None:
            self._timer = loop.call_at(self._heavy_from, self._rested)

    def _rested(self) -> None:
        self._timer = None
        self._expect_turn()

    def _serve(self, waiting: dict[Waits, None], now: float, *, heavy: bool) -> float:
        first = next(iter(waiting))
        del waiting[first]
        self._began = now
        first.go_on(heavy=heavy)
        now = asyncio.get_running_loop().time()
        self._spent_s += now - self._began
        self._began = now
        return now
