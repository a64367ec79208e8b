"""`qcore version`."""

from __future__ import annotations

import platform

import typer

from qcore.cli.options import OutputFormat, OutputOption
from qcore.cli.output import show
from qcore.compiled_build import BUILD
from qcore.release import __version__

app = typer.Typer(rich_markup_mode=None)


@app.command()
def version(output: OutputOption = OutputFormat.table) -> None:
    """Print the version of qcore, whether its hot modules are compiled, and the version of Python."""
    body = {"qcore": __version__, "build": BUILD, "python": platform.python_version()}
    show(output, body, text=version_line())


def version_line() -> str:
    """The output of `qcore version` and `qcore --version`."""
    build = "compiled" if BUILD == "compiled" else "pure Python"
    return f"qcore {__version__} ({build}, Python {platform.python_version()})"
