"""`SlotRun`: the run of a job in a slot, which this worker has been given."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Self

from qcore.errors import ConfigError
from qcore.kv.txn_parts import Delete, Put, Range, TxnOperation
from qcore.recipes.checked_arguments import checked_text, kept_text
from qcore.recipes.claims import EndingClaim
from qcore.recipes.key_reads import page_of_txn
from qcore.recipes.lease import LeaseGuard
from qcore.recipes.recipe_errors import LeaseLost
from qcore.recipes.schedules.slot_records import MAX_RESULT, SlotKeys, SlotRecord, SlotState

if TYPE_CHECKING:
    from qcore.kv.key_values import TxnResult
    from qcore.kv.kv_client import KeyValue
    from qcore.recipes.lease import Lease


class SlotRun(EndingClaim):
    """The run of a slot. As a context manager it guards the current task, and ends the slot:

        run = await run_once.try_slot(7)
        if run is not None:
            async with run:
                run.result = await job(run.slot)

    At the end of the block the slot is done. If the block raises an exception, the slot has failed, and the exception
    goes on. If the block is cancelled, the run ends without a result, as if the worker had ended: another worker starts
    the slot again if `retry` is true. If the lease is lost, the task is cancelled, and the context raises `LeaseLost`.

    Args:
        kv, keys: where the slot is.
        lease: the lease of the run, which the run closes.
        record: the record of the slot.
        token: the revision that started the run.

    Attributes:
        slot: the number of the slot.
        attempt: 1 if the slot is started for the first time.
        token: the fencing token. A later run has a larger one. Send it with what the job writes to other systems, and
            let them reject a smaller one than they have seen.
        lease: the lease on which the run depends.
    """

    def __init__(
        self, kv: KeyValue, keys: SlotKeys, lease: Lease, record: SlotRecord, token: int
    ) -> None:
        super().__init__(
            kv,
            lease,
            keys.running,
            token,
            title=f"the run of slot {record.slot} of {keys.name}",
            advice="end each run once",
        )
        self.slot = record.slot
        self.attempt = record.attempt
        self._result = ""
        self._keys = keys
        self._record = record
        self._guard: LeaseGuard | None = None

    @property
    def result(self) -> str:
        """The result of the job, to be kept in the record. 1,000 characters of it are kept.

        Setting it raises `ConfigError` if it is no text.
        """
        return self._result

    @result.setter
    def result(self, text: str) -> None:
        self._result = checked_text("result", text)

    @property
    def time_s(self) -> float:
        """When the slot was due, seconds since the Unix epoch, if its number came from a schedule."""
        return self.slot / 1000

    async def finish(self, result: str | None = None) -> None:
        """The slot is done. When this returns, no worker runs it again. It tries until the lease is lost.

        Args:
            result: a text for the record; None for the attribute `result`.

        Raises:
            LeaseLost: the run has ended before, or its lease was lost before the cluster confirmed.
            ConfigError: the slot has failed, or the result is no text.
        """
        await self._finish(
            "done", self.result if result is None else checked_text("result", result)
        )

    async def fail(self, reason: str | BaseException) -> None:
        """The job has failed. No worker runs the slot again: let the job itself try again what may help.

        Args:
            reason: why, for the record: a text, or an exception.

        Raises:
            LeaseLost, ConfigError: see `finish`.
        """
        await self._finish("failed", reason)

    async def abandon(self) -> None:
        """End the run without a result. If `retry` is true, another worker may start the slot again."""
        await self.lease.close()

    async def __aenter__(self) -> Self:
        """Guard the current task.

        Raises:
            LeaseLost: the lease is lost already.
        """
        self._guard = self.lease.guard()
        try:
            await self._guard.__aenter__()
        except LeaseLost:
            await self.abandon()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._guard is not None, "entered"
        try:
            await self._guard.__aexit__(kind, error, trace)
            if self.is_ended:
                return
            if error is None:
                await self.finish()
            elif isinstance(error, Exception) and self.lease.lost is None:
                # After a loss the slot must stay open, for another worker, even if the cluster does not know it yet.
                # If the run has ended, or `finish` goes on, there is nothing to record. What goes on is the error of
                # the block.
                with contextlib.suppress(LeaseLost, ConfigError):
                    await self.fail(error)
        finally:
            await self.lease.close()

    async def _finish(self, state: SlotState, result: str | BaseException) -> None:
        """End the slot. It goes on if the caller is cancelled."""
        key, text = self._keys.slot(self.slot), kept_text("reason", result, MAX_RESULT)
        ended = replace(self._record, state=state, result=text)

        async def was_by_this(failed: TxnResult) -> bool:
            found = page_of_txn(failed, 0).kvs
            return bool(found) and self._keys.record_of(found[0]) == ended

        parts: list[TxnOperation] = [Put(key, ended.to_text()), Delete(self._keys.running)]
        await self._end_by(state, parts, was_by_this, [Range(key)])
        if self._guard is None:  # else the context closes the lease; it guards its block until then
            await self.lease.close()
