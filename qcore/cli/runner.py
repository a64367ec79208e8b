"""Runs a command's coroutine with a client, and turns Ctrl-C into its exit code."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TypeVar

import typer

from qcore.cli.exits import ExitCode

_T = TypeVar("_T")


def run(coroutine: Coroutine[object, object, _T]) -> _T:
    """Run to the end.

    Raises:
        typer.Exit: interrupted from the keyboard.
    """
    try:
        return asyncio.run(coroutine)
    except KeyboardInterrupt:
        raise typer.Exit(ExitCode.INTERRUPTED) from None
