"""`Lease`: a lease that this program keeps alive, and by which it knows when to stop.

    async with Lease(kv, ttl_s=10) as lease:
        await kv.put("alive/worker-7", "yes", lease=lease.lease_id)
        async with lease.guard():
            await work()  # cancelled if the lease is lost

The cluster ends a lease when the cluster clock has run for `ttl_s` since the last keep-alive was *appended to the log*.
The program counts by its own clock from when it *sent* that keep-alive, which is earlier, and subtracts what the two
clocks may differ. So it stops before any other program can see that the lease has ended (Gray and Cheriton, "Leases",
1989, section 3).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from qcore.errors import ConfigError, LeaseNotFound, QcoreError
from qcore.recipes.cancelled_waits import to_its_end
from qcore.recipes.checked_arguments import is_number, shown
from qcore.recipes.recipe_errors import LeaseLost
from qcore.time_limit import time_limit

if TYPE_CHECKING:
    from qcore.kv.kv_client import KeyValue

#: The default time to live, seconds. A new leader is elected in far less.
DEFAULT_TTL_S: Final = 10.0
#: By which share the program's clock may run slower than the cluster clock. Quartz is below 0.0002.
DEFAULT_MAX_DRIFT: Final = 0.01
#: A lease is kept alive this often in its time to live, so two keep-alives may be late.
_KEEPS_PER_TTL: Final = 3
#: The pause before a failed keep-alive is repeated, as a share of the time to live.
_PAUSE_SHARE: Final = 0.02
#: A grant whose answer takes longer than the lease is repeated so many times.
_MAX_GRANTS: Final = 5


class Lease:
    """A lease of the cluster, kept alive by a task. Use it as an async context manager, or call `open` and `close`.

    - Disconnect, or no leader: the client tries the keep-alive again, at other nodes, until the lease is lost.
    - Pause of this process: if it was longer than the lease, `check` raises as soon as the process runs again.
    - Leader change: the cluster clock stands still while there is no leader, so no lease ends in that time. The program
      still stops after `ttl_s`: it cannot know.
    - Expiry: the cluster deletes the keys of the lease. `LeaseLost` says that the cluster ended it.
    - Clock jump: wall clocks are not read. The clock counts the time in which the machine was suspended.

    Args:
        kv: the keys of the cluster.
        ttl_s: how long the lease lives without a keep-alive, seconds. It should be a few times longer than an election
            and `Client.silent_after_s` together.
        max_drift: by which share this computer's clock may run slower than a leader's.

    Raises:
        ConfigError: an argument is out of its range.
    """

    def __init__(
        self,
        kv: KeyValue,
        *,
        ttl_s: float = DEFAULT_TTL_S,
        max_drift: float = DEFAULT_MAX_DRIFT,
    ) -> None:
        if not (is_number(ttl_s) and 0.1 <= ttl_s < 1e9):
            raise ConfigError(
                f"ttl_s: {shown(ttl_s)} is no number of seconds from 0.1 to below 1e9"
            )
        if not (is_number(max_drift) and 0 <= max_drift < 1):
            raise ConfigError(f"max_drift: {shown(max_drift)} is no share from 0 on and below 1")
        self._kv = kv
        self._now_us = kv.runtime.monotonic_us
        self.ttl_s = ttl_s
        #: So long after a keep-alive was sent, the program stops. The cluster counts in milliseconds.
        self._held_us = int(round(1000 * ttl_s) * 1000 * (1 - max_drift))
        self._lease_id = 0
        self._deadline_us = 0
        self._lost: LeaseLost | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[bool] | None = None
        self._is_abandoned = False
        self._on_lost: dict[object, Callable[[LeaseLost], object]] = {}
        self._last_error: QcoreError | None = None
        self._names = 0
        #: Work that goes on after the task that began it was cancelled.
        self._running: dict[asyncio.Task[None], None] = {}

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    # -- what it is ------------------------------------------------------------------------------

    @property
    def lease_id(self) -> int:
        """Its number in the cluster; 0 before `open`."""
        return self._lease_id

    @property
    def lost(self) -> LeaseLost | None:
        """Why the program must not rely on the lease; None while it may.

        It reads the clock, so it is right also after a pause of the process.
        """
        if self._lost is None:
            if not self._lease_id:
                return LeaseLost(
                    "this lease is not open: use it as a context manager, or await its open()"
                )
            if self._now_us() >= self._deadline_us:
                self._lose(self._why_late())
        return self._lost

    def remaining_s(self) -> float:
        """How long the program may rely on the lease if no other keep-alive succeeds, seconds; 0 if it is lost."""
        if self.lost is not None:
            return 0.0
        return max(0, self._deadline_us - self._now_us()) / 1_000_000

    def check(self) -> None:
        """Raise if the program must not rely on the lease any more. It costs no request.

        Raises:
            LeaseLost: the lease has ended, or may have ended.
        """
        lost = self.lost
        if lost is not None:
            raise LeaseLost(str(lost))

    def guard(self) -> LeaseGuard:
        """A context in which the current task relies on the lease; see `LeaseGuard`."""
        return LeaseGuard(self)

    def new_name(self) -> str:
        """A text for a key of this lease, which no other lease and no other call of this method gives."""
        self._names += 1
        return f"{self._lease_id:016x}-{self._names:x}"

    @contextlib.contextmanager
    def calling(self, on_lost: Callable[[LeaseLost], object]) -> Iterator[None]:
        """A context in which the event loop calls `on_lost` once if the lease is lost, or is lost already."""
        registration = object()
        self._on_lost[registration] = on_lost
        try:
            if self._lost is not None:
                self._call_later()
            yield
        finally:
            self._on_lost.pop(registration, None)

    async def wait_lost(self) -> LeaseLost:
        """Wait until the lease is lost, and return why."""
        future: asyncio.Future[LeaseLost] = asyncio.get_running_loop().create_future()

        def lost(why: LeaseLost) -> None:
            if not future.done():
                future.set_result(why)

        with self.calling(lost):
            return await future

    # -- its life --------------------------------------------------------------------------------

    async def open(self) -> None:
        """Grant the lease, and begin to keep it alive.

        Raises:
            ConfigError: it was opened before.
            LeaseLost: each answer of the cluster took longer than the lease.
            QcoreError: the cluster did not grant it.
        """
        if self._lease_id:
            raise ConfigError("this Lease was opened before: make another one")
        for _ in range(_MAX_GRANTS):
            sent_us = self._now_us()
            lease_id = await self._kv.grant(self.ttl_s)
            if self._now_us() < self._deadline_of(sent_us):
                break
        else:
            raise LeaseLost(
                f"{_MAX_GRANTS} times the cluster took longer than {self.ttl_s:g} s to grant a lease of that time: "
                "give a longer ttl_s"
            )
        # In this order, because other threads may ask meanwhile whether it is lost.
        self._deadline_us = self._deadline_of(sent_us)
        self._lease_id = lease_id
        self._loop = asyncio.get_running_loop()
        self._keeper = self._loop.create_task(self._keep(sent_us), name=f"qcore-lease-{lease_id}")

    def run(self, coroutine: Coroutine[object, object, None]) -> asyncio.Task[None]:
        """Run a coroutine as a task, which `close` awaits as long as the lease may live."""
        task = asyncio.get_running_loop().create_task(coroutine)
        self._running[task] = None
        task.add_done_callback(lambda done: self._running.pop(done, None))
        return task

    async def close(self) -> bool:
        """Stop keeping the lease alive, and revoke it, which deletes its keys. May be called again.

        If the cluster cannot be reached, this takes at most as long as the lease may live. Then the lease ends by
        itself. If the caller is cancelled meanwhile, it waits nevertheless, so that nothing stays behind.

        Returns:
            Whether it is known that the keys are deleted, if there was a lease.
        """
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            self._closing = asyncio.get_running_loop().create_task(self._close(keeper))
        if self._closing is None:
            return True
        if self._is_abandoned:
            return False
        try:
            return await to_its_end(self._closing)
        except (
            GeneratorExit
        ):  # Python closes a coroutine outside its task, which must not await a second time
            self._is_abandoned = True
            raise

    async def _close(self, keeper: asyncio.Task[None]) -> bool:
        keeper.cancel()
        await asyncio.wait([keeper])
        patience_s = max(self.remaining_s(), self.ttl_s / _KEEPS_PER_TTL)
        if self._lost is None:
            self._lose("this program has closed the lease")
        if self._running:
            await asyncio.wait(self._running, timeout=patience_s)
        # Whatever fails here, nothing keeps the lease alive any more.
        try:
            async with time_limit(patience_s):
                await self._kv.revoke(self._lease_id)
        except LeaseNotFound:
            return True
        except (QcoreError, TimeoutError):
            return False
        return True

    async def _keep(self, sent_us: int) -> None:
        """Keep the lease alive until it is lost. If it ends by an error, the lease is lost, too."""
        try:
            await self._keep_until_lost(sent_us)
        except Exception as error:
            self._lose(f"lease {self._lease_id} is not kept alive: {type(error).__name__}: {error}")
            raise

    async def _keep_until_lost(self, sent_us: int) -> None:
        every_s = self.ttl_s / _KEEPS_PER_TTL
        while not self._is_lost():
            since_s = (self._now_us() - sent_us) / 1_000_000
            await asyncio.sleep(min(max(0.0, every_s - since_s), self.remaining_s()))
            if self._is_lost():
                return
            attempt_us = self._now_us()
            try:
                async with time_limit(self.remaining_s()):
                    await self._kv.keep_alive(self._lease_id)
            except LeaseNotFound:
                self._lose(f"the cluster has ended lease {self._lease_id}")
            except TimeoutError:
                pass  # the time is over; `lost` says so
            except QcoreError as error:
                self._last_error = error
                await asyncio.sleep(min(_PAUSE_SHARE * self.ttl_s, self.remaining_s()))
            else:
                sent_us = attempt_us
                self._deadline_us = self._deadline_of(sent_us)
                self._last_error = None

    def _is_lost(self) -> bool:
        return self.lost is not None

    def _deadline_of(self, sent_us: int) -> int:
        """When the program stops, if the last keep-alive that succeeded was sent then."""
        return sent_us + self._held_us

    def _why_late(self) -> str:
        if self._last_error is not None:
            why = f"the last attempt ended in: {self._last_error}"
        else:
            why = "this process was stopped, or the cluster did not answer"
        return (
            f"lease {self._lease_id} may have ended: no keep-alive that was sent in the last "
            f"{self._held_us / 1_000_000:.3g} s was confirmed ({why})"
        )

    def _lose(self, why: str) -> None:
        """Note that the lease is lost. Any thread may call this; the event loop calls those who wait for it."""
        self._lost = LeaseLost(why)
        self._call_later()

    def _call_later(self) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._call_all)

    def _call_all(self) -> None:
        calls, self._on_lost = self._on_lost, {}
        why, loop = self._lost or LeaseLost(self._why_late()), asyncio.get_running_loop()
        for (
            call
        ) in calls.values():  # each by itself, so that an error in one does not stop the others
            loop.call_soon(call, why)


class LeaseGuard:
    """A context in which the task that entered it relies on a lease.

    If the lease is lost, the task is cancelled, and the context raises `LeaseLost` with the reason in place of the
    `CancelledError`. If the block ends by itself after the loss, the context raises it, too: what the block did last
    was not protected.

    Args:
        lease: the lease.
    """

    def __init__(self, lease: Lease) -> None:
        self._lease = lease
        self._task: asyncio.Task[object] | None = None
        self._calling: contextlib.AbstractContextManager[None] | None = None
        self._cancelling = 0
        self._is_cancelled = False

    async def __aenter__(self) -> Lease:
        """Begin.

        Raises:
            LeaseLost: it is lost already.
        """
        self._lease.check()
        task = asyncio.current_task()
        if task is None:  # as in `time_limit`
            raise RuntimeError("a guard is for code that runs in a task")
        self._task, self._cancelling = task, task.cancelling()
        self._calling = self._lease.calling(self._cancel)
        self._calling.__enter__()
        return self._lease

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        task = self._task
        if task is None:
            return  # stopped
        self._detach()
        if self._is_cancelled:
            # As in `asyncio.timeout`: if another one has cancelled the task, too, that goes on.
            is_ours = task.uncancel() <= self._cancelling
            if is_ours and isinstance(error, asyncio.CancelledError):
                raise LeaseLost(str(self._lease.lost)) from error
        if error is None:
            self._lease.check()

    @property
    def is_of_current_task(self) -> bool:
        """Whether the current task has entered it, and not left it."""
        return self._task is asyncio.current_task()

    def stop(self) -> None:
        """End the reliance on the lease within the block: nothing cancels the task any more.

        Without effect if the task was cancelled: the end of the context says why.
        """
        if not self._is_cancelled:
            self._detach()

    def _detach(self) -> None:
        if self._calling is not None:
            self._calling.__exit__(None, None, None)
        self._calling = self._task = None

    def _cancel(self, why: LeaseLost) -> None:
        if self._task is not None and not self._is_cancelled:
            self._is_cancelled = True
            self._task.cancel(str(why))
