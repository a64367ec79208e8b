"""`Lock`: one holder at a time among all programs of a cluster."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from qcore.recipes.holding.acquiring import Acquirer
from qcore.recipes.holding.held import Held, Holding
from qcore.recipes.holding.task_contexts import TaskContexts
from qcore.recipes.holding.tickets import nothing_before
from qcore.recipes.key_reads import prefix_of
from qcore.recipes.lease import DEFAULT_MAX_DRIFT, DEFAULT_TTL_S

if TYPE_CHECKING:
    from qcore.kv.kv_client import KeyValue
    from qcore.recipes.holding.tickets import Participant
    from qcore.recipes.lease import Lease


class Lock(TaskContexts):
    """A lock that one holder at a time has, and that survives the end of its holder.

        lock = Lock(kv, "jobs/nightly", ttl_s=10)
        async with lock as held:
            await storage.write(data, fencing_token=held.token)

    **Guarantee.** No two holders pass `Held.check` at the same time, as long as clocks differ in speed by less than
    `max_drift`. Holders get the lock in the order in which they asked for it, and each has a larger fencing token than
    all before it. A check cannot protect a write that leaves the program later. If that matters, the system that takes
    the write must compare tokens.

    - Disconnect: the client tries other nodes. If no keep-alive succeeds in time, the lock is lost, and the task in the
      block is cancelled with `LeaseLost`.
    - Pause of the process: if it is longer than `ttl_s`, the lock is lost. `check` says so as soon as the process runs.
    - Leader change: nothing is lost if it takes less than about two thirds of `ttl_s`.
    - Expiry: another program gets the lock at the earliest when this one has stopped by its clock.
    - Clock jump: without effect, because no wall clock is read.
    - End of the process without a release: the lock is free after at most `ttl_s`.

    One `Lock` may be used by many tasks. Each acquires it for itself.

    Args:
        kv: the keys of the cluster.
        name: names the lock. Its keys are below `lock/NAME//`.
        ttl_s: how long the lock stays taken after its holder has ended, seconds; see `Lease`.
        reentrant: whether a task that holds the lock may acquire it again. The lock is free after as many releases.
        max_drift: see `Lease`.
        lease: a lease to depend on, which the caller opens and closes, in place of a new one for each holder. Then
            `ttl_s` and `max_drift` have no effect.

    Raises:
        ConfigError: an argument is out of its range.
    """

    def __init__(
        self,
        kv: KeyValue,
        name: str,
        *,
        ttl_s: float = DEFAULT_TTL_S,
        reentrant: bool = False,
        max_drift: float = DEFAULT_MAX_DRIFT,
        lease: Lease | None = None,
    ) -> None:
        super().__init__(
            f"lock {name}", no_nesting=None if reentrant else "make it with reentrant=True"
        )
        self.name = name
        self._reentrant = reentrant
        prefix = prefix_of("lock", name)
        self._acquirer = Acquirer(kv, prefix, ttl_s=ttl_s, max_drift=max_drift, lease=lease)
        #: What each task, or other holder, holds. For reentrant locks only.
        self._holdings: dict[object, Holding] = {}

    async def acquire(
        self, *, timeout_s: float | None = None, label: str = "", holder: object = None
    ) -> Held:
        """Acquire the lock, and return it as held. It waits also while the cluster cannot be reached.

        Args:
            timeout_s: how long to wait, seconds; None for any time. If the cluster cannot be reached when it is over,
                this takes up to `ttl_s` longer.
            label: names the program for people; see `line`.
            holder: who acquires a reentrant lock; None for the current task.

        Raises:
            NotAcquired: the time was over first.
            LeaseLost: the shared lease was lost, or, of a reentrant lock, what the holder has already.
            QcoreError: the cluster rejects a request.
        """
        who = self._who(holder)
        if who in self._holdings:
            return self._again(who)
        held = await self._acquirer.acquire(nothing_before, value=label, timeout_s=timeout_s)
        return self._keep(who, held)

    async def try_acquire(self, *, label: str = "", holder: object = None) -> Held | None:
        """Acquire the lock if it is free; None otherwise. The arguments are those of `acquire`.

        Raises:
            QcoreError: the cluster did not answer in time, or rejects a request.
        """
        who = self._who(holder)
        if who in self._holdings:
            return self._again(who)
        held = await self._acquirer.try_acquire(nothing_before, value=label)
        return None if held is None else self._keep(who, held)

    async def line(self) -> list[Participant]:
        """Who holds the lock, and who waits for it, in this order."""
        return await self._acquirer.participants()

    def _who(self, holder: object) -> object:
        return asyncio.current_task() if holder is None else holder

    def _again(self, who: object) -> Held:
        """Another handle for a holder that has the lock already."""
        holding = self._holdings[who]
        holding.ticket.lease.check()
        return Held(holding)

    def _keep(self, who: object, held: Held) -> Held:
        if self._reentrant:
            self._holdings[who] = held.holding
            held.holding.on_release = lambda: self._holdings.pop(who, None)
        return held
