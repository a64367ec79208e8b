"""`qcore entity find` and `qcore entity tree`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from qcore.cli.clients.connection import with_client
from qcore.cli.options import (
    DEFAULT_ENDPOINT,
    EndpointsOption,
    OutputFormat,
    OutputOption,
    TimeoutOption,
)
from qcore.cli.output import Row, show
from qcore.cli.store.arguments import TypeArgument
from qcore.display import printable
from qcore.errors import ConfigError

if TYPE_CHECKING:
    from qcore.cli.store.access.entity_names import Types
    from qcore.cli.store.access.entity_walk import TreeNode
    from qcore.cli.store.access.field_access import ShownField
    from qcore.client import Client, EntityId

#: How many ids one request fetches.
_PAGE: Final = 1000
#: Deeper trees are not printed as nested JSON: readers of JSON bound the depth.
_MAX_JSON_DEPTH: Final = 400


def find(
    entity_type: TypeArgument,
    filter_: Annotated[
        str | None,
        typer.Option(
            "--filter",
            metavar="CEL",
            help="Only entities for which this is true, such as: Size > 3 && Parent->Name == 'Root'",
        ),
    ] = None,
    exact: Annotated[
        bool, typer.Option("--exact", help="Leave out the types that inherit TYPE.")
    ] = False,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="At most so many. Default: all.")
    ] = None,
    fields: Annotated[
        str | None,
        typer.Option(
            "--fields",
            metavar="A,B",
            help="Fields or paths to show, separated by commas. Default: Name, if the type has it.",
        ),
    ] = None,
    paths: Annotated[bool, typer.Option("--paths", help="Show the paths, too.")] = False,
    endpoints: EndpointsOption = DEFAULT_ENDPOINT,
    timeout: TimeoutOption = 15.0,
    output: OutputOption = OutputFormat.table,
) -> None:
    """List the entities of a type and of the types that inherit it."""
    from qcore.cli.store.access.entity_names import Types, paths_of, split_names

    async def work(client: Client) -> tuple[list[str], list[Found]]:
        types = Types(client)
        names = [name.strip() for name in fields.split(",") if name.strip()] if fields else None
        if names is None:
            names = ["Name"] if "Name" in (await types.get(entity_type)).fields else []
        found = await _ids(client, entity_type, filter_, limit, exact=exact)
        where = await paths_of(client, types, found) if paths else {}
        for one, path in where.items():
            if "" in split_names(path.removeprefix("/")):
                where[one] = str(one)  # no path leads to it, and commands accept the id
        rows = await _with_fields(client, types, found, names)
        return names, [(entity, where.get(entity), shown) for entity, shown in rows]

    names, found = with_client(endpoints, timeout, work)
    columns = ["entity_id", *(["path"] if paths else []), *names]
    rows: list[Row] = []
    body: list[dict[str, Any]] = []
    for entity, path, shown in found:
        texts = {name: one.text for name, one in shown.items()}
        rows.append({**texts, "entity_id": str(entity), **({"path": path} if paths else {})})
        body.append(
            {
                "entity_id": str(entity),
                **({"path": path} if paths else {}),
                "fields": {name: one.json for name, one in shown.items()},
            }
        )
    show(output, body, rows=rows, columns=columns)


if TYPE_CHECKING:
    #: An entity, its path if it was asked for, and its fields.
    Found = tuple[EntityId, str | None, dict[str, ShownField]]


async def _ids(
    client: Client, entity_type: str, filter_: str | None, limit: int | None, *, exact: bool
) -> list[EntityId]:
    found: list[EntityId] = []
    cursor: str | None = None
    while True:
        wanted = _PAGE if limit is None else min(_PAGE, limit - len(found))
        page = await client.find_entities(
            entity_type, filter_, exact=exact, limit=wanted, cursor=cursor
        )
        found += page.items
        cursor = page.next_cursor
        if cursor is None or (limit is not None and len(found) >= limit):
            return found[:limit]


async def _with_fields(
    client: Client, types: Types, found: Sequence[EntityId], names: Sequence[str]
) -> list[tuple[EntityId, dict[str, ShownField]]]:
    """The fields of the entities. Those that were deleted meanwhile are left out."""
    from qcore.cli.store.access.entity_names import read_present
    from qcore.cli.store.access.field_access import shown_fields
    from qcore.client import ReadField

    if not names:
        return [(entity, {}) for entity in found]
    requests = [ReadField(entity, name) for entity in found for name in names]
    read = iter(await read_present(client, requests))
    rows: list[tuple[EntityId, dict[str, ShownField]]] = []
    for entity in found:
        fields = [next(read) for _ in names]
        present = [field for field in fields if field is not None]
        if len(present) == len(names):
            shown = await shown_fields(client, types, entity, present)
            rows.append((entity, dict(zip(names, shown, strict=True))))
    return rows


def tree(
    entity: Annotated[
        str,
        typer.Argument(metavar="ENTITY", help="An id or a path. Default: the whole tree."),
    ] = ".",
    depth: Annotated[
        int | None,
        typer.Option("--depth", min=0, help="How many levels below to show. Default: all."),
    ] = None,
    endpoints: EndpointsOption = DEFAULT_ENDPOINT,
    timeout: TimeoutOption = 15.0,
    output: OutputOption = OutputFormat.table,
) -> None:
    """Draw the tree of entities."""
    from qcore.cli.store.access.entity_names import Types, find_entity_or_top
    from qcore.cli.store.access.entity_walk import tree_below

    async def work(client: Client) -> list[TreeNode]:
        start = await find_entity_or_top(client, entity)
        if start is not None and not await client.entity_exists(start):
            from qcore.errors import EntityNotFound

            raise EntityNotFound(f"entity {start} does not exist")
        return await tree_below(client, Types(client), start, depth)

    roots = with_client(endpoints, timeout, work)
    if output is OutputFormat.table:
        for line in _drawn(roots):
            print(line)
    elif output is OutputFormat.json:
        show(output, _nested(roots))
    else:
        columns = ("depth", "entity_id", "parent_id", "name", "hidden")
        show(output, None, rows=list(_rows(roots)), columns=columns)


def _in_order(roots: Sequence[TreeNode]) -> Iterator[tuple[TreeNode, TreeNode | None, str, str]]:
    """Each node with its parent and the lines in front of it, parents first, without recursion."""
    to_visit = [(node, None, "", "") for node in reversed(roots)]
    stack: list[tuple[TreeNode, TreeNode | None, str, str]] = list(to_visit)
    while stack:
        node, parent, before, below = stack.pop()
        yield node, parent, before, below
        last = len(node.children) - 1
        for place in range(last, -1, -1):
            branch, further = ("└── ", "    ") if place == last else ("├── ", "│   ")
            stack.append((node.children[place], node, below + branch, below + further))


def _drawn(roots: Sequence[TreeNode]) -> Iterator[str]:
    for node, _, before, _ in _in_order(roots):
        more = f"  ({node.hidden} below)" if node.hidden else ""
        yield f"{before}{printable(node.name)}  {printable(str(node.entity))}{more}"


def _rows(roots: Sequence[TreeNode]) -> Iterator[Row]:
    for node, parent, _, _ in _in_order(roots):
        yield {
            "depth": node.depth,
            "entity_id": str(node.entity),
            "parent_id": None if parent is None else str(parent.entity),
            "name": node.name,
            "hidden": node.hidden,
        }


def _nested(roots: Sequence[TreeNode]) -> list[dict[str, Any]]:
    made: dict[int, dict[str, Any]] = {}
    tops: list[dict[str, Any]] = []
    for node, parent, _, _ in _in_order(roots):
        if node.depth > _MAX_JSON_DEPTH:
            raise ConfigError(
                f"the tree has more than {_MAX_JSON_DEPTH} levels: use --depth, or -o csv"
            )
        body: dict[str, Any] = {"entity_id": str(node.entity), "name": node.name, "children": []}
        if node.hidden:
            body["hidden"] = node.hidden
        made[id(node)] = body
        (tops if parent is None else made[id(parent)]["children"]).append(body)
    return tops
