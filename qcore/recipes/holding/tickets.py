"""`TicketQueue`: a line of participants, each with a ticket that its lease deletes, in the order in which they came.

A ticket is a key below the name of the recipe. Its `create_revision`, the position of its creation in the log, gives
the order, so all programs see the same order, and it never goes back. A lock, a semaphore and an election differ only
in who of the line may go on. A participant of a lock watches only the ticket before it, so a release wakes one of them
and not all (Hunt et al., "ZooKeeper", 2010, section 2.4: locks without herd effect).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qcore.errors import LeaseNotFound, QcoreError
from qcore.kv.key_values import KeyVersion
from qcore.kv.txn_parts import Condition, Put, Range
from qcore.recipes.key_reads import page_of_txn, read_again_when_resumed, read_state
from qcore.recipes.recipe_errors import LeaseLost, is_temporary
from qcore.recipes.retries import PAUSE_S, delete_until_lost
from qcore.time_limit import time_limit

if TYPE_CHECKING:
    from qcore.kv.kv_client import KeyValue
    from qcore.recipes.lease import Lease


@dataclass(frozen=True, slots=True)
class Ticket:
    """A place in the line.

    Attributes:
        key: its key.
        token: its `create_revision`, which is larger than that of all tickets before it.
        lease: deletes it when it ends.
    """

    key: bytes
    token: int
    lease: Lease


@dataclass(frozen=True, slots=True)
class WaitFor:
    """What a participant waits for: the deletion of tickets.

    Attributes:
        key: that ticket; None for any.
        count: how many must be deleted before it can be the participant's turn.
    """

    key: bytes | None = None
    count: int = 1


@dataclass(frozen=True, slots=True)
class Participant:
    """Who is in a line.

    Attributes:
        label: what it says about itself.
        token: its token.
        kind: what it asks for, if the line has several kinds: of an `RWLock`, `read` or `write`.
    """

    label: str
    token: int
    kind: str = ""


#: From the tickets before a participant's, the first of the line first: None if it may go on, else what it waits for.
Rule = Callable[[Sequence[KeyVersion]], WaitFor | None]


def nothing_before(before: Sequence[KeyVersion]) -> WaitFor | None:
    """The rule of a lock: the first of the line may go on. Each of the others waits for the one before it."""
    return WaitFor(before[-1].key) if before else None


def kind_of(key: bytes) -> str:
    """The kind of the ticket with this key; empty if it has none."""
    lease_number_kind = key.rpartition(b"/")[2].split(b"-", 2)
    return lease_number_kind[2].decode(errors="replace") if len(lease_number_kind) == 3 else ""


class TicketQueue:
    """The line of one recipe.

    Args:
        kv: the keys of the cluster.
        prefix: the prefix of the keys of its tickets, with a `/` at the end.
    """

    def __init__(self, kv: KeyValue, prefix: str) -> None:
        self._kv = kv
        self._prefix = prefix

    def new_key(self, lease: Lease, kind: str = "") -> bytes:
        """The key of a new ticket. `kind` says what it asks for; see `kind_of`."""
        return f"{self._prefix}{lease.new_name()}{f'-{kind}' if kind else ''}".encode()

    async def enter(
        self,
        lease: Lease,
        value: str | bytes = b"",
        *,
        kind: str = "",
        key: bytes | None = None,
    ) -> Ticket:
        """Join the end of the line.

        Args:
            lease: deletes the ticket when it ends.
            value: the value of the ticket's key.
            kind: what it asks for; see `new_key`.
            key: the key of the ticket, from `new_key`; None for a new one.

        Raises:
            LeaseLost: the lease has ended.
        """
        lease.check()
        key = key or self.new_key(lease, kind)
        while True:
            try:
                done = await self._kv.txn(
                    [Condition.exists(key, False)],
                    [Put(key, value, lease.lease_id)],
                    [Range(key, keys_only=True)],
                )
            except LeaseNotFound as error:
                raise LeaseLost(f"the cluster has ended lease {lease.lease_id}") from error
            except QcoreError as error:
                lease.check()
                if not is_temporary(error):
                    raise
                await asyncio.sleep(PAUSE_S)  # it may have taken effect; the condition finds out
                continue
            if done.succeeded:
                return Ticket(key, done.revision, lease)
            return Ticket(key, page_of_txn(done, 0).kvs[0].create_revision, lease)

    async def leave(self, ticket: Ticket) -> None:
        """Delete a ticket. It tries until the lease of the ticket is lost."""
        await delete_until_lost(self._kv, ticket.key, ticket.lease)

    async def participants(self) -> list[Participant]:
        """Who is in the line, the first one first."""
        return _participants((await read_state(self._kv, self._prefix)).kvs)

    async def lines(self) -> AsyncIterator[list[Participant]]:
        """Who is in the line: now, and after each change. It goes on while the cluster cannot be reached.

        After an outage, or if the history was compacted, it may leave out changes.
        """
        while True:
            try:
                state = await read_state(self._kv, self._prefix)
                tickets = {kv.key: kv for kv in state.kvs}
                yield _participants(tickets.values())
                watch = self._kv.watch(prefix=self._prefix, from_revision=state.revision + 1)
                async with read_again_when_resumed(watch) as changes:
                    async for change in changes:
                        if change.kind == "put":
                            tickets[change.kv.key] = change.kv
                        else:
                            tickets.pop(change.kv.key, None)
                        yield _participants(tickets.values())
            except QcoreError as error:
                if not is_temporary(error):
                    raise
                await asyncio.sleep(PAUSE_S)

    async def wait_turn(self, ticket: Ticket, rule: Rule) -> None:
        """Wait until the rule lets a participant go on, also while the cluster cannot be reached.

        Raises:
            LeaseLost: the lease of the ticket has ended, or another program has deleted the ticket.
        """
        async with ticket.lease.guard():
            while True:
                try:
                    revision, waits_for = await self._look(ticket, rule)
                    if waits_for is None:
                        return
                    # A node that fails without a sign is noticed by its watches after 10 to 15 s. The lease says how
                    # long a participant may fail unnoticed, so this look is made as often.
                    with contextlib.suppress(TimeoutError):
                        async with time_limit(ticket.lease.ttl_s):
                            await self._wait_deleted(waits_for, revision)
                except QcoreError as error:
                    if not is_temporary(error):
                        raise
                    await asyncio.sleep(PAUSE_S)

    async def is_turn(self, ticket: Ticket, rule: Rule) -> bool:
        """Whether the rule lets a participant go on now.

        Raises:
            LeaseLost: see `wait_turn`.
            QcoreError: the cluster did not answer in time.
        """
        return (await self._look(ticket, rule))[1] is None

    async def _look(self, ticket: Ticket, rule: Rule) -> tuple[int, WaitFor | None]:
        """The newest revision, and what the participant waits for then."""
        state = await read_state(self._kv, self._prefix, keys_only=True)
        # Without its ticket a participant would see an empty line before it, and so would the next one.
        if all(kv.key != ticket.key or kv.create_revision != ticket.token for kv in state.kvs):
            raise LeaseLost(
                f"the cluster has ended lease {ticket.lease.lease_id}, or a program has deleted its ticket"
            )
        before = [kv for kv in _in_order(state.kvs) if kv.create_revision < ticket.token]
        return state.revision, rule(before)

    async def _wait_deleted(self, waits_for: WaitFor, revision: int) -> None:
        """Wait until so many tickets are deleted after a revision."""
        key, prefix = waits_for.key, self._prefix if waits_for.key is None else None
        watch = self._kv.watch(key, prefix=prefix, from_revision=revision + 1, kinds=["delete"])
        async with watch as changes:
            for _ in range(waits_for.count):
                await changes.next_change()


def _participants(kvs: Iterable[KeyVersion]) -> list[Participant]:
    return [
        Participant(kv.value.decode(errors="replace"), kv.create_revision, kind_of(kv.key))
        for kv in _in_order(kvs)
    ]


def _in_order(kvs: Iterable[KeyVersion]) -> list[KeyVersion]:
    """The tickets in the order of their creation."""
    return sorted(kvs, key=lambda kv: kv.create_revision)
