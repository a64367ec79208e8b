"""Command-line options that several command groups share, and their parsers."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from qcore.errors import ConfigError


class OutputFormat(StrEnum):
    """The format of a result on stdout."""

    table = "table"
    json = "json"
    csv = "csv"


OutputOption = Annotated[
    OutputFormat,
    typer.Option("--output", "-o", envvar="QCORE_OUTPUT", help="Format of the output."),
]

EndpointsOption = Annotated[
    str,
    typer.Option(
        "--endpoints",
        envvar="QCORE_ENDPOINTS",
        help="Addresses of nodes: host:port, separated by commas.",
    ),
]

TimeoutOption = Annotated[
    float,
    typer.Option("--timeout", envvar="QCORE_TIMEOUT", min=0.1, help="Timeout in seconds."),
]

DEFAULT_ENDPOINT = "127.0.0.1:8080"


def non_empty_path(text: str | Path) -> Path:
    """Parse a path option of typer, and reject empty text.

    An unset shell variable gives empty text, and `Path` would take it for the working directory.

    Raises:
        typer.BadParameter: the text is empty.
    """
    if not str(text).strip():
        raise typer.BadParameter("the path is empty")
    return Path(text)


def split_endpoints(text: str) -> list[str]:
    """Split a comma-separated list of `host:port` addresses.

    Raises:
        ConfigError: the list is empty or an item is not host:port.
    """
    from qcore.transport.address import Address

    endpoints = [item.strip() for item in text.split(",") if item.strip()]
    if not endpoints:
        raise ConfigError("--endpoints is empty; give host:port, separated by commas")
    return [str(Address.parse(item, "--endpoints")) for item in endpoints]


#: The number of processes of a command that does many runs.
JobsOption = Annotated[
    int | None,
    typer.Option(
        "--jobs",
        "-j",
        envvar="QCORE_JOBS",
        min=1,
        help="How many processes. Default: one a processor.",
    ),
]

#: The data directory that a command reads.
DataDirOption = Annotated[
    Path,
    typer.Option(
        "--data-dir",
        envvar="QCORE_DATA_DIR",
        parser=non_empty_path,
        metavar="PATH",
        help="Data directory of the node. Nothing in it is changed or locked.",
    ),
]
