"""The options about how to connect, which each command with `--endpoints` gets: `add_connection_options` adds them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from qcore.cli.options import non_empty_path
from qcore.errors import ConfigError

if TYPE_CHECKING:
    from qcore.client.login.credentials import Credentials
    from qcore.security.tls import TlsFiles

#: The values of the command that runs, by the name of the option's parameter.
_given: Final[dict[str, Any]] = {}
#: Where they come from, as the library names it.
_sources: Final[dict[str, str]] = {}

#: The variables of the environment from which the options take their values.
_VARIABLES: Final = {
    "tls": "QCORE_TLS",
    "tls_ca": "QCORE_TLS_CA",
    "tls_cert": "QCORE_TLS_CERT",
    "tls_key": "QCORE_TLS_KEY",
    "token_file": "QCORE_TOKEN_FILE",
    "user": "QCORE_USER",
    "password_file": "QCORE_PASSWORD_FILE",
}
#: The variable that holds a token itself, for programs that get it from elsewhere.
_TOKEN: Final = "QCORE_TOKEN"
#: The passwords that were asked for at the terminal, by user.
_asked: Final[dict[str, str]] = {}

_template = typer.Typer()


def _keep(
    context: typer.Context, param: typer.CallbackParam, value: Any
) -> None:  # Any: of the type of the option
    name = str(param.name)
    source = context.get_parameter_source(name)
    _given[name] = value
    _sources[name] = "" if source is None else source.name


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
    token_file: Annotated[
        Path | None,
        _file("token_file", "File with a token, see qcore token. Variable QCORE_TOKEN: the token."),
    ] = None,
    user: Annotated[
        str | None,
        typer.Option(
            "--user",
            envvar=_VARIABLES["user"],
            metavar="NAME",
            callback=_keep,
            expose_value=False,
            help="The user, which gives a password.",
        ),
    ] = None,
    password_file: Annotated[
        Path | None,
        _file("password_file", "File whose first line is its password. Default: ask for it."),
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


@contextmanager
def own_options() -> Iterator[None]:
    """Forget the options of a command when it has ended: a line of the shell must not change those of the shell."""
    given, sources = dict(_given), dict(_sources)
    try:
        yield
    finally:
        _given.clear()
        _given.update(given)
        _sources.clear()
        _sources.update(sources)


def tls_files() -> TlsFiles | None:
    """The files for TLS of the command that runs; None for connections without TLS.

    Raises:
        ConfigError: a file is given without the one that it belongs to.
    """
    from qcore.cli.clients.secrets import warn
    from qcore.security.secret_files import EVERY_USER, warn_once
    from qcore.security.tls import TlsFiles

    ca, cert, key = (_given.get(name) for name in ("tls_ca", "tls_cert", "tls_key"))
    if key is not None and cert is None:
        raise ConfigError("--tls-key is given without --tls-cert: give the certificate, too")
    if ca is None and cert is None and not _given.get("tls"):
        return None
    private = key or cert
    if private is not None:
        with suppress(OSError):  # the files are checked where they are used
            warn_once(private, private.stat().st_mode, warn, EVERY_USER)
    return TlsFiles(ca, cert, key)


def credentials() -> Credentials | None:
    """The user of the command that runs: from --token-file, else --user, else QCORE_TOKEN, else QCORE_USER.

    Raises:
        ConfigError: the options contradict each other, or a file cannot be read.
    """
    from qcore.cli.clients.secrets import ask_password, read_secret
    from qcore.client.login.credentials import Credentials

    token_file, user, password_file = (
        _given.get(name) for name in ("token_file", "user", "password_file")
    )
    if token_file is not None:
        if user is not None and _sources.get("user") == _sources.get("token_file"):
            raise ConfigError("give either --token-file or --user, not both")
        token = read_secret(token_file)
        # A command that runs for long takes the token from the file again, before it expires. A pipe has it once.
        is_file = token_file.is_file()
        return Credentials(token_file=token_file) if is_file else Credentials(token=token)
    token = os.environ.get(_TOKEN, "").strip()
    if token and (user is None or _sources.get("user") == "ENVIRONMENT"):
        return Credentials(token=token)
    if user is None:
        if password_file is not None:
            raise ConfigError("--password-file is given without --user: give the user, too")
        return None
    if password_file is not None:
        return Credentials(user=user, password=read_secret(password_file))
    if user not in _asked:
        _asked[user] = ask_password(f"password of {user}")
    return Credentials(user=user, password=_asked[user])


def login_advice(problem: str) -> str:
    """What to do about a login that failed, or is missing, from what the command gave.

    Args:
        problem: what the node answered.
    """
    if (token_file := _given.get("token_file")) is not None:
        source, where = f"of --token-file {token_file}", f"into {token_file}"
    elif os.environ.get(_TOKEN, "").strip() and _sources.get("user") != "COMMANDLINE":
        source, where = f"of {_TOKEN}", f"into {_TOKEN}"
    elif (user := _given.get("user")) is not None:
        return (
            f"check --user {user} and its password; an administrator gives a new one with `qcore user set-password "
            f"{user}`. If the last administrator has lost it: `qcore token recover`"
        )
    else:
        return (
            "give --token-file FILE, or --user NAME (and --password-file FILE). If the last administrator has lost the "
            "password: `qcore token recover`"
        )
    if "deleted" in problem:
        return f"put the token of another user {where}"
    if "get a new one" in problem:
        return f"put a new token {where}: `qcore token create` prints one"
    return f"check that the token {source} and --endpoints belong to the same cluster"


def as_variables() -> dict[str, str]:
    """The values as variables of the environment, for commands that run within this one."""
    return {
        _VARIABLES[name]: "1" if value is True else str(value)
        for name, value in _given.items()
        if value
    }
