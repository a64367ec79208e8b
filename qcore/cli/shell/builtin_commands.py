"""The commands that only the shell has: `cd`, `ls`, `pwd`, `help` and `exit`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import typer

from qcore.cli.clients.connection import with_client
from qcore.cli.main import GROUPS
from qcore.cli.options import (
    DEFAULT_ENDPOINT,
    EndpointsOption,
    OutputFormat,
    OutputOption,
    TimeoutOption,
)
from qcore.cli.output import Row, show, table
from qcore.cli.store.access.entity_names import (
    Types,
    current_names,
    find_entity_or_top,
    join_path,
    paths_of,
    read_column,
    set_current,
    split_path,
)

if TYPE_CHECKING:
    from qcore.client import Client

builtins = typer.Typer(rich_markup_mode=None, add_completion=False, help="Commands of the shell.")

#: The commands of `qcore entity` that the shell also knows without `entity`.
SHORT_FORMS: Final = (
    "get",
    "set",
    "add",
    "create",
    "delete",
    "find",
    "tree",
    "move",
    "rename",
)
#: Commands that make no sense within the shell.
NOT_HERE: Final = ("shell",)

PlaceArgument = Annotated[
    str, typer.Argument(metavar="ENTITY", help="An id or a path; .. is the parent.")
]


@builtins.command()
def cd(
    entity: PlaceArgument = "/",
    endpoints: EndpointsOption = DEFAULT_ENDPOINT,
    timeout: TimeoutOption = 15.0,
) -> None:
    """Go to an entity: paths without a leading / begin there."""

    async def work(client: Client) -> list[str]:
        target = await find_entity_or_top(client, entity)
        if target is None:
            return []
        return split_path((await paths_of(client, Types(client), [target]))[target])

    set_current(with_client(endpoints, timeout, work))


@builtins.command()
def pwd(output: OutputOption = OutputFormat.table) -> None:
    """Print the path of the current entity."""
    path = join_path(current_names())
    show(output, {"path": path}, text=path)


@builtins.command()
def ls(
    entity: PlaceArgument = ".",
    endpoints: EndpointsOption = DEFAULT_ENDPOINT,
    timeout: TimeoutOption = 15.0,
    output: OutputOption = OutputFormat.table,
) -> None:
    """List the entities directly below one."""

    async def work(client: Client) -> list[Row]:
        above = await find_entity_or_top(client, entity)
        below = [one async for one in client.children(above)]
        types = Types(client)
        names = await read_column(client, types, below, "Name")
        lists = await read_column(client, types, below, "Children")
        rows: list[Row] = []
        for one in below:
            name = names[one].value if one in names else ""
            children = lists[one].value if one in lists else []
            assert isinstance(children, list), "Children is a list of entities"
            rows.append({"name": str(name), "entity_id": str(one), "children": len(children)})
        return rows

    rows = with_client(endpoints, timeout, work)
    show(output, rows, rows=rows, columns=("name", "entity_id", "children"))


@builtins.command("help")
def help_() -> None:
    """List the commands."""
    lines = [
        *((name, summary) for name, (_, summary) in GROUPS.items() if name not in NOT_HERE),
        (", ".join(SHORT_FORMS), "Short forms of `entity ...`."),
        ("cd, ls, pwd", "Go to an entity; list what is below; print where you are."),
        ("exit", "Leave the shell, as Ctrl-D does."),
    ]
    print(table(lines))
    print(
        "COMMAND --help explains a command. Tab completes; an open quote or bracket continues the line."
    )


@builtins.command("exit")
def exit_() -> None:
    """Leave the shell."""
    raise Leave


class Leave(BaseException):
    """The user leaves the shell. (No `Exception`: no handler of errors may take it.)"""
