"""Options that several command groups share."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from qcore.errors import ConfigError


class OutputFormat(StrEnum):
    """How a result is printed on stdout."""

    table = "table"
    json = "json"


OutputOption = Annotated[
    OutputFormat,
    typer.Option("--output", "-o", envvar="QCORE_OUTPUT", help="How to print the result."),
]

EndpointsOption = Annotated[
    str,
    typer.Option(
        "--endpoints",
        envvar="QCORE_ENDPOINTS",
        help="Nodes to talk to: host:port, separated by commas.",
    ),
]

TimeoutOption = Annotated[
    float,
    typer.Option("--timeout", envvar="QCORE_TIMEOUT", min=0.1, help="Give up after S seconds."),
]

DEFAULT_ENDPOINT = "127.0.0.1:8080"


def non_empty_path(text: str | Path) -> Path:
    """A path that was given: the empty text is none, as that of a shell variable that is not set.

    For `Path` it would be the working directory. Used as a `parser` of typer's options.

    Raises:
        typer.BadParameter: it is empty.
    """
    if not str(text).strip():
        raise typer.BadParameter("it is empty: give a path")
    return Path(text)


def split_endpoints(text: str) -> list[str]:
    """`host:port` texts from a comma-separated list.

    Raises:
        ConfigError: the list is empty or an item is not host:port.
    """
    from qcore.transport.address import parse_address  # imported late: keeps `qcore version` fast

    endpoints = [item.strip() for item in text.split(",") if item.strip()]
    if not endpoints:
        raise ConfigError("--endpoints is empty; give host:port, separated by commas")
    return [str(parse_address(item, "--endpoints")) for item in endpoints]
