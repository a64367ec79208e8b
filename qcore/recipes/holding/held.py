"""`Held`: what a program holds as long as its lease lives: a lock, a permit, or the leadership."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self

from qcore.errors import ConfigError
from qcore.recipes.claims import Claim
from qcore.recipes.lease import LeaseGuard
from qcore.recipes.recipe_errors import LeaseLost

if TYPE_CHECKING:
    from qcore.recipes.holding.tickets import Ticket, TicketQueue


class Holding:
    """A ticket whose turn it is, with the number of its handles.

    Args:
        line: where the ticket is.
        ticket: the ticket.
        owns_lease: whether the release closes the lease of the ticket.

    Attributes:
        handles: the handles that were not released.
        on_release: called when the last handle is released.
    """

    def __init__(self, line: TicketQueue, ticket: Ticket, *, owns_lease: bool) -> None:
        self.line = line
        self.ticket = ticket
        self._owns_lease = owns_lease
        self.handles = 0
        self.on_release: Callable[[], object] = lambda: None

    async def release(self) -> None:
        """Give the ticket back. It does not fail: at the latest, the end of the lease does that."""
        self.on_release()
        lease = self.ticket.lease
        if self._owns_lease:
            await lease.close()
        else:
            # The lease lives on, so a cancellation here must not leave the ticket in the line.
            await asyncio.shield(lease.run(self.line.leave(self.ticket)))


class Held(Claim):
    """What a program holds. As a context manager it guards the current task, and releases at the end:

        async with await lock.acquire() as held:
            await storage.write(data, fencing_token=held.token)

    If the lease is lost in the block, the task is cancelled, and the context raises `LeaseLost` with the reason.

    Args:
        holding: the ticket. It is free when all its handles are released.

    Attributes:
        lease: the lease on which it depends.
        token: the fencing token. A later holder has a larger one, also after a restore from a backup. Send it with each
            write to another system, and let that system reject a write with a smaller token than it has seen. A process
            that is stopped between a `check` and its write needs this: nothing else can stop that write.
        is_released: whether it was released here.
    """

    def __init__(self, holding: Holding) -> None:
        ticket = holding.ticket
        super().__init__(ticket.lease, ticket.key, ticket.token)
        self.holding = holding
        self._guard: LeaseGuard | None = None
        self.is_released = False
        holding.handles += 1

    @property
    def lost(self) -> LeaseLost | None:
        """Why it must not be relied on: its lease has ended, or it was released. None while it is held."""
        if self.is_released:
            return LeaseLost("it was released")
        return self.lease.lost

    async def release(self) -> None:
        """Release it, also within its block. May be called again.

        It does not fail: at the latest, the end of the lease releases it.

        If the cluster cannot be reached, this takes at most as long as the lease may live.
        """
        if self.is_released:
            return
        self.is_released = True
        if self._guard is not None:
            self._guard.stop()  # a release within the block is no loss
        self.holding.handles -= 1
        if not self.holding.handles:
            await self.holding.release()

    async def __aenter__(self) -> Self:
        if self._guard is not None:
            raise ConfigError("this was entered before: acquire it again for another block")
        self._guard = LeaseGuard(self.lease)
        try:
            await self._guard.__aenter__()
        except LeaseLost:
            await self.release()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._guard is not None, "entered"
        if not self._guard.is_of_current_task:
            self._guard.stop()  # another task closes a generator, or leaves what this one has entered
        try:
            await self._guard.__aexit__(kind, error, trace)
        finally:
            await self.release()
