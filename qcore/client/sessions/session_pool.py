"""`SessionPool`: the sessions that a client opens by itself, so that each of its writes takes effect once.

One session has room for `WINDOW` commands. The pool opens a session when the others have no room, and uses the oldest
session that has room, so sessions that are no longer needed expire.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeVar

from qcore.client.sessions.session import ClientSession
from qcore.errors import QcoreError, SessionExpired

#: The most sessions of one client.
_MAX_SESSIONS: Final = 64

#: How long a command waits after its timeout for the error of the attempt to open its session, seconds.
_GRACE_S: Final = 0.25

_T = TypeVar("_T")


class SessionPool:
    """The sessions of one client.

    Args:
        open_session: opens a session; takes the seconds left.
        not_sent: makes the error of a command that was never sent.
    """

    def __init__(
        self,
        open_session: Callable[[float], Awaitable[ClientSession]],
        not_sent: Callable[[], QcoreError],
    ) -> None:
        self._open_session = open_session
        self._not_sent = not_sent
        self._sessions: list[ClientSession] = []
        self._opening: asyncio.Future[ClientSession] | None = None
        #: The commands that wait for room.
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def run(
        self, send: Callable[[Mapping[str, int], float], Awaitable[_T]], timeout_s: float
    ) -> _T:
        """Send a command in a session, and in another one if that session has expired before.

        Args:
            send: sends the command; takes the `session` field of its message and the seconds left, and repeats the
                command until its outcome is known. It raises `OutcomeUnknown` if it cannot know, or if the session
                expired after the command was sent.
            timeout_s: how long all of it may take.

        Raises:
            OutcomeUnknown: the command may or may not have taken effect.
            QcoreError: no session could be used in time, and the command was not sent; or as `send`.
        """
        clock = asyncio.get_running_loop().time
        deadline = clock() + timeout_s
        while True:
            session = await self._session_with_room(deadline)
            try:
                with session.command() as use:
                    return await send(use, max(0.0, deadline - clock()))
            except SessionExpired:
                self._forget(session)
                if clock() >= deadline:
                    raise
            finally:
                self._wake()

    async def close(self, timeout_s: float) -> None:
        """Close the sessions without a command in progress. What cannot be closed in this time expires."""
        sessions, self._sessions = self._sessions, []
        if self._opening is not None:
            self._opening.cancel()
            self._opening = None
        closing = [session.close() for session in sessions if session.is_idle]
        try:
            async with asyncio.timeout(timeout_s):
                await asyncio.gather(*closing, return_exceptions=True)
        except TimeoutError:
            pass

    def new_loop(self) -> None:
        """Forget what belongs to an event loop that has ended. The sessions themselves stay open."""
        self._opening = None
        self._waiting.clear()

    async def _session_with_room(self, deadline: float) -> ClientSession:
        clock = asyncio.get_running_loop().time
        while True:
            for session in self._sessions:
                if session.has_room:
                    return session
            left_s = deadline - clock()
            if left_s <= 0:
                raise self._not_sent()
            if len(self._sessions) >= _MAX_SESSIONS:
                await self._wait_for_room(left_s)
                continue
            opening = self._begin_opening(left_s)
            # The attempt has the same timeout and ends first: its error says why.
            await asyncio.wait([opening], timeout=left_s + _GRACE_S)
            if not opening.done():
                raise self._not_sent()
            error = None if opening.cancelled() else opening.exception()
            if error is None:
                continue
            # The attempt may have begun with less time than this command has.
            may_retry = isinstance(error, QcoreError) and error.retryable
            if not (may_retry and clock() < deadline - _GRACE_S):
                raise error

    def _begin_opening(self, left_s: float) -> asyncio.Future[ClientSession]:
        """The attempt to open a session, which concurrent commands share. It goes on if they stop waiting."""
        if self._opening is None:
            self._opening = asyncio.ensure_future(self._open_session(left_s))
            self._opening.add_done_callback(self._opened)
        return self._opening

    def _opened(self, opening: asyncio.Future[ClientSession]) -> None:
        if opening is self._opening:
            self._opening = None
        if not opening.cancelled() and opening.exception() is None:
            self._sessions.append(opening.result())

    async def _wait_for_room(self, left_s: float) -> None:
        room: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(room)
        await asyncio.wait([room], timeout=left_s)
        room.cancel()

    def _wake(self) -> None:
        while self._waiting:
            room = self._waiting.popleft()
            if not room.done():
                room.set_result(None)
                return

    def _forget(self, session: ClientSession) -> None:
        if session in self._sessions:
            self._sessions.remove(session)
