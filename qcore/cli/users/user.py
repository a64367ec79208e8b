"""`qcore user`: adds, changes and lists users."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qcore.cli.clients.connection import with_client
from qcore.cli.clients.secrets import ask_new_password, ask_password, read_secret
from qcore.cli.options import (
    DEFAULT_ENDPOINT,
    EndpointsOption,
    OutputFormat,
    OutputOption,
    TimeoutOption,
    non_empty_path,
)
from qcore.cli.output import show
from qcore.errors import AccessRefused, ConfigError
from qcore.machines.entity.quoted_text import quoted

if TYPE_CHECKING:
    from qcore.client.client import Client
    from qcore.transport.wire.users import UserInfo

app = typer.Typer(
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Add, change and list users. Until the first is added, no request needs one.",
)

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The user.")]
RolesArgument = Annotated[list[str], typer.Argument(metavar="ROLE", help="Names of roles.")]
NewPasswordOption = Annotated[
    Path | None,
    typer.Option(
        "--new-password-file",
        parser=non_empty_path,
        metavar="PATH",
        help="File whose first line is the new password. Default: ask at the terminal.",
    ),
]
_COLUMNS = ("name", "roles", "has_password", "epoch", "created")


@app.command()
def add(
    name: NameArgument,
    role: Annotated[
        list[str] | None,
        typer.Option("--role", help="A role of the user; may be repeated. The first user: admin."),
    ] = None,
    new_password_file: NewPasswordOption = None,
    no_password: Annotated[
        bool,
        typer.Option(
            "--no-password",
            help="Without a password: the user can only use tokens. Not for the first user.",
        ),
    ] = False,
    endpoints: EndpointsOption = DEFAULT_ENDPOINT,
    timeout: TimeoutOption = 15.0,
    output: OutputOption = OutputFormat.table,
) -> None:
    """Add a user.

    The first one needs the role admin. From then on every request needs a user.
    """
    if no_password and new_password_file is not None:
        raise ConfigError("give either --no-password or --new-password-file")
    password = None if no_password else _new_password(new_password_file)

    async def work(client: Client) -> UserInfo:
        users = await _known(client)
        if any(user.name == name for user in users):
            raise AccessRefused(
                "exists", f"there is a user {quoted(name)}: see `qcore user --help`"
            )
        if no_password and not users:
            raise ConfigError(
                f"there is no user yet: {quoted(name)} would be the first, and could not log in. Give "
                "the first user a password: leave out --no-password"
            )
        return await client.set_user(name, password=password, roles=role or [])

    _show([with_client(endpoints, timeout, work, admin=True)], output)


async def _known(client: Client) -> Sequence[UserInfo]:
    return await client.list_users()


@app.command("set-password")
def set_password(
    name: NameArgument,
    new_password_file: NewPasswordOption = None,
    old_password_file: Annotated[
        Path | None,
        typer.Option(
            "--old-password-file",
            parser=non_empty_path,
            metavar="PATH",
            help="File whose first line is the old password. Default: ask, if it is needed.",
        ),
    ] = None,
    endpoints: EndpointsOption = DEFAULT_ENDPOINT,
    timeout: TimeoutOption = 15.0,
    output: OutputOption = OutputFormat.table,
) -> None:
    """Change the password of a user that exists. The user's tokens end.

    A user that may not change users can change its own password, with the old one.
    """
    from qcore.errors import Unauthenticated

    password = _new_password(new_password_file)
    old = None if old_password_file is None else read_secret(old_password_file)

    def change(old_password: str | None) -> Callable[[Client], Awaitable[UserInfo]]:
        return lambda client: client.set_user(name, password=password, old_password=old_password)

    try:
        found = with_client(endpoints, timeout, change(old), admin=True)
    except Unauthenticated as error:
        if old is not None or "old password" not in str(error):
            raise
        found = with_client(endpoints, timeout, change(ask_password("old password")), admin=True)
    _show([found], output)


@app.command()
def delete(
    name: NameArgument,
    endpoints: EndpointsOption = DEFAULT_ENDPOINT,
    timeout: TimeoutOption = 15.0,
    output: OutputOption = OutputFormat.table,
) -> None:
    """Delete a user. Its tokens end, and its open connections lose their rights."""
    with_client(endpoints, timeout, lambda client: client.delete_user(name), admin=True)
    show(output, {"name": name}, text=f"deleted {name}")


@app.command("list")
def list_(
    endpoints: EndpointsOption = DEFAULT_ENDPOINT,
    timeout: TimeoutOption = 15.0,
    output: OutputOption = OutputFormat.table,
) -> None:
    """List the users and their roles."""
    _show(with_client(endpoints, timeout, _known, admin=True), output)


@app.command()
def grant(
    name: NameArgument,
    roles: RolesArgument,
    endpoints: EndpointsOption = DEFAULT_ENDPOINT,
    timeout: TimeoutOption = 15.0,
    output: OutputOption = OutputFormat.table,
) -> None:
    """Give roles to a user."""
    _change_roles(endpoints, timeout, output, name, add=roles)


@app.command()
def revoke(
    name: NameArgument,
    roles: RolesArgument,
    endpoints: EndpointsOption = DEFAULT_ENDPOINT,
    timeout: TimeoutOption = 15.0,
    output: OutputOption = OutputFormat.table,
) -> None:
    """Take roles from a user."""
    _change_roles(endpoints, timeout, output, name, remove=roles)


@app.command()
def whoami(
    endpoints: EndpointsOption = DEFAULT_ENDPOINT,
    timeout: TimeoutOption = 15.0,
    output: OutputOption = OutputFormat.table,
) -> None:
    """Show which user the cluster takes this command's for."""
    found = with_client(endpoints, timeout, lambda client: client.who_am_i())
    show(output, {**asdict(found), "roles": ",".join(found.roles)})


def _change_roles(
    endpoints: str,
    timeout: float,
    output: OutputFormat,
    name: str,
    *,
    add: Sequence[str] = (),
    remove: Sequence[str] = (),
) -> None:
    async def work(client: Client) -> UserInfo:
        user = next((each for each in await _known(client) if each.name == name), None)
        if user is None:
            raise AccessRefused("no_such_user", f"there is no user {quoted(name)}")
        roles = [role for role in user.roles if role not in remove]
        return await client.set_user(name, roles=[*dict.fromkeys([*roles, *add])])

    _show([with_client(endpoints, timeout, work, admin=True)], output)


def _new_password(file: Path | None) -> str:
    return ask_new_password() if file is None else read_secret(file)


def _show(users: Sequence[UserInfo], output: OutputFormat) -> None:
    body = [asdict(user) for user in users]
    rows = [{**each, "roles": ",".join(each["roles"])} for each in body]
    show(output, body, rows=rows, columns=_COLUMNS)
