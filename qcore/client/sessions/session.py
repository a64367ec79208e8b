"""`ClientSession`: writes that take effect exactly once, even if responses are lost and leaders crash.

    async with Client(endpoints) as client, await client.open_session() as session:
        await client.write(user, "Email", "ada@example.org", session=session)

Every command has a sequence number in the session, and the cluster remembers the results. So a command may be sent
again until its response arrives, whichever node leads by then. A `Client` opens such sessions by itself; open one to
control its lifetime.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Final, Protocol, Self

from qcore.client.request_sender import Json
from qcore.errors import QcoreError
from qcore.time_limit import time_limit

#: How many sequence numbers after the oldest unanswered command a session uses. The cluster keeps up to 256 results.
WINDOW: Final = 200


class SessionRequests(Protocol):
    """What a session needs of a client."""

    async def perform(
        self, request: Mapping[str, Json], *, session: Mapping[str, int] | None = None
    ) -> Json:
        """See `Client.perform`."""
        ...

    async def session_request(
        self, name: str, fields: Mapping[str, Json], *, timeout_s: float | None = None
    ) -> Json:
        """See `Client.session_request`."""
        ...


class ClientSession:
    """One session. Commands may overlap; keep fewer than 256 of them in progress.

    Create a session with `open`, or with `Client.open_session`. Commands keep it alive; call `keep` if there are none
    for a long time.

    Attributes:
        id: the session's id within the cluster.
    """

    def __init__(self, client: SessionRequests, session_id: int) -> None:
        self._client = client
        self.id = session_id
        self._last_sequence = 0
        #: The unanswered commands, the oldest first.
        self._in_progress: dict[int, None] = {}

    @classmethod
    async def open(
        cls, client: SessionRequests, *, lifetime_s: float = 60.0, timeout_s: float | None = None
    ) -> Self:
        """Open a session that expires when it is not used for `lifetime_s`.

        Args:
            client: the client.
            lifetime_s: how long the cluster keeps the session while it is not used.
            timeout_s: how long the opening may take; by default the client's `timeout_s`.

        Raises:
            QcoreError: the cluster did not open it in time.
        """
        opened: int = await client.session_request(
            "OpenSession", {"lifetime_ms": max(1, int(lifetime_s * 1000))}, timeout_s=timeout_s
        )
        return cls(client, opened)

    @property
    def has_room(self) -> bool:
        """Whether the cluster can record the result of one more command."""
        oldest = next(iter(self._in_progress), self._last_sequence + 1)
        return self._last_sequence + 1 - oldest < WINDOW

    @property
    def is_idle(self) -> bool:
        """Whether no command is in progress."""
        return not self._in_progress

    @contextmanager
    def command(self) -> Iterator[dict[str, int]]:
        """Number a command; gives the `session` field of its message. The command ends with the block."""
        use = self.begin()
        try:
            yield use
        finally:
            self.end(use["sequence"])

    def begin(self) -> dict[str, int]:
        """Number a command; returns the `session` field of its message. Call `end` when the command has ended."""
        self._last_sequence += 1
        sequence = self._last_sequence
        self._in_progress[sequence] = None
        acknowledged = next(iter(self._in_progress)) - 1
        return {"id": self.id, "sequence": sequence, "acknowledged": acknowledged}

    def end(self, sequence: int) -> None:
        """The command with this number has ended: the cluster may forget its result."""
        del self._in_progress[sequence]

    async def perform(self, request: Mapping[str, Json]) -> Json:
        """Send a `Perform` request that writes; returns `PerformResponse.response`.

        Raises:
            SessionExpired: the session is gone; whether its last commands took effect is not known.
            OutcomeUnknown: no response arrived in time.
            QcoreError: every attempt was rejected until the timeout.
        """
        with self.command() as use:
            return await self._client.perform(request, session=use)

    async def keep(self) -> None:
        """Keep the session alive.

        Raises:
            SessionExpired: it is gone.
        """
        await self._client.session_request("KeepSession", {"session": self.id})

    async def close(self) -> None:
        """Close the session; the cluster forgets its results."""
        await self._client.session_request("CloseSession", {"session": self.id})

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            await self.close()
            return
        try:
            async with time_limit(1):
                await self.close()
        except (QcoreError, TimeoutError):
            pass  # the session will expire; the error that ended the block matters more
