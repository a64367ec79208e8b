"""Locks and elections, each with a mistake."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

import pytest

from qcore.recipes import Held, Lease
from qcore.recipes.holding import tickets
from qcore.recipes.holding.tickets import Rule, Ticket, TicketQueue

#: Plants a mistake.
Mistake: TypeAlias = Callable[[pytest.MonkeyPatch], None]


def counts_from_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lease counts from the answer to the last keep-alive, and not from when that was sent."""
    monkeypatch.setattr(Lease, "_deadline_of", lambda self, _sent: self._now_us() + self._held_us)


def never_looks_at_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A holder stops when the cluster says that its lease has ended."""
    monkeypatch.setattr(Lease, "_deadline_of", lambda self, sent: sent + 1000 * self._held_us)


def ignores_the_drift(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow clock gets no margin."""
    monkeypatch.setattr(
        Lease, "_deadline_of", lambda self, sent: sent + int(self.ttl_s * 1_000_000)
    )


def believes_the_first_deletion(monkeypatch: pytest.MonkeyPatch) -> None:
    """A participant goes on when the ticket before it is deleted, without another look at the line."""

    async def wait_turn(self: TicketQueue, ticket: Ticket, rule: Rule) -> None:
        async with ticket.lease.guard():
            revision, waits_for = await self._look(ticket, rule)
            if waits_for is not None:
                await self._wait_deleted(waits_for, revision)

    monkeypatch.setattr(TicketQueue, "wait_turn", wait_turn)


def takes_the_lease_as_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of the lease is older than the place in the line."""
    monkeypatch.setattr(Held, "token", property(lambda self: self.lease.lease_id))


def orders_by_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """The order of the line is that of the keys, which is that of the leases, and not that of the arrivals."""
    monkeypatch.setattr(tickets, "_in_order", lambda kvs: sorted(kvs, key=lambda kv: kv.key))

    async def look(self: TicketQueue, ticket: Ticket, rule: Rule) -> object:
        state = await tickets.read_state(self._kv, self._prefix, keys_only=True)
        return state.revision, rule([kv for kv in state.kvs if kv.key < ticket.key])

    monkeypatch.setattr(TicketQueue, "_look", look)


def keeps_the_place_of_a_lost_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    """A participant that was paused while it waited goes on as if it had not lost its place."""

    async def wait_turn(self: TicketQueue, ticket: Ticket, rule: Rule) -> None:
        while True:
            state = await tickets.read_state(self._kv, self._prefix, keys_only=True)
            waits_for = rule([kv for kv in state.kvs if kv.create_revision < ticket.token])
            if waits_for is None:
                break
            await self._wait_deleted(waits_for, state.revision)
        ticket.lease._lost = None
        ticket.lease._deadline_us += 10**12

    monkeypatch.setattr(TicketQueue, "wait_turn", wait_turn)


LOCK_MISTAKES: Final[tuple[Mistake, ...]] = (
    counts_from_the_answer,
    never_looks_at_the_clock,
    believes_the_first_deletion,
    takes_the_lease_as_token,
    orders_by_key,
    keeps_the_place_of_a_lost_lease,
)
