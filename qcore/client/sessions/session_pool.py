"""`SessionPool`: the sessions that a client opens by itself, so that each of its writes takes effect once.

One session has room for `WINDOW` commands. The pool opens a session when the others have no room, and uses the oldest
session that has room, so sessions that are no longer needed expire. Commands without a session wait here, in order.

A session that was not used for most of its lifetime is not used again: it may have expired, for example because the
process was stopped. Its connection may be dead, too, and a write that is lost in both has an unknown outcome.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

from qcore.client.sessions.session import ClientSession
from qcore.errors import QcoreError, SessionExpired
from qcore.time_limit import time_limit

#: The most sessions of one client. They have room for the most requests that a client keeps in progress.
_MAX_SESSIONS: Final = 24

#: The cluster keeps a session that is not used for so long, seconds.
LIFETIME_S: Final = 60.0
#: The pool uses it again only within most of that time, because a command takes a while to arrive.
_USED_US: Final = int(0.8 * LIFETIME_S * 1_000_000)

#: How often the deadlines of waiting commands are checked, seconds.
_POLL_INTERVAL_S: Final = 0.02

#: A command that has waited is sent only if this share of its timeout is left, at most so many seconds. With less time
#: its outcome would often be unknown.
_LEAST_SHARE: Final = 0.2
_LEAST_S: Final = 1.0

_T = TypeVar("_T")


class Clock(Protocol):
    """The clock of the client's timeouts, which hardly counts the pauses of this process."""

    def begin(self) -> float:
        """Begin an operation; returns the time, seconds."""
        ...

    def now(self) -> float:
        """The time, seconds, while an operation is in progress."""
        ...

    def end(self) -> None:
        """End an operation."""
        ...


@dataclass(slots=True, frozen=True)
class Place:
    """A place in a session: the session, and the `session` field of the command's message."""

    session: ClientSession
    use: Mapping[str, int]

    def give_back(self) -> None:
        """The command has ended."""
        self.session.end(self.use["sequence"])


@dataclass(slots=True, frozen=True)
class _Waiting:
    place: asyncio.Future[Place]
    deadline: float
    least_s: float


