"""`ClientSession`: writes that take effect exactly once, even if responses are lost and leaders crash.

    async with Client(endpoints) as client, await ClientSession.open(client) as session:
        await session.perform({"UpdateEntity": {"request": [...]}})

Every command has a sequence number in the session, and the cluster remembers the results. So a command may be sent
again until its response arrives, whichever node leads by then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from qcore.client.client import Client
from qcore.client.request_sender import Json
from qcore.errors import QcoreError


class ClientSession:
    """One session. Commands may overlap; keep fewer than 256 of them in progress.

    Create a session with `open`. Commands keep it alive; call `keep` if there are none for a long time.

    Attributes:
        id: the session's id within the cluster.
    """

    def __init__(self, client: Client, session_id: int) -> None:
        self._client = client
        self.id = session_id
        self._last_sequence = 0
        self._in_progress: set[int] = set()

    @classmethod
    async def open(cls, client: Client, *, lifetime_s: float = 60.0) -> Self:
        """Open a session that expires when it is not used for `lifetime_s`.

        Raises:
            QcoreError: the cluster did not open it in time.
        """
        opened: int = await client.session_request(
            "OpenSession", {"lifetime_ms": max(1, int(lifetime_s * 1000))}
        )
        return cls(client, opened)

    async def perform(self, request: Mapping[str, Json]) -> Json:
        """Send a `Perform` request that writes; returns `PerformResponse.response`.

        Raises:
            SessionExpired: the session is gone; whether its last commands took effect is not known.
            OutcomeUnknown: no response arrived in time.
            QcoreError: every attempt was rejected until the timeout.
        """
        self._last_sequence += 1
        sequence = self._last_sequence
        self._in_progress.add(sequence)
        acknowledged = min(self._in_progress) - 1
        use = {"id": self.id, "sequence": sequence, "acknowledged": acknowledged}
        try:
            return await self._client.perform(request, session=use)
        finally:
            self._in_progress.discard(sequence)

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
            async with asyncio.timeout(1):
                await self.close()
        except (QcoreError, TimeoutError):
            pass  # the session will expire; the error that ended the block matters more
