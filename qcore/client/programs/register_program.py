"""Client programs that read and write registers with `qcore.Client`, whatever happens to the cluster.

workload: {program: "qcore.client.programs.register_program:registers"}
"""

from __future__ import annotations

import asyncio
import json
import math
from typing import Final

from qcore.client.programs.program_context import ProgramContext
from qcore.errors import QcoreError

_KEYS: Final = 3
_READS: Final = 0.4
#: The mean pause between two operations, and how long one may take, seconds.
_PAUSE_S: Final = 0.05
_TIMEOUT_S: Final = 2.0
#: How long a client may be without success in `served_registers`, seconds.
_LONGEST_S: Final = 3.0


async def registers(ctx: ProgramContext) -> None:
    """Read and write until the program is cancelled. An operation that fails is not an error of the program."""
    await _use_registers(ctx, math.inf)


async def served_registers(ctx: ProgramContext) -> None:
    """As `registers`. It is an error of the program if its client has no success for three seconds.

    Raises:
        ExpectationFailed: that has happened.
    """
    await _use_registers(ctx, _LONGEST_S)


async def _use_registers(ctx: ProgramContext, longest_s: float) -> None:
    written, served_at = 0, ctx.time()
    while True:
        key = f"k{ctx.random.randrange(_KEYS)}"
        if ctx.random.random() < _READS:
            request = {"Read": json.dumps({"op": "get", "key": key})}
        else:
            written += 1
            value = ctx.number * 1_000_000 + written
            request = {"Write": json.dumps({"op": "set", "key": key, "value": value})}
        try:
            await ctx.client.perform(request, timeout_s=_TIMEOUT_S)
            served_at = ctx.time()
        except QcoreError as error:
            ctx.record("failed", code=error.code)
            waited_s = ctx.time() - served_at
            ctx.expect(
                waited_s < longest_s,
                f"the client is served; it had no success for {waited_s:.1f} s",
            )
        await asyncio.sleep(ctx.random.expovariate(1 / _PAUSE_S))
