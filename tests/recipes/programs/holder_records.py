"""How a program records that it holds something, so that the record is true even if the program is stopped."""

from __future__ import annotations

from qcore.client.programs.program_context import ProgramContext
from qcore.recipes.holding.held import Held


def record_acquired(ctx: ProgramContext, held: Held, name: str = "") -> None:
    """Record that the program has just acquired it."""
    at = ctx.client.runtime.seconds()
    ctx.record("acquired", at=at, token=held.token, name=name)


def record_held(ctx: ProgramContext, held: Held, name: str = "") -> None:
    """Record that the program holds it.

    The order matters. A program that is stopped before the check fails in it. One that is stopped behind it has read
    the clock before.

    Raises:
        LeaseLost: it does not.
    """
    at = ctx.client.runtime.seconds()
    held.check()
    ctx.record("held", at=at, token=held.token, name=name)
