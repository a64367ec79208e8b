"""`qcore load`: brings a topology file into a cluster that runs, also into one that holds entities."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final, TypeAlias, TypeVar

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
from qcore.errors import ProposalError, TransportError

if TYPE_CHECKING:
    from collections.abc import Callable

    from qcore.cli.store.load_plan import FieldToWrite
    from qcore.client import BulkRequest, Client, EntityId
    from qcore.machines.entity.requests.perform_requests import NamedTopologyEntityJson
    from qcore.machines.entity.state.entity_schema import EntitySchema
    from qcore.machines.entity.topology.topology_file import Topology

    Entities: TypeAlias = Sequence[NamedTopologyEntityJson]

app = typer.Typer(rich_markup_mode=None)

#: The most creates and the most writes of one request, and about the most bytes of its JSON.
_CREATES: Final = 2_000
_WRITES: Final = 1_000
_BYTES: Final = 512 * 1024

_RUN_AGAIN: Final = "run the same command again: it goes on where this one ended"

_T = TypeVar("_T")


@dataclass
class LoadResult:
    """What a load did, or would do."""

    types_created: int = 0
    types_changed: int = 0
    entities_created: int = 0
    entities_changed: int = 0
    fields_written: int = 0
    entities_unchanged: int = 0
    dry_run: bool = False

    @property
    def text(self) -> str:
        """For people."""
        will = "would be " if self.dry_run else ""
        return (
            f"types: {self.types_created} {will}created, {self.types_changed} {will}changed\n"
            f"entities: {self.entities_created} {will}created, {self.entities_changed} {will}changed, "
            f"{self.entities_unchanged} as in the file\n"
            f"fields: {self.fields_written} {will}written"
        )


@dataclass
class LoadProgress:
    """What the cluster has confirmed of a load until now."""

    types_set: int = 0
    entities_created: int = 0
    fields_written: int = 0

    @property
    def text(self) -> str:
        """For people. The request that was under way may have taken effect, too."""
        return (
            f"at least {self.types_set} types were set, {self.entities_created} entities created "
            f"and {self.fields_written} fields written"
        )


@app.command()
def load(
    file: Annotated[
        str,
        typer.Argument(metavar="FILE", help="A topology file, or - for standard input."),
    ],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be created and changed.")
    ] = False,
    endpoints: EndpointsOption = DEFAULT_ENDPOINT,
    timeout: TimeoutOption = 60.0,
    output: OutputOption = OutputFormat.table,
) -> None:
    """Bring a topology file into a cluster that runs.

    The command sets the types, creates what is missing, and writes the fields that the file names. An entity of the
    same type at the same path is the one of the file. What the file does not name stays.

    Large files need several requests, so others may see a part of the file. To repeat the command changes nothing, or
    goes on where an earlier one ended.
    """
    from qcore.cli.store.input_file import read_text
    from qcore.cli.store.schema import own_schemas
    from qcore.machines.entity.topology.topology_file import parse_topology

    source = "standard input" if file == "-" else file
    text = read_text(file)

    async def work(client: Client) -> LoadResult:
        done = LoadProgress()
        try:
            present = await own_schemas(client)
            topology = parse_topology(text, source, present)
            return await bring(client, topology, present, dry_run=dry_run, progress=done)
        except asyncio.CancelledError:
            print(f"interrupted: {done.text}; {_RUN_AGAIN}", file=sys.stderr)
            raise

    result = with_client(endpoints, timeout, work)
    body = {key: value for key, value in vars(result).items() if key != "dry_run"}
    show(output, {**body, "dry_run": dry_run}, text=result.text)


async def bring(
    client: Client,
    topology: Topology,
    present: Mapping[str, EntitySchema],
    *,
    dry_run: bool,
    progress: LoadProgress,
) -> LoadResult:
    """Bring a topology into a cluster.

    Args:
        client: of the cluster.
        topology: the file.
        present: the own schemas of the cluster's types.
        dry_run: only count what is missing.
        progress: counts what the cluster has confirmed.

    Raises:
        Refused: an entity of the cluster at a path of the file has another type.
        StoreError: the cluster rejects a schema or a value.
    """
    from qcore.cli.store.access.entity_names import Types
    from qcore.cli.store.load_plan import (
        defaults_in_file,
        fields_to_write,
        match_entities,
        schemas_to_set,
    )

    entities = topology.entities
    found = await match_entities(client, Types(client), entities)
    created = {position for position, entity in enumerate(found) if entity is None}
    schemas = schemas_to_set(topology, present, _names(entities, found))
    if not dry_run:
        with _advice():
            held = {**present}
            await _set_schemas(client, topology, held, found, progress)
            await _create(client, entities, found, progress)
            # Now the schemas can refer to the new entities.
            await _set_schemas(client, topology, held, found, progress)
    defaults = defaults_in_file(topology, present, sorted(created))
    names = _names(entities, found)
    fields = await fields_to_write(client, Types(client), entities, found, names, defaults)
    if not dry_run:
        with _advice():
            await _write(client, fields, entities, found, progress)
    changed = {field.position for field in fields} - created
    return LoadResult(
        types_created=sum(schema.entity_type not in present for schema in schemas),
        types_changed=sum(schema.entity_type in present for schema in schemas),
        entities_created=len(created),
        entities_changed=len(changed),
        entities_unchanged=len(entities) - len(created) - len(changed),
        fields_written=len(fields),
        dry_run=dry_run,
    )


@contextmanager
def _advice() -> Iterator[None]:
    """Note at an error that the load can go on."""
    try:
        yield
    except (ProposalError, TransportError) as error:
        error.add_note(_RUN_AGAIN)
        raise


def _names(entities: Entities, found: Sequence[EntityId | None]) -> dict[EntityId, EntityId]:
    """The ids of the file, each with the entity of the cluster; entities that do not exist yet are left out."""
    from qcore.cli.store.load_plan import id_in_file

    pairs = zip(map(id_in_file, entities), found, strict=True)
    return {old: new for old, new in pairs if old is not None and new is not None}


async def _set_schemas(
    client: Client,
    topology: Topology,
    held: dict[str, EntitySchema],
    found: Sequence[EntityId | None],
    progress: LoadProgress,
) -> None:
    """Set the schemas that differ from those that the cluster holds, and note them there."""
    from qcore.cli.store.load_plan import schemas_to_set
    from qcore.machines.entity.state.entity_schema import schema_to_json

    names = _names(topology.entities, found)
    for schema in schemas_to_set(topology, held, names):
        await client.set_schema(schema_to_json(schema))
        held[schema.entity_type] = schema
        progress.types_set += 1


async def _create(
    client: Client,
    entities: Entities,
    found: list[EntityId | None],
    progress: LoadProgress,
) -> None:
    """Create the entities that are missing, parents first, and put their ids into `found`."""
    from qcore.client import Created, CreateEntity, EntityId

    missing = [position for position, entity in enumerate(found) if entity is None]
    for chunk in _chunks(missing, _CREATES, lambda position: len(entities[position]["name"]) + 100):
        requests: list[BulkRequest] = []
        places: dict[int, int] = {}
        for position in chunk:
            entity = entities[position]
            above: EntityId | Created | None = None
            if (parent := entity["parent"]) is not None:
                above = found[parent] or Created(places[parent])
            places[position] = len(requests)
            requests.append(CreateEntity(entity["entity_type"], entity["name"], above))
        for position, made in zip(chunk, await client.bulk(requests), strict=True):
            assert isinstance(made, EntityId), "the result of a create is an id"
            found[position] = made
            progress.entities_created += 1


async def _write(
    client: Client,
    fields: Sequence[FieldToWrite],
    entities: Entities,
    found: Sequence[EntityId | None],
    progress: LoadProgress,
) -> None:
    from qcore.cli.store.load_plan import with_names
    from qcore.client import WriteField

    names = _names(entities, found)
    writes: list[WriteField] = []
    for field in fields:
        target = found[field.position]
        assert target is not None, "every entity exists now"
        value = with_names(field.value, names, set(names))
        writes.append(WriteField(target, field.field_type, value, "Changes"))
    for chunk in _chunks(writes, _WRITES, lambda write: len(json.dumps(write.value)) + 200):
        await client.update(chunk)
        progress.fields_written += len(chunk)


def _chunks(items: Sequence[_T], most: int, size: Callable[[_T], int]) -> Iterator[list[_T]]:
    """The items in lists of at most `most` items and about `_BYTES` bytes."""
    chunk: list[_T] = []
    held = 0
    for item in items:
        if chunk and (len(chunk) >= most or held + size(item) > _BYTES):
            yield chunk
            chunk, held = [], 0
        chunk.append(item)
        held += size(item)
    if chunk:
        yield chunk
