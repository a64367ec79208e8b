"""`qcore schema`: shows and sets the types of entities."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any, Final, cast

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

if TYPE_CHECKING:
    from qcore.client import Client, Value
    from qcore.machines.entity.state.entity_id import EntityId
    from qcore.machines.entity.state.entity_schema import EntitySchema, FieldSchema

app = typer.Typer(
    rich_markup_mode=None, no_args_is_help=True, help="Show and set the types of entities."
)

#: How many schemas are fetched at a time.
_TOGETHER: Final = 50
#: The columns of the permissions that a field asks for.
_PERMISSIONS: Final = ("read_permission", "write_permission")


@app.command("list")
def list_types(
    endpoints: EndpointsOption = DEFAULT_ENDPOINT,
    timeout: TimeoutOption = 15.0,
    output: OutputOption = OutputFormat.table,
) -> None:
    """List the types, each with the type that it inherits and how many fields it adds."""
    schemas = with_client(endpoints, timeout, own_schemas)
    rows: list[Row] = [
        {"entity_type": name, "inherit": schema.inherit, "fields": len(schema.fields)}
        for name, schema in schemas.items()
    ]
    show(output, rows, rows=rows, columns=("entity_type", "inherit", "fields"))


@app.command()
def get(
    entity_type: TypeArgument,
    complete: Annotated[
        bool, typer.Option("--complete", help="Show the fields that it inherits, too.")
    ] = False,
    endpoints: EndpointsOption = DEFAULT_ENDPOINT,
    timeout: TimeoutOption = 15.0,
    output: OutputOption = OutputFormat.table,
) -> None:
    """Show the fields of a type, and the permissions that they ask for.

    With -o json it is the schema as on the wire, which `qcore schema set` reads.
    """
    from qcore.errors import TypeNotFound
    from qcore.machines.entity.quoted_text import quoted
    from qcore.machines.entity.state.entity_schema import schema_from_json

    async def work(client: Client) -> tuple[Any, list[Row]]:
        json = await client.get_schema(entity_type, complete=complete)
        if json is None:
            raise TypeNotFound(f"there is no type {quoted(entity_type)}")
        schema = schema_from_json(json)
        lineage = [schema]
        while complete and lineage[-1].inherit is not None:
            above = await client.get_schema(lineage[-1].inherit)
            if above is None:
                break  # it was removed meanwhile
            lineage.append(schema_from_json(above))
        own = await client.get_schema(entity_type) if complete else json
        lineage[0] = schema if own is None else schema_from_json(own)
        return json, [_row(field, lineage) for field in schema.fields.values()]

    json, rows = with_client(endpoints, timeout, work)
    # Few types have permissions.
    asked = [name for name in _PERMISSIONS if any(row[name] for row in rows)]
    columns = ("field", "kind", "default", "rank", "choices", *asked, "from")
    rows = [{name: row[name] for name in columns} for row in rows]
    show(output, json, rows=rows, columns=columns)


@app.command("set")
def set_(
    file: Annotated[
        str,
        typer.Argument(metavar="FILE", help="A file of JSON or YAML, or - for standard input."),
    ],
    endpoints: EndpointsOption = DEFAULT_ENDPOINT,
    timeout: TimeoutOption = 15.0,
    output: OutputOption = OutputFormat.table,
) -> None:
    """Add types, or replace their schemas.

    FILE holds one schema, a list of schemas, or a topology, of which only `schemas` counts. A schema has the form of
    the wire (`qcore schema get TYPE -o json`) or of a topology file.
    """
    from qcore.cli.store.input_file import read_text
    from qcore.machines.entity.state.entity_schema import schema_to_json
    from qcore.machines.entity.topology.schema_file import parse_schemas

    source = "standard input" if file == "-" else file
    text = read_text(file)

    async def work(client: Client) -> list[str]:
        schemas = parse_schemas(text, source, await own_schemas(client))
        for schema in schemas:
            await client.set_schema(schema_to_json(schema))
        return [schema.entity_type for schema in schemas]

    names = with_client(endpoints, timeout, work)
    show(
        output,
        names,
        rows=[{"entity_type": name} for name in names],
        columns=("entity_type",),
        text="\n".join(f"type {name} is set" for name in names) or "the file holds no schema",
    )


async def own_schemas(client: Client) -> dict[str, EntitySchema]:
    """Each type's own schema, without inherited fields: type name to schema."""
    from qcore.machines.entity.state.entity_schema import schema_from_json

    names = [name async for name in client.entity_types()]
    found: dict[str, EntitySchema] = {}
    for start in range(0, len(names), _TOGETHER):
        part = names[start : start + _TOGETHER]
        for name, json in zip(
            part, await asyncio.gather(*map(client.get_schema, part)), strict=True
        ):
            if json is not None:
                found[name] = schema_from_json(json)
    return found


def _row(field: FieldSchema, lineage: list[EntitySchema]) -> Row:
    from qcore.cli.store.access.value_texts import text_of
    from qcore.client.entity_values import decode_value
    from qcore.machines.entity.state.field_values import value_to_json

    default: Value = decode_value(cast("Any", value_to_json(field.default)))
    owner = next((each for each in lineage if field.field_type in each.fields), lineage[0])
    return {
        "field": field.field_type,
        "kind": field.kind,
        "default": text_of(default, field.choices),
        "rank": field.rank,
        "choices": ",".join(field.choices),
        "read_permission": _permission(field.read_permission),
        "write_permission": _permission(field.write_permission),
        "from": owner.entity_type,
    }


def _permission(needed: EntityId | None) -> str:
    return "" if needed is None else str(needed)
