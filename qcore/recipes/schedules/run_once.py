"""`RunOnce`: one of many workers runs a job in each time slot, as a distributed cron does."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from qcore.errors import ConfigError, QcoreError
from qcore.kv.txn_parts import Condition, Delete, Put, Range, TxnOperation
from qcore.recipes.checked_arguments import shown, whole_number
from qcore.recipes.key_reads import page_of_txn, read_again_when_resumed
from qcore.recipes.lease import DEFAULT_MAX_DRIFT, DEFAULT_TTL_S, Lease
from qcore.recipes.recipe_errors import LeaseLost, is_temporary
from qcore.recipes.retries import PAUSE_S
from qcore.recipes.schedules.slot_records import SlotKeys, SlotRecord, SlotsSeen
from qcore.recipes.schedules.slot_run import SlotRun
from qcore.recipes.schedules.slot_times import NextTime, SlotTimes, slot_times
from qcore.time_limit import time_limit

if TYPE_CHECKING:
    from qcore.kv.kv_client import KeyValue

#: What runs in a slot. Its result is kept in the record of the slot.
Job = Callable[[SlotRun], Awaitable[str | None] | str | None]
#: Learns of a run that raised an exception.
OnError = Callable[[SlotRun, Exception], object]

#: The wall clock is read again so often while a worker waits for a slot, because it may jump. Seconds.
_CLOCK_EVERY_S: Final = 1.0
#: Workers look for a slot that is due at random times within this, so that few of them try to start it. Seconds.
_SPREAD_S: Final = 0.05


class RunOnce:
    """A job that one of many workers runs in each time slot.

        run_once = RunOnce(kv, "reports/nightly", ttl_s=30, retry=True)
        await run_once.run(report, every_s=3600)  # in each worker; without end

    **Guarantee.** A slot never starts after a later one has started, whatever clocks say. No two runs of the job are at
    work at the same time, as long as clocks differ in speed by less than `max_drift`; also not in different slots.

    - With `retry=False` a slot starts *at most once*. If its worker ends, the slot stays without a result.
    - With `retry=True` a slot that was started runs *at least once* to its end: if its worker ends or loses its lease,
      another worker starts it again, before any later slot. No worker starts it after its end was confirmed. A job that
      ends each worker that runs it does so again and again.

    A job that raises an exception has an end: the slot has failed, and does not run again.

    - Disconnect: the client tries other nodes. If no keep-alive succeeds in time, the job is cancelled.
    - Pause of the process: if it is longer than `ttl_s`, the same, as soon as the process runs again.
    - Leader change: nothing is lost if it takes less than about two thirds of `ttl_s`.
    - Expiry: another run starts at the earliest when this worker has stopped by its clock.
    - Clock jump: the wall clock decides when a slot is due. The worker whose clock is ahead of the others starts it.
      Forward: the slots in between are missed, or started late (`catch_up`). Backward: no slot runs again; the next one
      runs when a worker's clock has reached it. After a clock was far ahead, call `forget`.
    - End of the process: the next run starts after at most `ttl_s`.

    A slot is missed if no worker runs, or another run takes so long, until the next slot is due. A run that never ends
    keeps all later ones away: give the job a time limit.

    Args:
        kv: the keys of the cluster.
        name: names the job. Its keys are below `run_once/NAME//`.
        ttl_s: how long the next run waits after the worker of this one has ended, seconds; see `Lease`.
        retry: whether a slot whose worker has ended is started again. Give the same in all workers.
        catch_up: how many missed slots are started late, the newest ones, in their order.
        keep_slots: of so many slots the records are kept.
        max_drift: see `Lease`.

    Raises:
        ConfigError: an argument is out of its range.
    """

    def __init__(
        self,
        kv: KeyValue,
        name: str,
        *,
        ttl_s: float = DEFAULT_TTL_S,
        retry: bool,
        catch_up: int = 0,
        keep_slots: int = 20,
        max_drift: float = DEFAULT_MAX_DRIFT,
    ) -> None:
        if not isinstance(retry, bool):
            raise ConfigError(f"retry: {shown(retry)} is neither True nor False")
        self.name = name
        self._kv = kv
        self._keys = SlotKeys(name)
        self._ttl_s = ttl_s
        self._retry = retry
        self._catch_up = whole_number("catch_up", catch_up, 0, 10_000)
        self._keep_slots = whole_number("keep_slots", keep_slots, 1, 1000)
        self._max_drift = max_drift
        self._random = kv.runtime.new_rng()
        self._new_lease()  # checks the arguments now

    # -- runs ------------------------------------------------------------------------------------

    async def run(
        self,
        job: Job,
        *,
        every_s: float | None = None,
        schedule: NextTime | None = None,
        on_error: OnError | None = None,
    ) -> None:
        """Run a job in the slots that this worker is given, without end. Cancel the task to stop it.

        Args:
            job: a function of the `SlotRun`, which should be asynchronous: while another one runs, nothing keeps the
                lease alive. Its result, a text or None, is kept in the record. Any other result is an error, and the
                slot has failed.
            every_s: a slot is due at each multiple of this since the Unix epoch, seconds.
            schedule: in place of `every_s`, a function that gives the next time after a time, both in seconds since the
                Unix epoch. With the package `cronsim`, each night at three:
                `lambda t: next(CronSim("0 3 * * *", datetime.fromtimestamp(t, UTC))).timestamp()`
            on_error: called with each run that raised an exception, which may be `LeaseLost`, and the exception. By
                default an exception of the job ends this method, and a lost lease does not.

        Raises:
            ConfigError: the slots are not as `every_s` and `schedule` say.
            QcoreError: the cluster rejects a request.
        """
        times = slot_times(every_s, schedule)
        while True:
            run = await self._next_run(times)
            try:
                async with run:
                    result = job(run)
                    if inspect.isawaitable(result):
                        result = await result
                    run.result = "" if result is None else result
            except Exception as error:
                if on_error is not None:
                    on_error(run, error)
                elif not (isinstance(error, LeaseLost) and not run.is_ended):
                    raise

    async def wait_slot(
        self, *, every_s: float | None = None, schedule: NextTime | None = None
    ) -> SlotRun:
        """Wait until this worker is given a slot, and start it. It waits also while the cluster cannot be reached.

        If no slot was ever started, the first one is the next that is due.

        Args:
            every_s, schedule: see `run`.

        Raises:
            ConfigError, QcoreError: see `run`.
        """
        return await self._next_run(slot_times(every_s, schedule))

    async def try_slot(self, slot: int) -> SlotRun | None:
        """Start a slot; None if it is another worker's, or its turn is over.

        It is for programs with their own slots. A slot can be started if it is later than all that were started before
        and no run goes on. With `retry=True` also the last one, if it has no end.

        Args:
            slot: its number, at least 0. Later slots must have larger ones.

        Raises:
            ConfigError: the number is out of its range.
            LeaseLost: each answer of the cluster took longer than the lease.
            QcoreError: the cluster did not answer in time, or rejects a request.
        """
        whole_number("slot", slot, 0, 10**20 - 1)
        seen = await self._keys.read(self._kv)
        if seen.running is not None:
            return None
        newest = seen.records[-1] if seen.records else None
        if newest is None or slot > newest.slot or (slot == newest.slot and self._is_open(newest)):
            return await self._start(slot, seen)
        return None

    # -- records ---------------------------------------------------------------------------------

    async def records(self) -> list[SlotRecord]:
        """What is known about the last slots that were started, the oldest first."""
        return (await self._keys.read(self._kv)).records

    async def forget(self) -> None:
        """Delete the records of all slots, for example after a worker's clock was far ahead.

        Slots that have run may run again.
        """
        await self._kv.delete(prefix=self._keys.slots)

    # -- how a slot is given ---------------------------------------------------------------------

    async def _next_run(self, times: SlotTimes) -> SlotRun:
        began = self._now_ms()
        while True:
            try:
                seen = await self._keys.read(self._kv)
                now = self._now_ms()
                slot = self._choose(times, seen, began, now)
                if slot is not None and seen.running is None:
                    run = await self._start(slot, seen)
                    if run is not None:
                        return run
                elif seen.running is None:
                    await self._wait_clock(times.next_due(now))
                else:
                    await self._wait_end(seen, times.next_due(now) if slot is None else None)
            except QcoreError as error:
                if not (is_temporary(error) or isinstance(error, LeaseLost)):
                    raise
                await asyncio.sleep(PAUSE_S)

    def _choose(self, times: SlotTimes, seen: SlotsSeen, began: int, now: int) -> int | None:
        """The slot that is to be started next; None if none is due."""
        newest = seen.records[-1] if seen.records else None
        if newest is not None and self._is_open(newest):
            return newest.slot if seen.running is None else None
        after = min(began, now) if newest is None else newest.slot
        due = times.due(after, now, self._catch_up + 1) if after < now else []
        return due[0] if due else None

    def _is_open(self, newest: SlotRecord) -> bool:
        """Whether the slot that was started last is to be started again when no run goes on."""
        return self._retry and newest.state == "started"

    async def _wait_clock(self, due: int) -> None:
        """Wait until the wall clock has reached a time."""
        while (remaining_s := self._remaining_s(due)) > 0:  # noqa: ASYNC110 - nothing reports that a clock jumps
            await asyncio.sleep(remaining_s)
        await asyncio.sleep(self._random.uniform(0, _SPREAD_S))

    async def _wait_end(self, seen: SlotsSeen, due: int | None) -> None:
        """Wait until the run that goes on ends, or the wall clock has reached a time."""
        revision = seen.revision + 1
        watch = self._kv.watch(self._keys.running, from_revision=revision, kinds=["delete"])
        async with read_again_when_resumed(watch) as changes:
            while True:
                remaining_s = None if due is None else self._remaining_s(due)
                if remaining_s == 0:
                    break
                with contextlib.suppress(TimeoutError):
                    async with time_limit(remaining_s):
                        await changes.next_change()
                        return
        await asyncio.sleep(self._random.uniform(0, _SPREAD_S))

    def _remaining_s(self, due: int) -> float:
        """How long to wait before the wall clock is read again, seconds; 0 if it has reached a time."""
        return min(max(0, due - self._now_ms()) / 1000, _CLOCK_EVERY_S)

    async def _start(self, slot: int, seen: SlotsSeen) -> SlotRun | None:
        """Start a slot, if no other slot was started since it was chosen, and no run goes on."""
        lease = self._new_lease()
        await lease.open()
        try:
            run = await self._try_start(slot, seen, lease)
        except BaseException:
            await lease.close()
            raise
        if run is None:
            await lease.close()
        return run

    async def _try_start(self, slot: int, seen: SlotsSeen, lease: Lease) -> SlotRun | None:
        before = [each.attempt for each in seen.records if each.slot == slot]
        record = SlotRecord(slot, "started", sum(before) + 1, "", lease.new_name())
        parts = self._parts_of_start(record, seen, lease)
        while True:
            lease.check()
            try:
                done = await self._kv.txn(self._is_free(seen), parts, [Range(self._keys.running)])
            except QcoreError as error:
                if not is_temporary(error):
                    raise
                await asyncio.sleep(PAUSE_S)  # it may have taken effect; the condition finds out
                continue
            if done.succeeded:
                return SlotRun(self._kv, self._keys, lease, record, done.revision)
            running = page_of_txn(done, 0).kvs
            if running and running[0].value == record.worker.encode():
                return SlotRun(self._kv, self._keys, lease, record, running[0].create_revision)
            return None

    def _parts_of_start(
        self, record: SlotRecord, seen: SlotsSeen, lease: Lease
    ) -> list[TxnOperation]:
        parts: list[TxnOperation] = [
            Put(self._keys.running, record.worker, lease.lease_id),
            Put(self._keys.slot(record.slot), record.to_text()),
        ]
        others = [each.slot for each in seen.records if each.slot != record.slot]
        excess = others[: max(0, len(others) + 1 - self._keep_slots)]
        if excess:
            parts.append(Delete(self._keys.slots, end=self._keys.slot(excess[-1] + 1)))
        return parts

    def _is_free(self, seen: SlotsSeen) -> list[Condition]:
        """No run goes on, and no slot was started since the records were read."""
        unchanged = Condition.number("mod_revision", self._keys.slots, "<", seen.revision + 1)
        return [Condition.exists(self._keys.running, False), unchanged.for_prefix()]

    def _now_ms(self) -> int:
        return self._kv.runtime.wall_us() // 1000

    def _new_lease(self) -> Lease:
        return Lease(self._kv, ttl_s=self._ttl_s, max_drift=self._max_drift)
