"""`SyncRunOnce`: `RunOnce` for programs without asyncio.

SyncRunOnce(client, "reports/nightly", ttl_s=30, retry=True).run(report, every_s=3600)
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, NoReturn, Self

from qcore.client.synchronous.sync_facade import SyncFacade, sync_cleanup, sync_method
from qcore.kv.kv_client import KeyValue
from qcore.recipes.lease import DEFAULT_MAX_DRIFT, DEFAULT_TTL_S
from qcore.recipes.recipe_errors import LeaseLost
from qcore.recipes.schedules.run_once import RunOnce
from qcore.recipes.schedules.slot_run import SlotRun
from qcore.recipes.schedules.slot_times import NextTime
from qcore.recipes.synchronous.sync_claim import SyncClaim

if TYPE_CHECKING:
    from qcore.client.synchronous.sync_client import SyncClient


class SyncSlotRun(SyncClaim[SlotRun]):
    """The run of a slot: see `SlotRun`. As a context manager it ends the slot as `SlotRun` does.

    Nothing can stop the thread of the job if the lease is lost. So call `check` before whatever must not happen twice
    at the same time.
    """

    finish = sync_cleanup(SlotRun.finish)
    fail = sync_cleanup(SlotRun.fail)
    abandon = sync_cleanup(SlotRun.abandon)

    @property
    def slot(self) -> int:
        """See `SlotRun`."""
        return self._wrapped.slot

    @property
    def time_s(self) -> float:
        """See `SlotRun.time_s`."""
        return self._wrapped.time_s

    @property
    def attempt(self) -> int:
        """See `SlotRun`."""
        return self._wrapped.attempt

    @property
    def is_ended(self) -> bool:
        """See `SlotRun.is_ended`."""
        return self._wrapped.is_ended

    @property
    def result(self) -> str:
        """See `SlotRun`."""
        return self._wrapped.result

    @result.setter
    def result(self, text: str) -> None:
        self._wrapped.result = text

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the slot.

        Raises:
            LeaseLost: the block has ended without an error, and the run had ended before.
        """
        try:
            if self.is_ended:
                return
            if error is None:
                self.finish()
            elif isinstance(error, Exception) and self.lost is None:
                # If the run has ended, there is nothing to record. What goes on is the error of the block.
                with contextlib.suppress(LeaseLost):
                    self.fail(error)
        finally:
            self.abandon()


class SyncRunOnce(SyncFacade[RunOnce]):
    """The methods of `RunOnce`, run to their end.

    Args:
        client: a client, which the caller closes.
        name, ttl_s, retry, catch_up, keep_slots, max_drift: see `RunOnce`.

    Raises:
        ConfigError: an argument is out of its range.
    """

    def __init__(
        self,
        client: SyncClient,
        name: str,
        *,
        ttl_s: float = DEFAULT_TTL_S,
        retry: bool,
        catch_up: int = 0,
        keep_slots: int = 20,
        max_drift: float = DEFAULT_MAX_DRIFT,
    ) -> None:
        run_once = RunOnce(
            KeyValue(client.asynchronous),
            name,
            ttl_s=ttl_s,
            retry=retry,
            catch_up=catch_up,
            keep_slots=keep_slots,
            max_drift=max_drift,
        )
        super().__init__(run_once, client)

    records = sync_method(RunOnce.records)
    forget = sync_method(RunOnce.forget)

    def run(
        self,
        job: Callable[[SyncSlotRun], str | None],
        *,
        every_s: float | None = None,
        schedule: NextTime | None = None,
        on_error: Callable[[SyncSlotRun, Exception], object] | None = None,
    ) -> NoReturn:
        """Run a job in the slots that this worker is given, in the calling thread, without end.

        Args:
            job: a function of the run. Its result, a text or None, is kept in the record. Any other result is an error,
                and the slot has failed.
            every_s, schedule, on_error: see `RunOnce.run`.

        Raises:
            ConfigError, QcoreError: see `RunOnce.run`.
        """
        while True:
            run = self.wait_slot(every_s=every_s, schedule=schedule)
            try:
                with run:
                    result = job(run)
                    run.result = "" if result is None else result
            except Exception as error:
                if on_error is not None:
                    on_error(run, error)
                elif not (isinstance(error, LeaseLost) and not run.is_ended):
                    raise

    def wait_slot(
        self, *, every_s: float | None = None, schedule: NextTime | None = None
    ) -> SyncSlotRun:
        """See `RunOnce.wait_slot`."""
        waiting = self._wrapped.wait_slot(every_s=every_s, schedule=schedule)
        run = self._runner.run(waiting, undo=SlotRun.abandon)
        return SyncSlotRun(run, self._runner)

    def try_slot(self, slot: int) -> SyncSlotRun | None:
        """See `RunOnce.try_slot`."""
        run = self._runner.run(self._wrapped.try_slot(slot), undo=_abandon)
        return None if run is None else SyncSlotRun(run, self._runner)


async def _abandon(run: SlotRun | None) -> None:
    """Abandon a run that began when Ctrl-C came."""
    if run is not None:
        await run.abandon()
