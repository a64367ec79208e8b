"""A client that ends the history of the keys now and then, so that a watch that is late must read again."""

from __future__ import annotations

import asyncio

from qcore.client.programs.program_context import ProgramContext
from qcore.errors import QcoreError
from qcore.kv import KeyValue
from qcore.recipes.recipe_errors import is_temporary


async def compact_now_and_then(ctx: ProgramContext, kv: KeyValue) -> None:
    """Compact, without end."""
    while True:
        await asyncio.sleep(ctx.random.uniform(0.5, 3))
        try:
            status = await kv.status()
            await kv.compact(status.revision)
        except QcoreError as error:
            if not is_temporary(error):
                ctx.record("not_compacted", why=str(error))
