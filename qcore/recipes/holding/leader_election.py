"""`LeaderElection`: one leader among the workers of a program."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from qcore.recipes.holding.acquiring import Acquirer
from qcore.recipes.holding.tickets import Participant, nothing_before
from qcore.recipes.key_reads import prefix_of
from qcore.recipes.lease import DEFAULT_MAX_DRIFT, DEFAULT_TTL_S
from qcore.recipes.recipe_errors import LeaseLost

if TYPE_CHECKING:
    from qcore.kv.kv_client import KeyValue
    from qcore.recipes.holding.held import Held
    from qcore.recipes.lease import Lease

_T = TypeVar("_T")


class LeaderElection:
    """Elects one leader among the workers that campaign, and another one when it ends.

        election = LeaderElection(kv, "scheduler", candidate="10.0.0.7:9000")
        async with election.lead() as leadership:
            await schedule(leadership.token)

    or, for a worker that always campaigns again:

        await election.run(schedule)  # schedule(leadership) is cancelled when the leadership is lost

    **Guarantee.** No two workers pass `Held.check` of their leadership at the same time, as long as clocks differ
    in speed by less than `max_drift`. Workers lead in the order in which they began to campaign. Each leader has a
    larger fencing token than all before it. What a leader does must end soon after it is cancelled, or carry the token.

    - Disconnect: if no keep-alive succeeds in time, the leadership is lost, and the task is cancelled with `LeaseLost`.
    - Pause of the process: if it is longer than `ttl_s`, another worker leads. `check` says so as soon as the process
      runs.
    - Leader change of the cluster: nothing is lost if it takes less than about two thirds of `ttl_s`. The leader of the
      cluster has nothing to do with this leader.
    - Expiry: another worker leads at the earliest when this one has stopped by its clock.
    - Clock jump: without effect, because no wall clock is read.
    - End of the process without a release: another worker leads after at most `ttl_s`.

    Args:
        kv: the keys of the cluster.
        name: names the election. Its keys are below `election/NAME//`.
        candidate: what observers learn of this worker, such as its address.
        ttl_s: how long no worker leads after a leader has ended without notice, seconds; see `Lease`.
        max_drift: see `Lease`.
        lease: a lease to depend on, which the caller opens and closes, in place of a new one for each campaign. Then
            `ttl_s` and `max_drift` have no effect.

    Raises:
        ConfigError: an argument is out of its range.
    """

    def __init__(
        self,
        kv: KeyValue,
        name: str,
        *,
        candidate: str = "",
        ttl_s: float = DEFAULT_TTL_S,
        max_drift: float = DEFAULT_MAX_DRIFT,
        lease: Lease | None = None,
    ) -> None:
        self.name = name
        self.candidate = candidate
        prefix = prefix_of("election", name)
        self._acquirer = Acquirer(kv, prefix, ttl_s=ttl_s, max_drift=max_drift, lease=lease)

    # -- candidates ------------------------------------------------------------------------------

    async def campaign(self, *, timeout_s: float | None = None) -> Held:
        """Campaign, and return the leadership. Its `release` resigns.

        Args:
            timeout_s: how long to campaign, seconds; None for any time.

        Raises:
            NotAcquired: the time was over first.
            LeaseLost: the shared lease was lost.
            QcoreError: the cluster rejects a request.
        """
        return await self._acquirer.acquire(
            nothing_before, value=self.candidate, timeout_s=timeout_s
        )

    @contextlib.asynccontextmanager
    async def lead(self, *, timeout_s: float | None = None) -> AsyncIterator[Held]:
        """Campaign, and lead within the context, which guards the current task. Its end resigns.

        Raises:
            NotAcquired, QcoreError: see `campaign`.
            LeaseLost: the leadership was lost.
        """
        async with await self.campaign(timeout_s=timeout_s) as leadership:
            yield leadership

    async def run(
        self,
        serve: Callable[[Held], Awaitable[object]],
        *,
        on_elected: Callable[[Held], object] | None = None,
        on_lost: Callable[[LeaseLost], object] | None = None,
    ) -> None:
        """Campaign, and run `serve` while this worker leads; campaign again whenever the leadership is lost.

        It ends when `serve` returns or raises an error; then it resigns. `serve` may also resign before, by `release`.

        Args:
            serve: what a leader does. It is cancelled when the leadership is lost.
            on_elected: called before `serve`. It may be a coroutine function.
            on_lost: called with the reason after `serve` has ended. It may be a coroutine function.

        Raises:
            LeaseLost: the shared lease was lost.
            QcoreError: the cluster rejects a request.
        """
        while True:
            leadership = await self.campaign()
            lost: LeaseLost | None = None
            try:
                async with leadership:
                    try:
                        await _call(on_elected, leadership)
                        await serve(leadership)
                    finally:
                        lost = None if leadership.is_released else leadership.lost
                return
            except LeaseLost:
                if lost is None:
                    raise  # of another lease, on which `serve` relies
            await _call(on_lost, lost)

    # -- observers -------------------------------------------------------------------------------

    async def leader(self) -> Participant | None:
        """Who leads now; None if no worker does.

        A leader that has ended without notice is still named until its lease ends.
        """
        line = await self._acquirer.participants()
        return line[0] if line else None

    async def observe(self) -> AsyncIterator[Participant | None]:
        """Who leads: now, and whenever that changes. Tokens never go back.

        It goes on while the cluster cannot be reached.

        Raises:
            QcoreError: the cluster rejects a request.
        """
        known: Participant | None = None
        is_first = True
        async for line in self._acquirer.lines():
            leader = line[0] if line else None
            if is_first or leader != known:
                yield leader
            known, is_first = leader, False


async def _call(call: Callable[[_T], object] | None, value: _T) -> None:
    if call is not None:
        answer = call(value)
        if inspect.isawaitable(answer):
            await answer
