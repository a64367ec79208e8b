"""The other files of a node, and the packages of its settings: what would stop `qcore node start` or a backup."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from qcore.cli.doctor.finding import Finding, ok, problem
from qcore.errors import ConfigError
from qcore.node.config import NodeConfig
from qcore.node.peers.join_token_file import load_join_token

#: The files that a node appends to, by their settings.
_APPENDED: Final = ("log_file", "audit_log", "trace", "record")
_MDNS: Final = "mdns:"


def file_findings(config: NodeConfig) -> Iterator[Finding]:
    """Examine the files that the settings name. Nothing is written."""
    found: list[Finding] = []
    given: list[str] = []
    for name in _APPENDED:
        path: Path | None = getattr(config, name)
        if path is not None:
            given.append(f"{name} {path}")
            found += _appended(name, path)
    if (directory := config.backups.backup_dir) is not None:
        given.append(f"backup_dir {directory}")
        found += _written_into("backup_dir", directory)
    try:
        if load_join_token(config.join_token_file, os.environ) is not None:
            given.append("a join token")
    except ConfigError as error:
        found.append(problem("files", str(error), "correct the file or the setting"))
    yield from found
    if given and not found:
        yield ok("files", ", ".join(given))


def package_findings(config: NodeConfig) -> Iterator[Finding]:
    """The packages of the settings that are not installed."""
    needed = {"uvloop": bool(config.uvloop), "otel": config.otel}
    needed["mdns"] = config.discovery.auto_init and any(
        each.startswith(_MDNS) for each in config.discovery.discover
    )
    packages = {"uvloop": "uvloop", "otel": "opentelemetry.sdk", "mdns": "zeroconf"}
    for extra, is_needed in needed.items():
        if is_needed and not _is_installed(packages[extra]):
            yield problem(
                "packages",
                f"a setting needs {packages[extra]}, which is not installed",
                f"pip install 'qcore-raft[{extra}]'",
            )


def _is_installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:  # of the package that should contain it
        return False


def _appended(name: str, path: Path) -> Iterator[Finding]:
    if path.is_dir():
        yield problem("files", f"{name} {path} is a directory", "name a file")
    elif not path.exists():
        yield from _written_into(name, path.parent)
    elif not os.access(path, os.W_OK):
        yield _not_writable(name, path)


def _written_into(name: str, directory: Path) -> Iterator[Finding]:
    if not directory.exists():
        yield problem("files", f"{name}: there is no directory {directory}", f"mkdir {directory}")
    elif not directory.is_dir():
        yield problem("files", f"{name}: {directory} is not a directory", "name another place")
    elif not os.access(directory, os.W_OK | os.X_OK):
        yield _not_writable(name, directory)


def _not_writable(name: str, path: Path) -> Finding:
    return problem(
        "files",
        f"{name}: this user ({os.geteuid()}) cannot write to {path}",
        "run doctor as the user of the node, or give it the place: chown",
    )
