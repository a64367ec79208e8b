"""`TurnScheduler`: shares a part of the event loop among a server's clients, and leaves the rest to everything else.

Heartbeats, messages of peers, the disk and clients' frames share one event loop. All clients together get one slice of
each turn of the loop, whatever they send. The remaining frames of a connection wait for a later turn, in order, and
meanwhile the server does not read from the connection. A connection that has recently used little time goes before one
that has used much (as in the packet scheduler fq_codel). So one small request does not wait behind the frames of
hundreds of clients that never pause.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final, Protocol

from qcore.transport.connection.framing import BATCH_BYTES

logger = logging.getLogger("qcore.transport")

#: The slice: how long all clients' frames together may occupy one turn of the event loop, seconds. It ends between
#: frames.
SLICE_S: Final = 0.01

#: The part of the slice that a connection with light use gets in one turn, seconds.
LIGHT_SLICE_S: Final = 0.001

#: How long a busy connection waits behind those that are not busy, seconds. A connection is busy once it has used a
#: whole slice, or once `LIGHT_SLICE_S` was not enough for its waiting frames.
BUSY_WINDOW_S: Final = 1.0

#: The time used is summed over several turns up to this much, seconds, because a callback in every turn would cost more
#: than small frames do.
_COUNT_FROM_S: Final = 0.001

#: A larger frame is heavy, and gets a separate turn, bytes. The client library batches small requests up to
#: `BATCH_BYTES`.
HEAVY_BYTES: Final = BATCH_BYTES + 4096

#: After a heavy frame that took longer than this, the next one waits for as long as that one took, seconds. A request
#: of another client needs several turns at several nodes. Each node then has turns without a heavy frame for it.
_REST_FROM_S: Final = 0.005

#: The most turns in which busy connections are passed over, so they progress however many others there are.
_MAX_PASSED_OVER: Final = 3


class WaitingConnection(Protocol):
    """A connection with frames that wait.

    Attributes:
        admin: whether it is an admin connection.
        used_s, used_since: how long it occupied the event loop since `used_since`, seconds; set by `TurnScheduler`.
    """

    admin: bool
    used_s: float
    used_since: float

    def resume_frames(self, *, heavy: bool) -> None:
        """Handle frames until `TurnScheduler.slice_used`. With `heavy`, handle the first frame even if it is heavy."""

    def abort(self, reason: str) -> None:
        """Drop the connection."""


class ConnectionQueue:
    """The waiting connections: admin connections first, then connections with light use, then busy ones."""

    def __init__(self) -> None:
        # Dictionaries as ordered sets, oldest first.
        self._admins: dict[WaitingConnection, None] = {}
        self._light_use: dict[WaitingConnection, None] = {}
        self._busy: dict[WaitingConnection, None] = {}
        self._passed_over = 0

    def __len__(self) -> int:
        return len(self._admins) + len(self._light_use) + len(self._busy)

    def add(self, connection: WaitingConnection, *, busy: bool) -> None:
        """Put the connection behind those of its kind."""
        if busy:
            self._busy[connection] = None
        else:
            (self._admins if connection.admin else self._light_use)[connection] = None

    def discard(self, connection: WaitingConnection) -> None:
        """Forget the connection."""
        for queue in (self._admins, self._light_use, self._busy):
            queue.pop(connection, None)

    def begin_turn(self) -> None:
        """Begin a turn. If busy connections were passed over too often, one of them comes first."""
        self._passed_over += bool(self._busy)

    def pop(self) -> WaitingConnection:
        """Remove and return the next connection. There must be one."""
        queue = self._admins or self._light_use
        if self._busy and (not queue or self._passed_over > _MAX_PASSED_OVER):
            queue, self._passed_over = self._busy, 0
        first = next(iter(queue))
        del queue[first]
        return first


class TurnScheduler:
    """Schedules the turns of one server's clients. Create it anywhere; use it on the event loop."""

    def __init__(self) -> None:
        self._light = ConnectionQueue()
        self._heavy = ConnectionQueue()
        self._heavy_from = 0.0
        self._spent_s = 0.0
        self._until_s = SLICE_S
        self._began = 0.0
        self._served: WaitingConnection | None = None
        self._soon: asyncio.Handle | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def waiting(self) -> int:
        """The number of connections that wait."""
        return len(self._light) + len(self._heavy)

    def begin(self, now: float) -> bool:
        """Begin to handle a connection's frames. Returns False if the connection must wait for the next turn."""
        self._began = now
        self._until_s = SLICE_S
        return self._spent_s < SLICE_S

    def slice_used(self, now: float) -> bool:
        """Whether the connection that has handled frames since `begin` must leave the rest for a later turn."""
        return self._spent_s + now - self._began >= self._until_s

    def end(self, connection: WaitingConnection, now: float) -> None:
        """End the handling of a connection's frames in this turn."""
        self._spent_s += now - self._began
        if self._spent_s >= _COUNT_FROM_S:
            self._note_use(connection, now)
            self._expect_turn()
        self._began = now

    def wait(self, connection: WaitingConnection, *, heavy: bool) -> None:
        """Call the connection's `resume_frames` in a later turn."""
        now = asyncio.get_running_loop().time()
        if connection is self._served and not heavy:
            connection.used_s, connection.used_since = (
                SLICE_S,
                now,
            )  # its share was not enough: busy
        (self._heavy if heavy else self._light).add(connection, busy=_is_busy(connection, now))
        self._expect_turn()

    def forget(self, connection: WaitingConnection) -> None:
        """Forget a connection that has ended."""
        self._light.discard(connection)
        self._heavy.discard(connection)

    def _note_use(self, connection: WaitingConnection, now: float) -> None:
        if now - connection.used_since >= BUSY_WINDOW_S:
            connection.used_since, connection.used_s = now, 0.0
        connection.used_s += now - self._began

    def _expect_turn(self) -> None:
        if self._soon is None:
            self._soon = asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        self._soon = None
        self._spent_s = 0.0
        loop = asyncio.get_running_loop()
        now = loop.time()
        if self._heavy and now >= self._heavy_from:
            self._heavy.begin_turn()
            now = self._serve(self._heavy, now, heavy=True)
            self._heavy_from = now + self._spent_s if self._spent_s > _REST_FROM_S else now
        self._light.begin_turn()
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

    def _serve(self, waiting: ConnectionQueue, now: float, *, heavy: bool) -> float:
        first = waiting.pop()
        self._began = now
        self._served = first
        busy = _is_busy(first, now)
        self._until_s = SLICE_S if busy else min(SLICE_S, self._spent_s + LIGHT_SLICE_S)
        try:
            first.resume_frames(heavy=heavy)
        except Exception:  # boundary: a bug in one connection must not stop the turns of all
            logger.exception("handling a client's waiting frames failed")
            first.abort("internal error: see the server's log")
        self._served = None
        now = asyncio.get_running_loop().time()
        self._spent_s += now - self._began
        self._note_use(first, now)
        self._began = now
        return now


def _is_busy(connection: WaitingConnection, now: float) -> bool:
    return connection.used_s >= SLICE_S and now - connection.used_since < BUSY_WINDOW_S