class SessionPool:
    """The sessions of one client.

    Args:
        open_session: opens a session; takes the seconds left.
        not_sent: makes the error of a command that was never sent.
        clock: for the timeouts.
        now_us: microseconds that count the time in which this process or its machine was stopped.
    """

    def __init__(
        self,
        open_session: Callable[[float], Awaitable[ClientSession]],
        not_sent: Callable[[], QcoreError],
        clock: Clock,
        now_us: Callable[[], int],
    ) -> None:
        self._now_us = now_us
        self._open_session = open_session
        self._not_sent = not_sent
        self._clock = clock
        self._sessions: list[ClientSession] = []
        #: When each of them was opened or used, the latest time.
        self._used_us: dict[ClientSession, int] = {}
        self._opening: asyncio.Future[ClientSession] | None = None
        self._opening_since_us = 0
        self._waiting: deque[_Waiting] = deque()
        self._timer: asyncio.TimerHandle | None = None

    async def run(
        self, send: Callable[[Mapping[str, int], float, float], Awaitable[_T]], timeout_s: float
    ) -> _T:
        """Send a command in a session, and in another one if that session has expired before.

        Args:
            send: sends the command; takes the `session` field of its message, the seconds left, and when the operation
                began. It repeats the command until its outcome is known, and raises `OutcomeUnknown` if it cannot know,
                or if the session expired after the command was sent.
            timeout_s: how long all of it may take.

        Raises:
            OutcomeUnknown: the command may or may not have taken effect.
            QcoreError: no session could be used in time, and the command was not sent; or as `send`.
        """
        clock = self._clock
        began = clock.begin()
        deadline = began + timeout_s
        try:
            while True:
                place = self._place_in_turn() or await self._wait(deadline, timeout_s)
                try:
                    return await send(place.use, max(0.0, deadline - clock.now()), began)
                except SessionExpired:
                    self._forget(place.session)
                    if clock.now() >= deadline:
                        raise
                finally:
                    place.give_back()
                    self._serve_waiting()
        finally:
            clock.end()

    async def close(self, timeout_s: float) -> None:
        """Close the sessions without a command in progress. What cannot be closed in this time expires."""
        sessions, self._sessions = self._sessions, []
        self._used_us.clear()
        if self._opening is not None:
            self._opening.cancel()
            self._opening = None
        closing = [session.close() for session in sessions if session.is_idle]
        try:
            async with time_limit(timeout_s):
                await asyncio.gather(*closing, return_exceptions=True)
        except TimeoutError:
            pass

    def new_loop(self) -> None:
        """Forget what belongs to an event loop that has ended. The sessions themselves stay open."""
        self._opening = None
        self._waiting.clear()
        self._timer = None

    # -- places --------------------------------------------------------------------------------------

    def _place_in_turn(self) -> Place | None:
        """A place, if there is one and no command waits for one."""
        return None if self._waiting else self._place()

    def _place(self) -> Place | None:
        for session in self._sessions:
            if session.has_room:
                now_us = self._now_us()
                if now_us - self._used_us[session] >= _USED_US:
                    self._forget(session)
                    return self._place()
                self._used_us[session] = now_us
                return Place(session, session.begin())
        return None

    async def _wait(self, deadline: float, timeout_s: float) -> Place:
        """Wait for a place.

        Raises:
            QcoreError: there is none in time; the command was never sent.
        """
        loop = asyncio.get_running_loop()
        waiting = _Waiting(loop.create_future(), deadline, min(_LEAST_S, timeout_s * _LEAST_SHARE))
        self._waiting.append(waiting)
        self._open_if_needed()
        if self._timer is None:
            self._timer = loop.call_later(_POLL_INTERVAL_S, self._poll)
        try:
            return await waiting.place
        except asyncio.CancelledError:
            if not waiting.place.cancelled() and waiting.place.exception() is None:
                waiting.place.result().give_back()  # it was given in this turn, too
                self._serve_waiting()
            raise

    def _serve_waiting(self) -> None:
        """Give places to the commands that wait, in order."""
        while self._waiting:
            first = self._waiting[0]
            if not first.place.done():
                place = self._place()
                if place is None:
                    break
                first.place.set_result(place)
            self._waiting.popleft()
        self._open_if_needed()

    def _poll(self) -> None:
        """Fail the commands whose time is over."""
        self._timer = None
        now = self._clock.now() if self._waiting else 0.0
        opening = self._opening is not None
        for waiting in self._waiting:
            # While a session is being opened, the command waits for the error of this attempt, which says why.
            least_s = 0.0 if opening else waiting.least_s
            if not waiting.place.done() and waiting.deadline - now < least_s - _POLL_INTERVAL_S:
                waiting.place.set_exception(self._not_sent())
        self._waiting = deque(each for each in self._waiting if not each.place.done())
        if self._waiting:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(_POLL_INTERVAL_S, self._poll)

    # -- sessions ------------------------------------------------------------------------------------

    def _open_if_needed(self) -> None:
        """Open a session for the commands that wait, if none is being opened. It goes on if they stop waiting."""
        if not self._waiting or self._opening is not None or len(self._sessions) >= _MAX_SESSIONS:
            return
        left_s = max(0.0, self._waiting[0].deadline - self._clock.now())
        self._opening_since_us = self._now_us()
        self._opening = asyncio.ensure_future(self._open_session(left_s))
        self._opening.add_done_callback(self._opened)

    def _opened(self, opening: asyncio.Future[ClientSession]) -> None:
        if opening is not self._opening:
            return  # of an event loop that has ended, or after `close`
        self._opening = None
        error = None if opening.cancelled() else opening.exception()
        if error is not None:
            self._fail_waiting(error)
        elif not opening.cancelled():
            session = opening.result()
            self._sessions.append(session)
            self._used_us[session] = self._opening_since_us
        self._serve_waiting()

    def _fail_waiting(self, error: BaseException) -> None:
        """Fail the commands for which the error is final. The others have more time than the attempt had."""
        may_retry = isinstance(error, QcoreError) and error.retryable
        now = self._clock.now() if self._waiting else 0.0
        for waiting in self._waiting:
            if not waiting.place.done() and not (may_retry and now + _LEAST_S < waiting.deadline):
                waiting.place.set_exception(error)

    def _forget(self, session: ClientSession) -> None:
        if session in self._sessions:
            self._sessions.remove(session)
            del self._used_us[session]
