"""`qcore token`: makes and ends tokens, and regains access with the key of a node."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Final

import typer

from qcore.cli.clients.connection import with_client
from qcore.cli.options import (
    DEFAULT_ENDPOINT,
    DataDirOption,
    EndpointsOption,
    OutputFormat,
    OutputOption,
    TimeoutOption,
)
from qcore.cli.output import show
from qcore.errors import ConfigError, StorageError

if TYPE_CHECKING:
    from qcore.storage.live.log_reader import LogReader, StoredLog

app = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="Make and end tokens of users.")

#: How long a recovery token is valid, seconds.
_RECOVERY_S: Final = 900


@app.command()
def create(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help="Whose token. Default: of the user that asks."),
    ] = None,
    ttl: Annotated[
        int, typer.Option("--ttl", min=1, help="How long it is valid, in seconds.")
    ] = 86_400,
    endpoints: EndpointsOption = DEFAULT_ENDPOINT,
    timeout: TimeoutOption = 15.0,
    output: OutputOption = OutputFormat.table,
) -> None:
    """Print a new token.

    Keep it in a file that only you may read, and use it with --token-file. A token for the own user
    lasts no longer than the login that asked for it, unless the user may change users.
    """
    issued = with_client(
        endpoints, timeout, lambda client: client.create_token(name, ttl_s=ttl), admin=True
    )
    show(output, asdict(issued), text=issued.token)


@app.command()
def revoke(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The user.")],
    endpoints: EndpointsOption = DEFAULT_ENDPOINT,
    timeout: TimeoutOption = 15.0,
    output: OutputOption = OutputFormat.table,
) -> None:
    """End all tokens of a user, and the rights of its open connections.

    A token of `qcore token recover` stays valid until its 15 minutes are over.
    """
    with_client(endpoints, timeout, lambda client: client.revoke_tokens(name), admin=True)
    show(output, {"name": name}, text=f"revoked the tokens of {name}")


@app.command()
def recover(
    data_dir: DataDirOption,
    name: Annotated[
        str,
        typer.Option(
            "--as",
            help="The user of the token, who must have the role admin. Default: the oldest such user.",
        ),
    ] = "",
    output: OutputOption = OutputFormat.table,
) -> None:
    """Print a token of an administrator that is valid for 15 minutes, after a password was lost.

    It needs no cluster: the key in the data directory of a member signs it. So who may read that
    directory is an administrator.
    Use it to set a new password: `qcore user set-password NAME --token-file FILE`.
    """
    import secrets

    from qcore.node.peers.node_key_file import load_key
    from qcore.security.users.token import TokenClaims, sign_token
    from qcore.storage.live.log_reader import LogReader

    reader = LogReader(data_dir)
    log = reader.describe()
    key, identity = load_key(data_dir), log.identity
    if key is None or not identity.cluster_id:
        raise ConfigError(
            f"--data-dir {data_dir}: no member of a cluster with users has its data there"
        )
    if not _has_users(reader, log):
        raise ConfigError(
            f"--data-dir {data_dir}: the log there has no users. If the cluster has none, no command needs a token: "
            "add the first user with `qcore user add NAME --role admin`. If it has, this member lags behind: give the "
            "data directory of another one"
        )
    issued_us = int(time.time()) * 1_000_000
    claims = TokenClaims(
        name,
        0,
        identity.node_id,
        secrets.token_hex(16),
        issued_us,
        issued_us + _RECOVERY_S * 1_000_000,
        is_recovery=True,
    )
    token = sign_token(key, identity.cluster_id, claims)
    body = {"user": name or None, "token": token, "expires_s": _RECOVERY_S}
    show(output, body, text=token)


def _has_users(reader: LogReader, log: StoredLog) -> bool:
    """Whether the snapshot or an entry of the log holds a user, or may because a part is damaged."""
    from qcore.recovery.snapshot_summary import holds_users

    try:
        if log.snapshot is not None and holds_users(next(reader.snapshot_parts(log.snapshot), "")):
            return True
        index, last = 1, log.state.last_index
        while index <= last:
            batch = reader.read(index, last)
            changes = (entry.data for entry, _ in batch.entries if entry.kind == "access")
            if batch.damage or any(map(_sets_user, changes)):
                return True
            index = batch.next_index
    except StorageError:
        return True
    return False


def _sets_user(data: str) -> bool:
    """Whether an entry of kind `access` sets a user, or is one that this program does not know."""
    from qcore.replica.access.access_commands import SetUser, parse_command

    try:
        return isinstance(parse_command(data), SetUser)
    except ValueError:
        return True
