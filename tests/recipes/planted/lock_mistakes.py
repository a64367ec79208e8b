"""Locks and elections, each with a mistake."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, TypeAlias

import pytest

from qcore.errors import LeaseNotFound
from qcore.recipes import Held, Lease
from qcore.recipes.holding import tickets
from qcore.recipes.holding.held import Holding
from qcore.recipes.holding.tickets import Rule, Ticket, TicketQueue
from qcore.recipes.key_reads import read_state

#: Plants a mistake.
Mistake: TypeAlias = Callable[[pytest.MonkeyPatch], None]


def counts_from_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lease counts from the answer to the last keep-alive, and not from when that was sent."""

    async def keep(self: Lease, _sent_us: int) -> None:
        while True:
            await asyncio.sleep(self.ttl_s / 3)
            try:
                await self._kv.keep_alive(self._lease_id)
            except LeaseNotFound as error:
                self._lose(str(error))
                return
            self._deadline_us = self._now_us() + self._held_us

    monkeypatch.setattr(Lease, "_keep", keep)


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
    init = Held.__init__

    def with_lease_as_token(self: Held, holding: Holding) -> None:
        init(self, holding)
        vars(self)["token"] = self.lease.lease_id

    monkeypatch.setattr(Held, "__init__", with_lease_as_token)


def orders_by_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """The order of the line is that of the keys, which is that of the leases, and not that of the arrivals."""
    monkeypatch.setattr(tickets, "_in_order", lambda kvs: sorted(kvs, key=lambda kv: kv.key))

    async def look(self: TicketQueue, ticket: Ticket, rule: Rule) -> object:
        state = await read_state(self._kv, self._prefix, keys_only=True)
        return state.revision, rule([kv for kv in state.kvs if kv.key < ticket.key])

    monkeypatch.setattr(TicketQueue, "_look", look)


def keeps_the_place_of_a_lost_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    """A participant that was paused while it waited goes on as if it had not lost its place."""

    async def wait_turn(self: TicketQueue, ticket: Ticket, rule: Rule) -> None:
        while True:
            state = await read_state(self._kv, self._prefix, keys_only=True)
            waits_for = rule([kv for kv in state.kvs if kv.create_revision < ticket.token])
            if waits_for is None:
                break
            await self._wait_deleted(waits_for, state.revision)
        ticket.lease._lost = None
        ticket.lease._deadline_us += 10**12

    monkeypatch.setattr(TicketQueue, "wait_turn", wait_turn)


def _clients(faults: str, latency_ms: str = "[1, 8]") -> str:
    """Nodes that stay well, and clients with faults."""
    return f"""
cluster: {{nodes: 3, machine: kv}}
network: {{clients: {{latency_ms: {{uniform: {latency_ms}}}}}}}
workload: {{clients: 4, program_faults: {{{faults}}}, stop_ms: 11000}}
until_ms: 12000
"""


#: Pauses in short intervals, so that an answer waits in one pause, and the next pause hides that the lease has ended.
_STUTTERING: Final = _clients(
    "every_ms: {uniform: [20, 400]}, pause_ms: {uniform: [300, 1100]}, kill_fraction: 0.0",
    "[5, 60]",
)
_LONG_PAUSES: Final = _clients(
    "every_ms: {uniform: [200, 1200]}, pause_ms: {uniform: [1600, 2500]}"
)
_KILLS: Final = _clients(
    "every_ms: {uniform: [200, 3000]}, kill_fraction: 1.0, restart_after_ms: {uniform: [1, 100]}"
)
_SLOW_LINKS: Final = _clients(
    "every_ms: {uniform: [200, 1200]}, pause_ms: {uniform: [100, 500]}, kill_fraction: 0.0",
    "[1, 100]",
)

#: Clocks that differ by much, and one client after the other that cannot reach the nodes.
SLOW_CLOCKS: Final = """
cluster: {nodes: 3, machine: kv}
workload: {clients: 4, program_faults: {clock_drift_ppm: 300000}, stop_ms: 12000}
timeline:
  - {at_ms: 1000, partition: [[client_1], [1, 2, 3, client_2, client_3, client_4]], for_ms: 2500}
  - {at_ms: 3600, partition: [[client_2], [1, 2, 3, client_1, client_3, client_4]], for_ms: 2500}
  - {at_ms: 6200, partition: [[client_3], [1, 2, 3, client_1, client_2, client_4]], for_ms: 2500}
  - {at_ms: 8800, partition: [[client_4], [1, 2, 3, client_1, client_2, client_3]], for_ms: 2500}
until_ms: 13000
"""

#: The mistakes, each with a scenario in which it shows.
LOCK_MISTAKES: Final[dict[Mistake, str]] = {
    counts_from_the_answer: _STUTTERING,
    never_looks_at_the_clock: _LONG_PAUSES,
    keeps_the_place_of_a_lost_lease: _LONG_PAUSES,
    believes_the_first_deletion: _KILLS,
    takes_the_lease_as_token: _SLOW_LINKS,
    orders_by_key: _SLOW_LINKS,
}
