"""The options about how to connect, which each command with `--endpoints` gets: `add_connection_options` adds them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from qcore.cli.options import non_empty_path
from qcore.errors import ConfigError

if TYPE_CHECKING:
    from qcore.security.tls import TlsFiles

#: The values of the command that runs, by the name of the option's parameter.
_given: Final[dict[str, Any]] = {}

#: The variables of the environment from which the options take their values.
_VARIABLES: Final = {
    "tls": "QCORE_TLS",
    "tls_ca": "QCORE_TLS_CA",
    "tls_cert": "QCORE_TLS_CERT",
    "tls_key": "QCORE_TLS_KEY",
}

_template = typer.Typer()


def _keep(param: typer.CallbackParam, value: Any) -> None:  # Any: of the type of the option
    _given[str(param.name)] = value


def _file(name: str, text: str) -> Any:  # what typer.Option returns
    return typer.Option(
        "--" + name.replace("_", "-"),
        envvar=_VARIABLES[name],
        parser=non_empty_path,
        metavar="PATH",
        callback=_keep,
        expose_value=False,
        help=text,
    )


@_template.command()
def _connect(
    tls: Annotated[
        bool,
        typer.Option(
            "--tls",
            envvar=_VARIABLES["tls"],
            callback=_keep,
            expose_value=False,
            help="Use TLS, and accept the authorities that this system trusts. Not needed with --tls-ca.",
        ),
    ] = False,
    tls_ca: Annotated[
        Path | None, _file("tls_ca", "Use TLS. PEM file with the authorities of the nodes.")
    ] = None,
    tls_cert: Annotated[
        Path | None, _file("tls_cert", "PEM file with a certificate of this client.")
    ] = None,
    tls_key: Annotated[
        Path | None, _file("tls_key", "PEM file with its private key, if --tls-cert has none.")
    ] = None,
) -> None:
    """Has the options that `add_connection_options` gives to commands."""


def add_connection_options(command: Any) -> None:  # Any: a command of typer's, see `qcore.cli.main`
    """Give the options to a command that has `--endpoints`, and to such commands below it."""
    if any(each.name == "endpoints" for each in command.params):
        command.params += [
            each for each in typer.main.get_command(_template).params if each.name in _VARIABLES
        ]
    for below in getattr(command, "commands", {}).values():
        add_connection_options(below)


def tls_files() -> TlsFiles | None:
    """The files for TLS of the command that runs; None for connections without TLS.

    Raises:
        ConfigError: a file is given without the one that it belongs to.
    """
    from qcore.security.tls import TlsFiles

    ca, cert, key = (_given.get(name) for name in ("tls_ca", "tls_cert", "tls_key"))
    if key is not None and cert is None:
        raise ConfigError("--tls-key is given without --tls-cert: give the certificate, too")
    if ca is None and cert is None and not _given.get("tls"):
        return None
    return TlsFiles(ca, cert, key)


def as_variables() -> dict[str, str]:
    """The values as variables of the environment, for commands that run within this one."""
    return {
        _VARIABLES[name]: "1" if value is True else str(value)
        for name, value in _given.items()
        if value
    }
