"""`Barrier`: programs wait for each other, and go on together."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from qcore.errors import ConfigError, LeaseNotFound, QcoreError, WatchCompacted
from qcore.kv.txn_parts import Condition, Put
from qcore.recipes.agreement import Agreement
from qcore.recipes.checked_arguments import check_integer
from qcore.recipes.holding.tickets import Ticket, TicketQueue
from qcore.recipes.key_reads import integer_of, prefix_of, read_state
from qcore.recipes.lease import DEFAULT_MAX_DRIFT, DEFAULT_TTL_S, Lease
from qcore.recipes.recipe_errors import LeaseLost, NotAcquired, is_temporary
from qcore.recipes.retries import PAUSE_S, last_error_text
from qcore.time_limit import time_limit

if TYPE_CHECKING:
    from qcore.kv.key_values import KeyVersion
    from qcore.kv.kv_client import KeyValue

#: A release is one transaction, which has at most 1,000 operations and comparisons: two for each participant, two for
#: the number of the round, and itself.
MAX_PARTIES: Final = 498
#: The value of the key of a participant that has left. The number of a round is the value of one that was released.
_LEFT: Final = b"left"


class Barrier:
    """A place at which `parties` participants wait for each other. It can be used again and again, in rounds.

        barrier = Barrier(kv, "epoch", parties=4, ttl_s=10)
        while True:
            await compute_part()
            number = await barrier.wait()

    **Guarantee.** A round releases exactly `parties` participants, at a moment at which all of them wait. These are the
    ones that came first. The number of a round is 1 larger than that of the round before. `wait` returns the number of
    the round that has released this participant, and each call is released by one round at most. A participant may end
    right after the release. So a program that passes knows that the others had come, and not that they are still there.

    - Disconnect: the client tries other nodes. A participant whose lease ends has left. If it was not released before,
      it comes again, at the end of the line.
    - Pause of the process: the same. A participant that was released while it was paused passes when it runs again.
    - Leader change: nothing is lost if it takes less than about two thirds of `ttl_s`.
    - Expiry: a participant that ends before the release makes room for another one. After the release, it counts as
      released.
    - Clock jump: without effect, because no wall clock is read.
    - End of the process: its place is free after at most `ttl_s`. Until then it may be counted.

    Args:
        kv: the keys of the cluster.
        name: names the barrier. Its keys are below `barrier/NAME//`.
        parties: how many participants a round has, 1 to 498. The first program writes it to the key
            `barrier/NAME//parties`, and all others must have the same. To change it, stop all programs and delete this
            key.
        ttl_s: how long the place of a participant stays taken after its process has ended, seconds; see `Lease`.
        max_drift: see `Lease`.
        lease: a lease to depend on, which the caller opens and closes, in place of a new one for each `wait`. Then
            `ttl_s` and `max_drift` have no effect.

    Raises:
        ConfigError: an argument is out of its range, or `parties` is no integer.
    """

    def __init__(
        self,
        kv: KeyValue,
        name: str,
        parties: int,
        *,
        ttl_s: float = DEFAULT_TTL_S,
        max_drift: float = DEFAULT_MAX_DRIFT,
        lease: Lease | None = None,
    ) -> None:
        self._title = title = f"barrier {name}"
        check_integer(title, "parties", parties)
        if not 1 <= parties <= MAX_PARTIES:
            raise ConfigError(f"{title}: parties: {parties} is not from 1 to {MAX_PARTIES}")
        self.name = name
        self.parties = parties
        self._kv = kv
        self._ttl_s = ttl_s
        self._max_drift = max_drift
        self._shared = lease
        if lease is None:
            self._new_lease()  # checks the arguments now
        self._prefix = prefix_of("barrier", name)
        self._waiting = f"{self._prefix}waiting/"
        self._line = TicketQueue(kv, self._waiting)
        key = f"{self._prefix}parties"
        self._agreement = Agreement(kv, key, title=title, what="parties", number=parties)

    async def wait(self, *, timeout_s: float | None = None) -> int:
        """Wait until `parties` participants wait, and return the number of the round.

        If it is cancelled, it leaves. If a round has released it in the meantime, that round counts it.

        Args:
            timeout_s: how long to wait, seconds; None for any time. If a round releases this participant when the time
                is just over, its number is returned. To find that out may take `ttl_s` longer, if the cluster cannot
                be reached.

        Raises:
            ConfigError: another program has another number of parties.
            NotAcquired: the time was over first. This participant has left.
            LeaseLost: the shared lease was lost, and no round has released this participant; or its lease was lost, and
                whether a round has released it cannot be found out, because the history of the cluster is compacted.
            QcoreError: the cluster rejects a request.
        """
        outcome = _Outcome()
        last_error: QcoreError | None = None
        try:
            async with time_limit(timeout_s):
                while outcome.round is None:
                    try:
                        await self._agreement.confirm()
                        await self._attempt(outcome)
                    except QcoreError as error:
                        is_lost = isinstance(error, LeaseLost) and self._shared is None
                        if not outcome.is_known or not (is_lost or is_temporary(error)):
                            raise
                        last_error = error
                        await asyncio.sleep(PAUSE_S)
        except TimeoutError:
            if outcome.round is None:
                why = last_error_text(last_error)
                if not outcome.is_known:
                    why += "; whether a round has released it could not be found out in time"
                raise NotAcquired(
                    f"{self._title}: not passed within {timeout_s:g} s{why}"
                ) from None
        return outcome.round

    async def waiting(self) -> int:
        """How many participants wait now."""
        return sum(not kv.value for kv in (await read_state(self._kv, self._waiting)).kvs)

    async def _attempt(self, outcome: _Outcome) -> None:
        """Come, and wait for the release. It sets the round, also if it raises because it was cancelled.

        Raises:
            LeaseLost: the lease was lost, and no round has released it.
        """
        lease = self._shared
        if lease is None:
            lease = self._new_lease()
            await lease.open()
        place = _Place(lease, self._line.new_key(lease))
        # Not cancelled with this task: whether the ticket exists must be known when it leaves.
        entering = asyncio.ensure_future(self._line.enter(lease, key=place.key))
        try:
            ticket = await asyncio.shield(entering)
            place.since = ticket.token
            async with lease.guard():
                outcome.round = await self._wait_released(ticket)
        except LeaseLost:
            outcome.is_known = False
            outcome.round = await self._find_out(place)
            outcome.is_known = True
            if outcome.round is None:
                raise
        except asyncio.CancelledError:
            if outcome.round is None:
                await asyncio.shield(lease.run(self._leave(place, entering, outcome)))
            raise
        finally:
            if lease is not self._shared:
                await lease.close()
            elif not place.is_free:
                await asyncio.shield(lease.run(self._line.leave(Ticket(place.key, 0, lease))))

    # -- waiting ---------------------------------------------------------------------------------

    async def _wait_released(self, ticket: Ticket) -> int:
        """Wait for the round that releases a participant, and release it when there are enough.

        Raises:
            LeaseLost: the cluster has ended the lease of the ticket, or a program has deleted it.
        """
        while True:
            try:
                state = await read_state(self._kv, self._prefix)
                mine = next((kv for kv in state.kvs if kv.key == ticket.key), None)
                if mine is None or mine.create_revision != ticket.token:
                    raise LeaseLost(
                        f"the cluster has ended lease {ticket.lease.lease_id}, or a program has deleted its ticket"
                    )
                if mine.value:
                    return integer_of(mine)
                waiting = sorted(
                    (kv for kv in state.kvs if self._is_waiting(kv)),
                    key=lambda kv: kv.create_revision,
                )
                group = waiting[: self.parties]
                missing = self.parties - len(group)
                number: int | None = None
                if missing or mine is not group[-1]:
                    # The last one of the group releases it. The others do so only if that one seems to have ended.
                    # A node that fails without a sign is noticed by its watches after 10 to 15 s. The lease says how
                    # long a participant may fail unnoticed, so this look is made as often.
                    within_s = ticket.lease.ttl_s if missing else PAUSE_S
                    number = await self._wait_change(ticket, state.revision, missing, within_s)
                if number is not None:
                    return number
                if not missing:
                    await self._release(group, [kv for kv in state.kvs if self._is_round(kv)])
            except QcoreError as error:
                if not is_temporary(error):
                    raise
                await asyncio.sleep(PAUSE_S)

    async def _wait_change(
        self, ticket: Ticket, revision: int, missing: int, within_s: float
    ) -> int | None:
        """Wait until the participant is released, so many others have come, or the time is over.

        Returns:
            The number of the round, if it was released.
        """
        try:
            async with (
                time_limit(within_s),
                self._kv.watch(prefix=self._waiting, from_revision=revision + 1) as changes,
            ):
                async for change in changes:
                    if change.kv.key == ticket.key:
                        return integer_of(change.kv) if change.kind == "put" else None
                    if missing and change.kind == "put" and not change.kv.value:
                        missing -= 1
                        if not missing:
                            return None
        except TimeoutError:
            pass
        return None

    async def _release(self, group: Sequence[KeyVersion], rounds: Sequence[KeyVersion]) -> None:
        """Release a group in one transaction, if all of it still waits, and no round was released meanwhile.

        Args:
            group: the participants.
            rounds: the key with the number of the last round, if there was one.
        """
        round_key = self._prefix + "round"
        last = rounds[0].mod_revision if rounds else 0
        number = str(1 + (integer_of(rounds[0]) if rounds else 0))
        conditions = [Condition.number("mod_revision", round_key, "=", last)]
        conditions += [
            Condition.number("create_revision", kv.key, "=", kv.create_revision) for kv in group
        ]
        released = [Put(kv.key, number, kv.lease) for kv in group]
        try:
            await self._kv.txn(conditions, [Put(round_key, number), *released])
        except LeaseNotFound:
            await asyncio.sleep(PAUSE_S)  # one of them has just ended, and its ticket soon will

    def _is_waiting(self, kv: KeyVersion) -> bool:
        return kv.key.startswith(self._waiting.encode()) and not kv.value

    def _is_round(self, kv: KeyVersion) -> bool:
        return kv.key == f"{self._prefix}round".encode()

    # -- leaving ---------------------------------------------------------------------------------

    async def _leave(
        self, place: _Place, entering: asyncio.Future[Ticket], outcome: _Outcome
    ) -> None:
        """Take the ticket back, as long as the lease may live, and note the round that has released it meanwhile."""
        outcome.is_known = False
        patience_s = max(place.lease.remaining_s(), PAUSE_S)
        try:
            async with time_limit(patience_s):
                place.since = (await entering).token
                outcome.round = await self._find_out(place)
                outcome.is_known = True
        except (TimeoutError, QcoreError):
            entering.cancel()  # the outcome stays unknown, which `wait` says

    async def _find_out(self, place: _Place) -> int | None:
        """Take a ticket back, and return the round that has released it; None if there was none.

        Raises:
            LeaseLost: the history that says it is compacted.
        """
        while True:
            try:
                deleted = await self._kv.delete(place.key, previous=True)
                if deleted.previous and deleted.previous[0].value != _LEFT:
                    found = _round_of(deleted.previous[0])
                else:
                    found = await self._find_in_history(place)
                place.is_free = True
                return found
            except WatchCompacted as error:
                raise LeaseLost(
                    f"{self._title}: lease {place.lease.lease_id} has ended, and whether a round has released its "
                    f"participant before cannot be found out: {error}"
                ) from error
            except QcoreError as error:
                if not is_temporary(error):
                    raise
                await asyncio.sleep(PAUSE_S)

    async def _find_in_history(self, place: _Place) -> int | None:
        """The round that has released a ticket which no longer exists."""
        # The last change of its key, by which the reader of the watch knows that it has seen all others.
        await self._kv.put(place.key, _LEFT)
        number: int | None = None
        try:
            async with self._kv.watch(place.key, from_revision=place.since + 1) as changes:
                async for change in changes:
                    if change.kv.value == _LEFT:
                        break
                    if change.kind == "put" and change.kv.value:
                        number = _round_of(change.kv)
        except WatchCompacted:
            await self._kv.delete(place.key)
            raise
        await self._kv.delete(place.key)
        return number

    def _new_lease(self) -> Lease:
        return Lease(self._kv, ttl_s=self._ttl_s, max_drift=self._max_drift)


def _round_of(version: KeyVersion) -> int | None:
    """The round that has released a ticket, as its key says."""
    return integer_of(version) if version.value and version.value != _LEFT else None


@dataclass(slots=True)
class _Place:
    """The place of a participant.

    Attributes:
        lease, key: those of its ticket.
        since: its ticket was created at this revision, or later.
        is_free: whether its ticket is deleted.
    """

    lease: Lease
    key: bytes
    since: int = 0
    is_free: bool = False

    def __post_init__(self) -> None:
        self.since = self.lease.lease_id


@dataclass(slots=True)
class _Outcome:
    """What `Barrier.wait` knows.

    Attributes:
        round: the round that has released the participant.
        is_known: whether it is known that none has, if `round` is None.
    """

    round: int | None = None
    is_known: bool = True
