"""Names that no other part of a run has."""

from __future__ import annotations

from qcore.client.programs.program_context import ProgramContext


def new_id(ctx: ProgramContext) -> str:
    """A text that differs from all others, also those of other lives of the same client.

    `ctx.random` would give each life the same texts in a drill.
    """
    return f"{ctx.client.runtime.new_rng().getrandbits(64):016x}"
