"""`qcore entity`: reads, writes, creates, moves and deletes entities. `entity_search` has `find` and `tree`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from qcore.cli.clients.connection import with_client
from qcore.cli.exits import ExitCode
from qcore.cli.options import (
    DEFAULT_ENDPOINT,
    EndpointsOption,
    OutputFormat,
    OutputOption,
    TimeoutOption,
)
from qcore.cli.output import show
from qcore.cli.store.arguments import EntityArgument, TypeArgument, check_name
from qcore.cli.store.entity_search import find, tree
from qcore.display import printable
from qcore.errors import ConfigError

if TYPE_CHECKING:
    from qcore.cli.store.access.field_access import ShownField
    from qcore.client import BulkRequest, Client, EntityId, WriteField

app = typer.Typer(
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Read, write, create, find, move and delete entities.",
)
app.command()(find)
app.command()(tree)

AssignmentsArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="FIELD=VALUE",
        help="VALUE is a text of the field's kind: a number, true, the name of a choice, 2026-01-31T12:00:00Z, an "
        "entity, entities separated by commas, or base64 or @FILE. Nothing is an empty text, list or reference.",
    ),
]


@app.command()
def get(
    entity: EntityArgument,
    fields: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="FIELD",
            help="Fields, or paths such as Parent->Name. Default: all fields.",
        ),
    ] = None,
    endpoints: EndpointsOption = DEFAULT_ENDPOINT,
    timeout: TimeoutOption = 15.0,
    output: OutputOption = OutputFormat.table,
) -> None:
    """Show fields of an entity, with the times of their last writes."""
    from qcore.cli.store.access.entity_names import Types, find_entity
    from qcore.cli.store.access.field_access import show_fields, shown_fields

    async def work(client: Client) -> tuple[EntityId, list[ShownField]]:
        types = Types(client)
        target = await find_entity(client, entity)
        names = fields or list((await types.get(target.typ)).fields)
        found = await client.get_entity(target, names)
        shown = await shown_fields(client, types, target, [found.fields[name] for name in names])
        return target, shown

    show_fields(output, *with_client(endpoints, timeout, work))


@app.command("set")
def set_(
    entity: EntityArgument,
    assignments: AssignmentsArgument = None,
    default: Annotated[
        list[str] | None,
        typer.Option(
            "--default",
            metavar="FIELD",
            help="Write the default of the field's schema. May be repeated.",
        ),
    ] = None,
    endpoints: EndpointsOption = DEFAULT_ENDPOINT,
    timeout: TimeoutOption = 15.0,
    output: OutputOption = OutputFormat.table,
) -> None:
    """Write fields of an entity, all or none of them, and show them."""
    _write(entity, assignments, default, endpoints, timeout, output, add=False)


@app.command()
def add(
    entity: EntityArgument,
    assignments: AssignmentsArgument = None,
    endpoints: EndpointsOption = DEFAULT_ENDPOINT,
    timeout: TimeoutOption = 15.0,
    output: OutputOption = OutputFormat.table,
) -> None:
    """Add to fields of an entity, all or none of them, and show the results.

    A number grows; a negative one makes it smaller. A text, a Blob and a list get the value at their end.
    """
    _write(entity, assignments, None, endpoints, timeout, output, add=True)


def _write(
    entity: str,
    assignments: list[str] | None,
    defaults: list[str] | None,
    endpoints: str,
    timeout: float,
    output: OutputFormat,
    *,
    add: bool,
) -> None:
    from qcore.cli.store.access.entity_names import Types, find_entity
    from qcore.cli.store.access.field_access import show_fields, shown_fields, values_of
    from qcore.client import WriteField

    if not (assignments or defaults):
        raise ConfigError(
            "there is nothing to write: give FIELD=VALUE, such as Email=ada@example.org"
        )

    async def work(client: Client) -> tuple[EntityId, list[ShownField]]:
        types = Types(client)
        target = await find_entity(client, entity)
        values = await values_of(client, types, target, assignments or (), defaults or ())
        requests = [
            WriteField(target, name, value, adjust_behavior="Add" if add else "Set")
            for name, value in values
        ]
        written = await client.update(requests)
        if any(
            field.value is None for field in written
        ):  # a default, or null: show what is there now
            read = await client.get_entity(target, [request.field_type for request in requests])
            written = [read.fields[field.field_type] for field in written]
        return target, await shown_fields(client, types, target, written)

    show_fields(output, *with_client(endpoints, timeout, work))


@app.command()
def create(
    entity_type: TypeArgument,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The name of the new entity.")],
    assignments: AssignmentsArgument = None,
    parent: Annotated[
        str | None,
        typer.Option("--parent", metavar="ENTITY", help="The parent. Default: the top level."),
    ] = None,
    endpoints: EndpointsOption = DEFAULT_ENDPOINT,
    timeout: TimeoutOption = 15.0,
    output: OutputOption = OutputFormat.table,
) -> None:
    """Create an entity, with its fields in the same step, and print its id."""
    check_name(name)
    from qcore.cli.store.access.entity_names import Types, find_entity_or_top
    from qcore.cli.store.access.field_access import values_of
    from qcore.client import Created, CreateEntity, WriteField

    async def work(client: Client) -> str:
        above = await find_entity_or_top(client, parent or "/")
        values = await values_of(client, Types(client), entity_type, assignments or ())
        writes: list[WriteField] = [WriteField(Created(0), name, value) for name, value in values]
        requests: list[BulkRequest] = [CreateEntity(entity_type, name, above), *writes]
        return str((await client.bulk(requests))[0])

    made = with_client(endpoints, timeout, work)
    show(output, {"entity_id": made}, text=made)


@app.command()
def delete(
    entity: EntityArgument,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    endpoints: EndpointsOption = DEFAULT_ENDPOINT,
    timeout: TimeoutOption = 15.0,
    output: OutputOption = OutputFormat.table,
) -> None:
    """Delete an entity and all below it. On a terminal the command asks first."""
    from qcore.cli.store.access.entity_names import Types, find_entity, paths_of
    from qcore.cli.store.access.entity_walk import count_below
    from qcore.errors import EntityNotFound

    async def look(client: Client) -> tuple[EntityId, str, int]:
        target = await find_entity(client, entity)
        if not await client.entity_exists(target):
            raise EntityNotFound(f"entity {target} does not exist")
        types = Types(client)
        path = (await paths_of(client, types, [target]))[target]
        return target, path, await count_below(client, types, target)

    target, path, below = with_client(endpoints, timeout, look)
    named = f"{printable(path)} ({target})"
    others = f" and the {below} below it" if below > 1 else " and the one below it" if below else ""
    if not yes:
        if not sys.stdin.isatty():
            raise ConfigError(f"this deletes {named}{others}: add --yes to confirm")
        if not _confirm(f"delete {named}{others or ', which has nothing below it'}?"):
            print("nothing was deleted", file=sys.stderr)
            raise typer.Exit(ExitCode.FAILED)

    async def work(client: Client) -> None:
        await client.delete_entity(target)

    with_client(endpoints, timeout, work)
    body = {"entity_id": str(target), "deleted": below + 1}
    show(output, body, text=f"deleted {named}{others}")


def _confirm(question: str) -> bool:
    """Ask on the terminal.

    Raises:
        typer.Exit: Ctrl-C or Ctrl-D instead of an answer.
    """
    try:
        return typer.confirm(question, err=True)
    except typer.Abort:
        print("\ninterrupted: nothing was deleted", file=sys.stderr)
        raise typer.Exit(ExitCode.INTERRUPTED) from None


@app.command()
def move(
    entity: EntityArgument,
    parent: Annotated[
        str, typer.Argument(metavar="PARENT", help="The new parent; / for the top level.")
    ],
    endpoints: EndpointsOption = DEFAULT_ENDPOINT,
    timeout: TimeoutOption = 15.0,
    output: OutputOption = OutputFormat.table,
) -> None:
    """Move an entity, with all below it, to the end of the children of another parent."""
    from qcore.cli.store.access.entity_names import (
        Types,
        find_entity,
        find_entity_or_top,
        paths_of,
    )

    async def work(client: Client) -> tuple[EntityId, EntityId | None, str]:
        target = await find_entity(client, entity)
        above = await find_entity_or_top(client, parent)
        ends = [target] if above is None else [target, above]
        paths = await paths_of(client, Types(client), ends)  # before the move changes them
        await client.move_entity(target, above)
        place = "the top level" if above is None else f"{printable(paths[above])} ({above})"
        return target, above, f"{printable(paths[target])} ({target}) is below {place} now"

    target, above, text = with_client(endpoints, timeout, work)
    body = {"entity_id": str(target), "parent_id": None if above is None else str(above)}
    show(output, body, text=text)


@app.command()
def rename(
    entity: EntityArgument,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The new name.")],
    endpoints: EndpointsOption = DEFAULT_ENDPOINT,
    timeout: TimeoutOption = 15.0,
    output: OutputOption = OutputFormat.table,
) -> None:
    """Give an entity another name. Names need not be unique."""
    check_name(name)
    from qcore.cli.store.access.entity_names import Types, find_entity, paths_of

    async def work(client: Client) -> tuple[EntityId, str]:
        target = await find_entity(client, entity)
        before = (await paths_of(client, Types(client), [target]))[target]
        await client.rename_entity(target, name)
        return target, before

    target, before = with_client(endpoints, timeout, work)
    text = f"{printable(before)} ({target}) has the name {printable(name)} now"
    show(output, {"entity_id": str(target), "name": name}, text=text)
