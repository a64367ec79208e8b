"""`qcore role`: adds, changes and lists roles."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qcore.cli.clients.connection import with_client
from qcore.cli.options import (
    DEFAULT_ENDPOINT,
    EndpointsOption,
    OutputFormat,
    OutputOption,
    TimeoutOption,
)
from qcore.cli.output import show
from qcore.errors import ConfigError

if TYPE_CHECKING:
    from qcore.client.client import Client
    from qcore.machines.permissions import Action
    from qcore.transport.wire.users import RoleInfo, RuleInfo

app = typer.Typer(
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Say what users may do. The role admin is built in, and allows everything.",
)
_COLUMNS = ("name", "actions", "rules", "permissions")


@app.command("set")
def set_(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The role.")],
    allow: Annotated[
        list[str] | None,
        typer.Option(
            help="observe, read, write, manage or users; may be repeated. To be useful, manage needs observe."
        ),
    ] = None,
    read: Annotated[
        list[str] | None,
        typer.Option(
            "--may-read",
            metavar="TYPE.FIELD",
            help="Fields of the entity store to read, * for all: User.Email.",
        ),
    ] = None,
    write: Annotated[
        list[str] | None,
        typer.Option(
            "--may-write",
            metavar="TYPE.FIELD",
            help="Fields to write. This does not include reading.",
        ),
    ] = None,
    permission: Annotated[
        list[str] | None,
        typer.Option(
            help="The id of an entity that a field asks for as its read_permission or write_permission: Permission$12."
        ),
    ] = None,
    endpoints: EndpointsOption = DEFAULT_ENDPOINT,
    timeout: TimeoutOption = 15.0,
    output: OutputOption = OutputFormat.table,
) -> None:
    """Add a role, or replace all that it allows.

    Reading a field of the entity store takes --allow read, and --may-read for the field.
    """
    actions = [_action(text) for text in allow or []]
    rules = [_rule(text, "read") for text in read or []]
    rules += [_rule(text, "write") for text in write or []]

    async def work(client: Client) -> None:
        await client.set_role(name, actions=actions, rules=rules, permissions=permission or [])

    with_client(endpoints, timeout, work, admin=True)
    show(output, {"name": name}, text=f"set {name}")


@app.command()
def delete(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The role. No user may have it.")],
    endpoints: EndpointsOption = DEFAULT_ENDPOINT,
    timeout: TimeoutOption = 15.0,
    output: OutputOption = OutputFormat.table,
) -> None:
    """Delete a role."""
    with_client(endpoints, timeout, lambda client: client.delete_role(name), admin=True)
    show(output, {"name": name}, text=f"deleted {name}")


@app.command("list")
def list_(
    endpoints: EndpointsOption = DEFAULT_ENDPOINT,
    timeout: TimeoutOption = 15.0,
    output: OutputOption = OutputFormat.table,
) -> None:
    """List the roles, without admin."""
    found = with_client(endpoints, timeout, lambda client: client.list_roles(), admin=True)
    show(output, [asdict(role) for role in found], rows=[*map(_row, found)], columns=_COLUMNS)


def _row(role: RoleInfo) -> dict[str, str]:
    rules = (f"{rule.access} {rule.type}.{rule.field}" for rule in role.rules)
    return {
        "name": role.name,
        "actions": ", ".join(role.actions),
        "rules": ", ".join(rules),
        "permissions": ", ".join(role.permissions),
    }


def _action(text: str) -> Action:
    from qcore.machines.permissions import ACTIONS

    found = next((action for action in ACTIONS if action == text), None)
    if found is None:
        raise ConfigError(
            f"--allow {text!r} is no action: write observe, read, write, manage or users. To allow everything, give a "
            "user the role admin"
        )
    return found


def _rule(text: str, access: Any) -> RuleInfo:  # one of two texts
    from qcore.transport.wire.users import RuleInfo

    entity_type, dot, field = text.rpartition(".")
    if not dot or not entity_type or not field:
        raise ConfigError(
            f"--may-{access} {text!r} is not TYPE.FIELD: write User.Email, User.* or *.*"
        )
    return RuleInfo(entity_type, field, access)
