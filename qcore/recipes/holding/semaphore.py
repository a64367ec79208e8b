"""`Semaphore`: a few holders at a time among all programs of a cluster."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from qcore.errors import ConfigError
from qcore.recipes.agreement import Agreement
from qcore.recipes.checked_arguments import check_integer
from qcore.recipes.holding.acquiring import Acquirer
from qcore.recipes.holding.task_contexts import TaskContexts
from qcore.recipes.holding.tickets import WaitFor
from qcore.recipes.key_reads import prefix_of
from qcore.recipes.lease import DEFAULT_MAX_DRIFT, DEFAULT_TTL_S

if TYPE_CHECKING:
    from qcore.kv.key_values import KeyVersion
    from qcore.kv.kv_client import KeyValue
    from qcore.recipes.holding.held import Held
    from qcore.recipes.holding.tickets import Participant
    from qcore.recipes.lease import Lease


class Semaphore(TaskContexts):
    """A number of permits, each of which one holder has at a time.

        semaphore = Semaphore(kv, "licences", permits=3, ttl_s=10)
        async with semaphore as held:
            await work(held.token)

    **Guarantee.** No more than `permits` holders pass `Held.check` at the same time, as long as clocks differ in speed
    by less than `max_drift`. Permits go to participants in the order in which they asked, and a later one has a larger
    token. But holders with different tokens may be right at the same time, so a storage cannot reject by the token.

    - Disconnect: the client tries other nodes. If no keep-alive succeeds in time, the permit is lost, and the task in
      the block is cancelled with `LeaseLost`.
    - Pause of the process: if it is longer than `ttl_s`, the permit is lost. `check` says so as soon as the process
      runs.
    - Leader change: nothing is lost if it takes less than about two thirds of `ttl_s`.
    - Expiry: another program gets the permit at the earliest when this one has stopped by its clock.
    - Clock jump: without effect, because no wall clock is read.
    - End of the process without a release: the permit is free after at most `ttl_s`.

    Each participant that waits is notified of each release, and those whose turn it may be read the line. So a line of
    thousands costs traffic.

    One `Semaphore` may be used by many tasks. Each context takes a permit, also one inside another in the same task.

    Args:
        kv: the keys of the cluster.
        name: names the semaphore. Its tickets are below `semaphore/NAME//`.
        permits: how many may hold it at the same time. The first program writes it to the key
            `semaphore-permits/NAME//`, and all others must have the same. To change it, stop all programs and delete
            this key.
        ttl_s: how long a permit stays taken after its holder has ended, seconds; see `Lease`.
        max_drift: see `Lease`.
        lease: a lease to depend on, which the caller opens and closes, in place of a new one for each holder. Then
            `ttl_s` and `max_drift` have no effect.

    Raises:
        ConfigError: an argument is out of its range, or `permits` is no integer.
    """

    def __init__(
        self,
        kv: KeyValue,
        name: str,
        permits: int,
        *,
        ttl_s: float = DEFAULT_TTL_S,
        max_drift: float = DEFAULT_MAX_DRIFT,
        lease: Lease | None = None,
    ) -> None:
        title = f"semaphore {name}"
        super().__init__(title)
        check_integer(title, "permits", permits)
        if permits < 1:
            raise ConfigError(f"{title}: permits: {permits} is below 1")
        self.name = name
        self.permits = permits
        self._acquirer = Acquirer(
            kv, prefix_of("semaphore", name), ttl_s=ttl_s, max_drift=max_drift, lease=lease
        )
        limit_key = prefix_of("semaphore-permits", name)
        self._agreement = Agreement(kv, limit_key, title=title, what="permits", number=permits)

    async def acquire(self, *, timeout_s: float | None = None, label: str = "") -> Held:
        """Acquire a permit, and return it as held. It waits also while the cluster cannot be reached.

        Args:
            timeout_s: how long to wait, seconds; None for any time. If the cluster cannot be reached when it is over,
                this takes up to `ttl_s` longer.
            label: names the program for people; see `line`.

        Raises:
            ConfigError: another program has another number of permits.
            NotAcquired: the time was over first.
            LeaseLost: the shared lease was lost.
            QcoreError: the cluster rejects a request.
        """
        return await self._acquirer.acquire(
            self._has_permit,
            value=label,
            timeout_s=timeout_s,
            before_joining=self._agreement.confirm,
        )

    async def try_acquire(self, *, label: str = "") -> Held | None:
        """Acquire a permit if one is free and no participant waits for it; None otherwise.

        Raises:
            ConfigError: another program has another number of permits.
            QcoreError: the cluster did not answer in time, or rejects a request.
        """
        await self._agreement.confirm()
        return await self._acquirer.try_acquire(self._has_permit, value=label)

    async def line(self) -> list[Participant]:
        """Who has a permit, and who waits for one, in the order in which they asked. The first `permits` have one."""
        return await self._acquirer.participants()

    def _has_permit(self, before: Sequence[KeyVersion]) -> WaitFor | None:
        """The rule: the first `permits` of the line may go on. For another one, so many before it must end first."""
        too_many = len(before) - self.permits + 1
        return WaitFor(count=too_many) if too_many > 0 else None
