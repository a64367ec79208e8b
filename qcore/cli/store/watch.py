"""`qcore watch`: prints changes as they happen."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import Sequence
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
from qcore.cli.output import Row, as_json, csv_header, csv_rows, shortened
from qcore.display import escape_unprintable
from qcore.errors import ConfigError, StoreError

if TYPE_CHECKING:
    from qcore.cli.store.access.entity_names import Types
    from qcore.client import Client, EntityId, FieldChange, MachineChange, Value, Watch

app = typer.Typer(rich_markup_mode=None)

#: How long a watch may be without a node before a line says so, and the pause between two looks, seconds.
_SILENT_S: Final = 3.0
_LOOK_S: Final = 0.2

_COLUMNS = ("index", "sequence", "entity_id", "field", "previous_value", "value")
_TOPIC_COLUMNS = ("index", "sequence", "change")


@app.command()
def watch(
    entity: Annotated[
        str | None,
        typer.Argument(metavar="ENTITY", help="An id or a path. Leave it out with --type."),
    ] = None,
    field: Annotated[
        str | None, typer.Argument(metavar="FIELD", help="The field to watch, a name.")
    ] = None,
    entity_type: Annotated[
        str | None,
        typer.Option(
            "--type", metavar="TYPE", help="Watch all entities of a type and of those below it."
        ),
    ] = None,
    topic: Annotated[
        str | None,
        typer.Option("--topic", metavar="TOPIC", help="Watch a topic of a custom state machine."),
    ] = None,
    context: Annotated[
        str | None,
        typer.Option(
            "--context",
            metavar="PATHS",
            help="Fields or paths, separated by commas: show their values with each change.",
        ),
    ] = None,
    changes_only: Annotated[
        bool, typer.Option("--changes-only", help="Leave out writes of an equal value.")
    ] = False,
    after: Annotated[
        str | None,
        typer.Option(
            "--after", metavar="INDEX,SEQ", help="Begin after this change. Default: begin now."
        ),
    ] = None,
    count: Annotated[
        int | None, typer.Option("--count", min=1, help="End after so many changes.")
    ] = None,
    endpoints: EndpointsOption = DEFAULT_ENDPOINT,
    timeout: TimeoutOption = 15.0,
    output: OutputOption = OutputFormat.table,
) -> None:
    """Print the changes of a field until Ctrl-C: of an entity, or with --type of all of a type.

    The watch survives lost connections. At the end, stderr has the position for --after. --timeout
    is how long the watch may be without a connection. With -o json, each line is an object.
    """
    paths = [path.strip() for path in context.split(",") if path.strip()] if context else []
    if topic is None and entity_type is not None and field is None:
        entity, field = None, entity
    given = (topic is not None, entity is not None, entity_type is not None)
    if given.count(True) != 1 or (field is None) != (topic is not None):
        raise ConfigError("give ENTITY FIELD, or --type TYPE FIELD, or --topic TOPIC")
    position = None if after is None else _position(after)

    async def work(client: Client) -> None:
        from qcore.cli.store.access.entity_names import Types, find_entity

        if topic is not None:
            watched = client.watch(topic=topic, after=position, timeout_s=timeout)
            await _print_all(watched, _TopicPrinter(output), count)
            return
        assert field is not None, "it was checked above"
        more: dict[str, Any] = {
            "changes_only": changes_only,
            "context": paths,
            "after": position,
            "timeout_s": timeout,
        }
        types = Types(client)
        fields: Watch[FieldChange]
        if entity is not None:
            target = await find_entity(client, entity)
            await _require_field(types, target.typ, field)
            fields = client.watch(entity=target, field_type=field, **more)
        else:
            assert entity_type is not None, "it was checked above"
            await _require_field(types, entity_type, field)
            fields = client.watch(entity_type=entity_type, field_type=field, **more)
        await _print_all(fields, _FieldPrinter(output, client, types, paths), count)

    with_client(endpoints, timeout, work)


def _position(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"([0-9]{1,18}),(-1|[0-9]{1,18})", text, re.ASCII)
    if found is None:
        raise ConfigError(
            f"--after: {text!r} is not INDEX,SEQ: give the position that a watch printed"
        )
    return int(found[1]), int(found[2])


async def _require_field(types: Types, entity_type: str, field: str) -> None:
    """Reject a field that no change can ever concern."""
    from qcore.errors import FieldNotFound
    from qcore.machines.entity.quoted_text import quoted

    if field not in (await types.get(entity_type)).fields:
        raise FieldNotFound(f"type {quoted(entity_type)} has no field {quoted(field)}")


async def _print_all(
    watched: Watch[Any], printer: _FieldPrinter | _TopicPrinter, count: int | None
) -> None:
    """Print changes, and at the end how to continue."""
    reporting = asyncio.ensure_future(_report_silence(watched))
    try:
        await _print_each(watched, printer, count)
    finally:
        reporting.cancel()


async def _report_silence(watched: Watch[Any]) -> None:
    """Print a line on stderr when no node has served the watch for some time, and when a node serves it again."""
    clock = asyncio.get_running_loop().time
    served_at = clock()
    reported = False
    while True:
        await asyncio.sleep(_LOOK_S)
        if watched.is_served:
            served_at = clock()
            if reported:
                print("a node serves the watch again", file=sys.stderr, flush=True)
                reported = False
        elif not reported and clock() - served_at >= _SILENT_S:
            print(
                "no node serves the watch: trying again; `qcore cluster status` shows which nodes answer",
                file=sys.stderr,
                flush=True,
            )
            reported = True


async def _print_each(
    watched: Watch[Any], printer: _FieldPrinter | _TopicPrinter, count: int | None
) -> None:
    printed = 0
    async with watched:
        printer.begin()
        try:
            async for change in watched:
                await printer.print(change)
                sys.stdout.flush()
                printed += 1
                if printed == count:
                    return
        finally:
            if (at := watched.position) is not None:
                print(f"to continue: --after {at.index},{at.sequence}", file=sys.stderr)


class _FieldPrinter:
    """Prints changes of fields."""

    def __init__(
        self, output: OutputFormat, client: Client, types: Types, paths: Sequence[str]
    ) -> None:
        self._output = output
        self._client = client
        self._types = types
        self._paths = paths

    def begin(self) -> None:
        """Print what comes before the first change, which also shows that the watch has begun."""
        if self._output is OutputFormat.csv:
            csv_header((*_COLUMNS, *self._paths))
        sys.stdout.flush()

    async def print(self, change: FieldChange) -> None:
        """Print one change."""
        from qcore.cli.store.access.value_texts import json_of, text_of

        entity = change.entity_id
        choices = await self._choices(entity, change.field_type, change.current_value)
        context = {} if change.context is None else change.context
        around = {
            path: (value, await self._choices(entity, path, value))
            for path, value in context.items()
        }
        texts = [text_of(value, choices) for value in (change.previous_value, change.current_value)]
        if self._output is OutputFormat.json:
            body = {
                "index": change.position.index,
                "sequence": change.position.sequence,
                "entity_id": str(entity),
                "field": change.field_type,
                "previous_value": json_of(change.previous_value, choices),
                "value": json_of(change.current_value, choices),
                "context": {path: json_of(*each) for path, each in around.items()}
                if change.context is not None
                else None,
                "omitted": [*change.omitted, *change.context_omitted],
            }
            print(as_json(body))
        elif self._output is OutputFormat.csv:
            row: Row = {
                "index": change.position.index,
                "sequence": change.position.sequence,
                "entity_id": str(entity),
                "field": change.field_type,
                "previous_value": texts[0],
                "value": texts[1],
                **{path: text_of(*each) for path, each in around.items()},
            }
            csv_rows((*_COLUMNS, *self._paths), [row])
        else:
            at = f"{change.position.index},{change.position.sequence}"
            more = "".join(f"  {path}={shortened(text_of(*each))}" for path, each in around.items())
            before, after = map(shortened, texts)
            line = f"{at:<10}  {entity}  {change.field_type}  {before} -> {after}{more}"
            print(escape_unprintable(line))

    async def _choices(self, entity: EntityId, path: str, value: Value) -> tuple[str, ...]:
        """The names of a field's choices, if the value is one of them."""
        from qcore.cli.store.access.field_access import field_schema
        from qcore.client import Choice

        if not isinstance(value, Choice):
            return ()
        try:
            return (await field_schema(self._client, self._types, entity, path)).choices
        except StoreError:  # the entity or the path has changed since: show the number
            return ()


class _TopicPrinter:
    """Prints changes of a custom state machine."""

    def __init__(self, output: OutputFormat) -> None:
        self._output = output

    def begin(self) -> None:
        """As `_FieldPrinter.begin`."""
        if self._output is OutputFormat.csv:
            csv_header(_TOPIC_COLUMNS)
        sys.stdout.flush()

    async def print(self, change: MachineChange) -> None:
        """Print one change."""
        at = change.position
        if self._output is OutputFormat.json:
            body = {"index": at.index, "sequence": at.sequence, "change": change.change}
            print(as_json(body))
            return
        text = json.dumps(change.change, ensure_ascii=False)
        if self._output is OutputFormat.csv:
            csv_rows(_TOPIC_COLUMNS, [{"index": at.index, "sequence": at.sequence, "change": text}])
        else:
            place = f"{at.index},{at.sequence}"
            print(escape_unprintable(f"{place:<10}  {shortened(text)}"))
