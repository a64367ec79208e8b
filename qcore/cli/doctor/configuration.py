"""The settings that `qcore node start` would have, from the same file, variables and options."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import typer

from qcore.cli.doctor.files import file_findings, package_findings
from qcore.cli.doctor.finding import Finding, ok, problem, warning
from qcore.errors import ConfigError, QcoreError
from qcore.node.config import NodeConfig
from qcore.security.certificate_validity import certificate_end

#: The base of what typer raises for wrong arguments: no name of it is exported by all supported versions.
_UsageError: Final[type[Exception]] = typer.BadParameter.__mro__[2]

#: Settings without a default, which an operator may give only to the node itself.
_FILLERS: Final = {"node_id": ("--id", "1"), "data_dir": ("--data-dir", ".")}

#: A certificate that ends sooner is a warning.
_RENEWAL: Final = timedelta(days=21)


class Settings:
    """The settings of a node on this computer.

    Attributes:
        config: the settings; the defaults if they are not known.
        are_known: whether the settings could be read.
        data_dir: the data directory; None if it is not known.
        findings: what is wrong with them.
    """

    def __init__(self, file: Path | None, data_dir: Path | None) -> None:
        options = [] if file is None else ["--config", str(file)]
        options += [] if data_dir is None else ["--data-dir", str(data_dir)]
        self.findings: list[Finding] = []
        self.data_dir: Path | None = None
        try:
            self.config, missing = _parsed(options)
        except (ConfigError, _UsageError) as error:
            self.findings.append(
                problem(
                    "configuration",
                    _text_of(error),
                    "correct this setting: `qcore node start` refuses it",
                )
            )
            self.config, self.are_known = NodeConfig.of(1, data_dir or Path()), False
            self.data_dir = data_dir
            return
        self.are_known = True
        if "data_dir" not in missing:
            self.data_dir = self.config.data_dir
        self.findings += _about(self.config, file, missing)


def _text_of(error: Exception) -> str:
    """What is wrong. An error about arguments names the option and the variable only in its formatted message."""
    formatted = getattr(error, "format_message", None)
    return str(error) if formatted is None else " ".join(str(formatted()).split())


def _parsed(options: list[str]) -> tuple[NodeConfig, list[str]]:
    """The settings, and the names of those without a default that are not given.

    Raises:
        ConfigError: a value is wrong.
        click's UsageError: likewise.
    """
    from qcore.cli.node.start import app
    from qcore.settings import for_node

    command: Any = typer.main.get_command(app)  # Any: a class of click's
    missing: list[str] = []
    while True:
        fillers = [word for name in missing for word in _FILLERS[name]]
        try:
            context = command.commands["start"].make_context("start", [*options, *fillers])
        except _UsageError as error:
            name = str(getattr(getattr(error, "param", None), "name", ""))
            if name in missing or name not in _FILLERS or "issing" not in type(error).__name__:
                raise
            missing.append(name)
            continue
        values = {name: value for name, value in context.params.items() if name != "config"}
        return for_node(NodeConfig, values), missing


def _about(config: NodeConfig, file: Path | None, missing: list[str]) -> Iterator[Finding]:
    where = file or os.environ.get("QCORE_CONFIG")
    if missing and where:
        names = ", ".join(_FILLERS[name][0] for name in missing)
        yield warning(
            "configuration", f"{where} does not give {names}", f"give {names} to the node"
        )
    else:
        yield ok("configuration", str(where) if where else "no file; defaults and variables")
    yield from _machine(config)
    yield from _tls(config)
    yield from file_findings(config)
    yield from package_findings(config)


def _machine(config: NodeConfig) -> Iterator[Finding]:
    from qcore.node.application import application_of
    from qcore.node.topology_loader import read_topology

    try:
        application = application_of(config.machine)
        if config.topology is not None:
            read_topology(config.topology, application)
    except QcoreError as error:
        yield problem("state machine", str(error), "correct machine or topology")


def _tls(config: NodeConfig) -> Iterator[Finding]:
    tls = config.tls
    if tls.tls_cert is None:
        if text := tls.warning(config.ws_addr):
            yield warning("TLS", text, "give tls_cert, tls_key and tls_ca")
        return
    try:
        tls.contexts()
    except ConfigError as error:
        yield problem("TLS", str(error), "correct these files")
        return
    end = certificate_end(tls.tls_cert)
    found = f"the certificate is valid until {end:%Y-%m-%d}"
    left = end - datetime.now(UTC)
    if left <= timedelta():
        yield problem("TLS", found, "renew it: nodes and clients refuse it")
    elif left < _RENEWAL:
        yield warning("TLS", found, "renew it; a node uses the new file without a restart")
    else:
        yield ok("TLS", found)
    key = tls.tls_key or tls.tls_cert
    if key.stat().st_mode & 0o007:
        yield problem(
            "TLS", f"every user of this computer can read the key {key}", f"chmod o= {key}"
        )
