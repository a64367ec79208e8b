"""Client programs that count with what `qcore.Client` promises: writes that take effect once, and watches without gaps.

workload: {program: "qcore.client.programs.counter_program:counters"}

Each client has a separate counter, which only this client changes, always by one. So it knows which values its writes
may return, and which value a watch must show next.
"""

from __future__ import annotations

import asyncio
import json
from typing import Final

from pydantic import JsonValue

from qcore.client.methods.call_options import Consistency
from qcore.client.programs.program_context import ExpectationFailed, ProgramContext
from qcore.client.sessions.session import ClientSession
from qcore.errors import (
    OutcomeUnknown,
    QcoreError,
    SequenceRefused,
    SessionExpired,
    WatchCompacted,
)

#: The shares of reads, of writes in a session that the program opened, and of several writes at the same time.
_READS: Final = 0.25
_OWN_SESSION: Final = 0.3
_TOGETHER: Final = 0.3
#: How often the program does not take changes from a watch for a while, and how long at most, seconds.
_SLOW_READS: Final = 0.1
_SLOW_S: Final = 1.0
_CONSISTENCIES: Final[tuple[Consistency, ...]] = ("linearizable", "lease", "follower")
#: The mean pause between two operations, and how long one may take, seconds.
_PAUSE_S: Final = 0.05
_TIMEOUT_S: Final = 4.0


async def counters(ctx: ProgramContext) -> None:
    """Count and watch until the program is cancelled. An operation that fails is not an error of the program.

    Raises:
        ExpectationFailed: a write took effect twice or was lost, or a watch has a gap or shows a change twice.
    """
    counter = _Counter(ctx)
    tasks = [asyncio.ensure_future(counter.count()), asyncio.ensure_future(counter.watch())]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


class _Counter:
    """The counter of one client.

    Attributes:
        known: how many additions were acknowledged.
        possible: how many additions may have taken effect: those, and those of unknown outcome.
    """

    def __init__(self, ctx: ProgramContext) -> None:
        self._ctx = ctx
        self._key = f"c{ctx.number}"
        self._session: ClientSession | None = None
        self.known = self.possible = 0

    async def count(self) -> None:
        """Add and read, for ever."""
        ctx = self._ctx
        while True:
            try:
                if ctx.random.random() < _READS:
                    await self._read()
                else:
                    together = ctx.random.randint(2, 4) if ctx.random.random() < _TOGETHER else 1
                    session = await self._chosen_session()
                    await asyncio.gather(*(self._add(session) for _ in range(together)))
            except QcoreError as error:
                ctx.record("failed", code=error.code)
            await asyncio.sleep(ctx.random.expovariate(1 / _PAUSE_S))

    async def _chosen_session(self) -> ClientSession | None:
        """The program's own session; None for one that the client opens by itself."""
        if self._ctx.random.random() >= _OWN_SESSION:
            return None
        if self._session is None:
            self._session = await self._ctx.client.open_session()
        return self._session

    async def _add(self, session: ClientSession | None) -> None:
        ctx, least = self._ctx, self.known + 1
        self.possible += 1
        try:
            value = self._value(
                await ctx.client.execute(
                    json.dumps({"op": "add", "key": self._key, "amount": 1}),
                    session=session,
                    timeout_s=_TIMEOUT_S,
                )
            )
        except (OutcomeUnknown, SessionExpired) as error:
            if isinstance(error, SessionExpired):
                self._session = None
            ctx.record("unknown", code=error.code)
            return
        except SequenceRefused as error:
            ctx.expect(False, f"the client repeats a write only before it acknowledges it: {error}")
        except QcoreError as error:
            self.possible -= 1  # it had no effect
            ctx.record("refused", code=error.code)
            return
        self.known += 1
        ctx.expect(
            least <= value <= self.possible,
            f"each addition takes effect once: the counter is {value}, after {least - 1} to "
            f"{self.possible - 1} additions before this one",
        )

    async def _read(self) -> None:
        ctx, least = self._ctx, self.known
        query = json.dumps({"op": "get", "key": self._key})
        consistency = ctx.random.choice(_CONSISTENCIES)
        text = await ctx.client.execute(
            query, read=True, consistency=consistency, timeout_s=_TIMEOUT_S
        )
        value = self._value(text)
        ctx.expect(
            least <= value <= self.possible,
            f"a {consistency} read shows each addition once: the counter is {value}, after {least} to "
            f"{self.possible} additions",
        )

    def _value(self, text: str) -> int:
        return int(json.loads(text)["value"] or 0)

    async def watch(self) -> None:
        """Watch the counter: each value follows the one before it."""
        ctx, last = self._ctx, 0
        while True:
            try:
                async with ctx.client.watch(topic=self._key) as changes:
                    async for change in changes:
                        value = _watched(change.change)
                        ctx.expect(
                            not last or value == last + 1,
                            f"a watch shows every change once: {value} comes after {last}",
                        )
                        last = value
                        if ctx.random.random() < _SLOW_READS:
                            await asyncio.sleep(ctx.random.uniform(0, _SLOW_S))
            except QcoreError as error:
                last = 0  # the next watch begins later
                ctx.expect(
                    isinstance(error, WatchCompacted) or error.retryable,
                    f"a watch ends only if its changes are gone: {error}",
                )
                ctx.record("watch ended", code=error.code)
                await asyncio.sleep(_PAUSE_S)


def _watched(change: JsonValue) -> int:
    match change:
        case {"value": int(value)}:
            return value
    raise ExpectationFailed(f"a change of a counter has its value: {change!r}")
