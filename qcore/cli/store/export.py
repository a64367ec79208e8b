"""`qcore export`: a cluster's state as a topology file."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
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
from qcore.display import printable
from qcore.errors import ConfigError, Refused

if TYPE_CHECKING:
    from qcore.client.client import Client

app = typer.Typer(rich_markup_mode=None)


@app.command()
def export(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="The file to write; - for standard output.")
    ] = "-",
    force: Annotated[
        bool, typer.Option("--force", envvar="QCORE_FORCE", help="Replace FILE if it exists.")
    ] = False,
    endpoints: EndpointsOption = DEFAULT_ENDPOINT,
    timeout: TimeoutOption = 300.0,
    output: OutputOption = OutputFormat.table,
) -> None:
    """Write the types and the tree of a cluster as a topology file, which a new cluster can load.

    The new entities get other ids, and references between them are kept. Write times and writers
    are not part of the file. A reference to a deleted entity becomes null.

    The file is YAML, or with -o json the same content as JSON, which `qcore load` reads, too.
    """
    if output is OutputFormat.csv:
        raise ConfigError("a topology has no rows: leave out -o csv for YAML, or use -o json")
    from qcore.storage.files.snapshot_file import check_target

    target = None if file == "-" else check_target(Path(file), force=force)

    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "state"

        async def work(client: Client) -> None:
            # The copy costs the node a snapshot.
            machine = (await client.get_metrics())["qcore"].get("machine")
            if machine is not None:
                _require_entities(str(machine["name"]))
            await client.save_snapshot(copy, timeout_s=timeout)

        with_client(endpoints, timeout, work, admin=True)
        text = _topology(copy)
    if output is OutputFormat.json:
        text = _json_of(text)
    if target is None:
        sys.stdout.write(text)
        return
    _write(target, text, force=force)


def _require_entities(machine: str) -> None:
    from qcore.machines.entity.entity_store import EntityStore

    if machine not in ("", EntityStore.name):
        raise Refused(
            f"this cluster runs the state machine '{printable(machine)}', and only the entity store has a topology: "
            "use `qcore snapshot save` to keep its state"
        )


def _json_of(topology: str) -> str:
    from qcore.yaml_reader import Node, ScalarNode, SequenceNode, parse_yaml

    def body_of(node: Node) -> Any:  # what `json.dumps` accepts
        if isinstance(node, ScalarNode):
            return node.value
        if isinstance(node, SequenceNode):
            return [body_of(item) for item in node.items]
        return {key: body_of(value) for key, value in node.entries.items()}

    try:
        body = body_of(parse_yaml(topology, "the topology"))
        text = json.dumps(body, ensure_ascii=False, indent=2)
    except RecursionError:
        raise ConfigError("the tree has too many levels for JSON: leave out -o json") from None
    if all(map(str.isprintable, text.split("\n"))):
        return text + "\n"
    return "".join(map(_escaped, text)) + "\n"


def _escaped(character: str) -> str:
    """The character in JSON that is YAML, too: YAML has no pairs of surrogates, and ends a line at U+2028."""
    if character.isprintable() or character == "\n":
        return character
    if ord(character) <= 0xFFFF:
        return f"\\u{ord(character):04x}"
    return json.dumps(character)[1:-1] if sys.stdout.isatty() else character


def _topology(copy: Path) -> str:
    from qcore.machines.entity.entity_store import EntityStore
    from qcore.replica.access.access_table import AccessTable
    from qcore.replica.sessions.session_table import SessionTable
    from qcore.replica.snapshot_builder import restore_all, restore_snapshot
    from qcore.storage.files.snapshot_file import verify

    _require_entities(verify(copy).cluster_version.machine)
    store = EntityStore()
    # The text follows the header line. newline="": a line of the state may hold a carriage return.
    with copy.open(encoding="utf-8", newline="") as state:
        state.readline()
        data = state.read()
    restore_all(restore_snapshot(data, store, SessionTable(), AccessTable()))
    return "".join(f"{line}\n" for line in store.topology())


def _write(target: Path, text: str, *, force: bool) -> None:
    from qcore.storage.files.atomic_file import AtomicFile

    try:
        new = AtomicFile(target)
        try:
            new.file.write(text.encode())
            new.publish(replace=force)
        finally:
            new.discard()
    except OSError as error:
        raise ConfigError(f"cannot write {target}: {error.strerror}") from error
