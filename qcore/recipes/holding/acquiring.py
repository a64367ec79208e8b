"""`Acquirer`: how a lock, a semaphore and an election wait for their turn in a line."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING

from qcore.errors import ConfigError, QcoreError
from qcore.recipes.checked_arguments import shown
from qcore.recipes.holding.held import Held, Holding
from qcore.recipes.holding.tickets import Participant, Rule, Ticket, TicketQueue
from qcore.recipes.lease import DEFAULT_MAX_DRIFT, DEFAULT_TTL_S, Lease
from qcore.recipes.recipe_errors import LeaseLost, NotAcquired, is_temporary
from qcore.recipes.retries import PAUSE_S, last_error_text
from qcore.time_limit import time_limit

if TYPE_CHECKING:
    from qcore.kv.kv_client import KeyValue


class Acquirer:
    """Waits in a line, with a lease for each participant, or with one that they share.

    Args:
        kv: the keys of the cluster.
        prefix: see `TicketQueue`.
        ttl_s, max_drift: of the leases; see `Lease`.
        lease: the shared lease, which the caller opens and closes; None for one each.
    """

    def __init__(
        self,
        kv: KeyValue,
        prefix: str,
        *,
        ttl_s: float = DEFAULT_TTL_S,
        max_drift: float = DEFAULT_MAX_DRIFT,
        lease: Lease | None = None,
    ) -> None:
        self._kv = kv
        self._ttl_s = ttl_s
        self._max_drift = max_drift
        self._shared = lease
        self._line = TicketQueue(kv, prefix)
        if lease is None:
            self._new_lease()  # checks the arguments now

    async def acquire(
        self,
        rule: Rule,
        *,
        value: str | bytes = b"",
        kind: str = "",
        timeout_s: float | None = None,
        before_joining: Callable[[], Awaitable[object]] | None = None,
    ) -> Held:
        """Join the line, and wait for the turn, also while the cluster cannot be reached.

        If its own lease is lost while it waits, as by a pause of this process, it joins the end of the line again.

        Args:
            rule: when it is its turn.
            value, kind: of its ticket.
            timeout_s: how long to wait; None for any time. With 0 it fails: for one attempt there is `try_acquire`.
            before_joining: awaited before it joins the line. It is tried again if the cluster cannot be reached.

        Raises:
            ConfigError: the value is neither a text nor bytes.
            NotAcquired: the time was over first.
            LeaseLost: the shared lease was lost.
            QcoreError: the cluster rejects a request.
        """
        last_error: QcoreError | None = None
        is_in_line = False
        try:
            async with time_limit(timeout_s):
                while True:
                    try:
                        is_in_line = False
                        if before_joining is not None:
                            await before_joining()
                        holding = await self._join(value, kind)
                        is_in_line = True
                        await self._wait_turn(holding, rule)
                    except QcoreError as error:
                        is_lost = isinstance(error, LeaseLost) and self._shared is None
                        if not (is_lost or is_temporary(error)):
                            raise
                        last_error = error
                        await asyncio.sleep(PAUSE_S)
                    else:
                        return Held(holding)
        except TimeoutError:
            reason = (
                "others are before it in the line" if is_in_line else "the cluster did not answer"
            )
            why = last_error_text(last_error)
            raise NotAcquired(f"not acquired within {timeout_s:g} s: {reason}{why}") from None

    async def try_acquire(
        self, rule: Rule, *, value: str | bytes = b"", kind: str = ""
    ) -> Held | None:
        """Acquire it if nothing has to be waited for; None otherwise.

        Raises:
            QcoreError: the cluster did not answer in time, or rejects a request.
        """
        holding = await self._join(value, kind)
        try:
            if await self._line.is_turn(holding.ticket, rule):
                holding.ticket.lease.check()
                return Held(holding)
        except BaseException:
            await holding.release()
            raise
        await holding.release()
        return None

    async def participants(self) -> list[Participant]:
        """See `TicketQueue.participants`."""
        return await self._line.participants()

    def lines(self) -> AsyncIterator[list[Participant]]:
        """See `TicketQueue.lines`."""
        return self._line.lines()

    async def _join(self, value: str | bytes, kind: str) -> Holding:
        """A place in the line, with its lease."""
        if not isinstance(value, str | bytes):
            raise ConfigError(f"label: {shown(value)} is no text: give a text, such as str(...)")
        if self._shared is not None:
            ticket = await self._join_shared(self._shared, value, kind)
            return Holding(self._line, ticket, owns_lease=False)
        lease = self._new_lease()
        await lease.open()
        try:
            ticket = await self._line.enter(lease, value, kind=kind)
        except BaseException:
            await lease.close()
            raise
        return Holding(self._line, ticket, owns_lease=True)

    async def _join_shared(self, lease: Lease, value: str | bytes, kind: str) -> Ticket:
        """A ticket of a lease that lives on, so a ticket of which no task knows would stay in the line."""
        key = self._line.new_key(lease, kind)
        entering = asyncio.ensure_future(self._line.enter(lease, value, key=key))
        try:
            return await asyncio.shield(entering)
        except (asyncio.CancelledError, QcoreError):
            lease.run(self._leave_after(entering, Ticket(key, 0, lease)))
            raise

    async def _leave_after(self, entering: asyncio.Future[Ticket], ticket: Ticket) -> None:
        """Delete a ticket. If a request to enter was rejected, one before it may have taken effect."""
        # Its exception is of no interest, but asyncio reports those that no code has looked at.
        await asyncio.gather(entering, return_exceptions=True)
        with contextlib.suppress(
            QcoreError
        ):  # the cluster rejects this, too; its lease ends the ticket
            await self._line.leave(ticket)

    async def _wait_turn(self, holding: Holding, rule: Rule) -> None:
        try:
            await self._line.wait_turn(holding.ticket, rule)
        except BaseException:
            await holding.release()
            raise

    def _new_lease(self) -> Lease:
        return Lease(self._kv, ttl_s=self._ttl_s, max_drift=self._max_drift)
