"""Two locks on `KeyValue` alone, which prove the drill: it must find two holders of the naive one.

Both use the same requests. Each holder records `acquired` once and `held` again and again, with its token: the revision
at which it got the lock, so a later holder has a greater one.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

from pydantic import JsonValue

from qcore.client.programs.program_context import ProgramContext
from qcore.errors import LeaseNotFound, QcoreError
from qcore.kv import Condition, KeyValue, Put

#: The time to live of the leases, and the pauses between two records and two keep-alives, seconds.
TTL_S: Final = 0.5
_PAUSE_S: Final = 0.05
_KEEP_S: Final = 0.15
#: How long a request may take, seconds.
_TIMEOUT_S: Final = 2.0
#: How long the holder of the careful lock holds it at most, seconds.
_HOLD_S: Final = 2.0
#: The part of a lease on which its holder relies: the clocks of holder and leader may differ.
_RELIABLE: Final = 0.98


async def both_locks(ctx: ProgramContext) -> None:
    """Use the naive lock and the careful one at the same time."""
    async with asyncio.TaskGroup() as group:
        group.create_task(naive_lock(ctx))
        group.create_task(careful_lock(ctx))


async def naive_lock(ctx: ProgramContext) -> None:
    """Hold a lock until the program ends. Wrong: the holder never asks whether its lease has ended."""
    await _LockClient(ctx, "naive", is_careful=False).run()


async def careful_lock(ctx: ProgramContext) -> None:
    """The same lock. Its holder stops by its own clock, counted from the sending of the last keep-alive."""
    await _LockClient(ctx, "careful", is_careful=True).run()


@dataclass
class _Holding:
    """The lock, held.

    Attributes:
        lease: the lease.
        token: greater than that of each earlier holder.
        until_us: when the lease may end, by the clock of this client.
    """

    lease: int
    token: int
    until_us: float


class _LockClient:
    """One client that acquires a lock again and again."""

    def __init__(self, ctx: ProgramContext, name: str, *, is_careful: bool) -> None:
        self._ctx = ctx
        self._kv = KeyValue(ctx.client, timeout_s=_TIMEOUT_S)
        self._runtime = ctx.client.runtime
        self._name = name
        self._is_careful = is_careful

    async def run(self) -> None:
        """Acquire the lock, hold it and release it, until the program is cancelled."""
        while True:
            try:
                holding = await self._acquire()
                if holding is not None:
                    await self._hold(holding)
                    await self._kv.revoke(holding.lease)
            except QcoreError as error:
                self._record("missed", self._runtime.seconds(), error=error.code)
            await asyncio.sleep(_PAUSE_S)

    async def _acquire(self) -> _Holding | None:
        key = f"lock/{self._name}"
        if await self._kv.get(key) is not None:
            return None
        until_us = self._deadline_us()
        lease = await self._kv.grant(TTL_S)
        done = await self._kv.txn([Condition.exists(key, False)], [Put(key, "", lease)])
        if not done.succeeded:
            await self._kv.revoke(lease)
            return None
        self._record("acquired", self._runtime.seconds(), token=done.revision)
        return _Holding(lease, done.revision, until_us)

    def _deadline_us(self) -> float:
        """When a lease may end that begins now or later."""
        return self._runtime.monotonic_us() + _RELIABLE * TTL_S * 1e6

    async def _hold(self, holding: _Holding) -> None:
        keeping = asyncio.ensure_future(self._keep_alive(holding))
        steps = self._ctx.random.randint(1, round(_HOLD_S / _PAUSE_S))
        try:
            while not self._is_careful or steps > 0:
                at = self._runtime.seconds()
                if self._is_careful and self._runtime.monotonic_us() >= holding.until_us:
                    self._record("lost", at, token=holding.token)
                    return
                self._record("held", at, token=holding.token)
                steps -= 1
                await asyncio.sleep(_PAUSE_S)
        finally:
            keeping.cancel()

    async def _keep_alive(self, holding: _Holding) -> None:
        while True:
            await asyncio.sleep(_KEEP_S)
            until_us = self._deadline_us()
            try:
                await self._kv.keep_alive(holding.lease)
                holding.until_us = until_us
            except LeaseNotFound:
                holding.until_us = 0  # which the naive holder does not look at
                return
            except QcoreError as error:
                self._record("missed", self._runtime.seconds(), error=error.code)

    def _record(self, what: str, at: float, **details: JsonValue) -> None:
        self._ctx.record(what, at=at, name=self._name, **details)
