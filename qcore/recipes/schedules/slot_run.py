"""`SlotRun`: the run of a job in a slot, which this worker has been given."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Self

from qcore.errors import ConfigError, QcoreError
from qcore.kv.txn_parts import Condition, Delete, Put, Range, TxnOperation
from qcore.recipes.checked_arguments import checked_text, kept_text
from qcore.recipes.key_reads import page_of_txn
from qcore.recipes.lease import LeaseGuard
from qcore.recipes.outliving import outlive
from qcore.recipes.recipe_errors import LeaseLost, is_temporary
from qcore.recipes.retries import PAUSE_S
from qcore.recipes.schedules.slot_records import MAX_RESULT, SlotKeys, SlotRecord, SlotState

if TYPE_CHECKING:
    from qcore.kv.kv_client import KeyValue
    from qcore.recipes.lease import Lease


class SlotRun:
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
        self.slot = record.slot
        self.attempt = record.attempt
        self.token = token
        self.lease = lease
        self._result = ""
        self._kv = kv
        self._keys = keys
        self._record = record
        self._guard: LeaseGuard | None = None
        self._end: SlotState = "started"
        #: Whether the cluster may have ended the run by a request of this object.
        self._is_sent = False
        self._ending = asyncio.Lock()

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

    @property
    def condition(self) -> Condition:
        """A condition of `KeyValue.txn`: the transaction takes effect only as long as this run goes on.

        For writes to the same cluster it takes the place of a comparison of tokens.
        """
        return Condition.number("create_revision", self._keys.running, "=", self.token)

    @property
    def is_ended(self) -> bool:
        """Whether `finish` or `fail` has succeeded."""
        return self._end != "started"

    @property
    def lost(self) -> LeaseLost | None:
        """Why the job must not go on: the lease has ended, or the slot has. None while it runs."""
        if self.is_ended:
            return LeaseLost(f"slot {self.slot} of {self._keys.name} is {self._end}")
        if self._is_sent:
            return LeaseLost(f"slot {self.slot} of {self._keys.name} is being ended")
        return self.lease.lost

    def check(self) -> None:
        """Raise if the job must not go on. It costs no request.

        Raises:
            LeaseLost: another worker may run the job.
        """
        lost = self.lost
        if lost is not None:
            raise LeaseLost(str(lost))

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
        text = kept_text("reason", result, MAX_RESULT)
        await outlive(self.lease, self._finish_once(state, text))
        if self._guard is None:  # else the context closes the lease; it guards its block until then
            await self.lease.close()

    async def _finish_once(self, state: SlotState, result: str) -> None:
        async with self._ending:
            if self.is_ended and self._end != state:
                raise ConfigError(
                    f"slot {self.slot} of {self._keys.name} is {self._end}: end each run once"
                )
            if not self.is_ended:
                await self._try_finish(state, result)

    async def _try_finish(self, state: SlotState, result: str) -> None:
        key = self._keys.slot(self.slot)
        ended = replace(self._record, state=state, result=result)
        parts: list[TxnOperation] = [Put(key, ended.to_text()), Delete(self._keys.running)]
        may_be_done = False
        while True:
            self._is_sent = True
            try:
                done = await self._kv.txn([self.condition], parts, [Range(key)])
            except QcoreError as error:
                if not is_temporary(error):
                    self._is_sent = may_be_done
                    raise
                may_be_done = True
                # Whether the run goes on is for the cluster to say, so it was asked at least once.
                if self.lease.lost is not None:
                    raise LeaseLost(
                        f"whether slot {self.slot} of {self._keys.name} is {state} is not known: the lease was lost "
                        "before the cluster confirmed it"
                    ) from error
                await asyncio.sleep(PAUSE_S)
                continue
            # An attempt whose answer got lost has left this record.
            found = [] if done.succeeded else page_of_txn(done, 0).kvs
            if done.succeeded or (found and self._keys.record_of(found[0]) == ended):
                self._end = state
                return
            raise LeaseLost(
                f"slot {self.slot} of {self._keys.name} is not {state}: the run has ended before, and another worker "
                "may run the job"
            )
