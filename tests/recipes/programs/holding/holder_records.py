"""How a program records that it holds something, so that the record is true even if the program is stopped."""

from __future__ import annotations

from pydantic import JsonValue

from qcore.client.programs.program_context import ProgramContext
from qcore.recipes.holding.held import Held


def record_acquired(ctx: ProgramContext, held: Held, name: str = "", **details: JsonValue) -> None:
    """Record that the program has just acquired it. `details` are further values of the record.

    Raises:
        LeaseLost: it has lost it already; see `record_held`.
    """
    _record(ctx, "acquired", held, name, details)


def record_held(ctx: ProgramContext, held: Held, name: str = "", **details: JsonValue) -> None:
    """Record that the program holds it. `details` are further values of the record.

    Raises:
        LeaseLost: it does not.
    """
    _record(ctx, "held", held, name, details)


def _record(
    ctx: ProgramContext, what: str, held: Held, name: str, details: dict[str, JsonValue]
) -> None:
    # The order matters. A program that is stopped before the check fails in it. One that is stopped behind it has read
    # the clock before.
    at = ctx.client.runtime.seconds()
    held.check()
    ctx.record(what, at=at, token=held.token, name=name, **details)
