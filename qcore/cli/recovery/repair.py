"""`qcore repair`: repairs a data directory where nothing that was acknowledged can be lost."""

from __future__ import annotations

from typing import Annotated

import typer

from qcore.cli.options import OutputFormat, OutputOption
from qcore.cli.output import show
from qcore.cli.recovery.check import DataDirArgument

app = typer.Typer(rich_markup_mode=None)


@app.command()
def repair(
    data_dir: DataDirArgument,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Do it. Without it, nothing is changed.")
    ] = False,
    output: OutputOption = OutputFormat.table,
) -> None:
    """Repair a data directory, where nothing that was acknowledged can be lost.

    It removes what interrupted writers left, a damaged snapshot if the sound log has every entry, and
    damaged entries that a sound snapshot covers, and it takes away the rights of others to node.key.
    It keeps a copy of the files in the directory. Everything else is refused.

    Exit code 1: it is refused, and nothing is changed.
    """
    from qcore.recovery.repairs.data_dir_repair import carry_out, plan_repair

    plan = plan_repair(data_dir)
    steps = plan.texts()
    backup = carry_out(plan) if yes and steps else None
    if not steps:
        lines = [f"{data_dir} is sound: nothing to repair"]
    elif backup is None:
        lines = [*steps, "with --yes this is done; nothing was changed"]
    else:
        lines = [*steps, f"done; the old files are in {backup}"]
    body = {
        "data_dir": str(data_dir),
        "steps": steps,
        "done": backup is not None,
        "backup": None if backup is None else str(backup),
    }
    show(output, body, text="\n".join(lines))
