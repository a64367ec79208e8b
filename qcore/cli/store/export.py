"""`qcore export`: a cluster's state as a topology file."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qcore.cli.clients.connection import with_client
from qcore.cli.options import DEFAULT_ENDPOINT, EndpointsOption, TimeoutOption
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
) -> None:
    """Write the types and the tree of a cluster as a topology file, which a new cluster can load.

    The new entities get other ids, and references between them are kept. Write times and writers
    are not part of the file. A reference to a deleted entity becomes null.
    """
    from qcore.storage.files.snapshot_file import check_target

    target = None if file == "-" else check_target(Path(file), force=force)

    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "state"

        async def work(client: Client) -> None:
            await client.save_snapshot(copy, timeout_s=timeout)

        with_client(endpoints, timeout, work, admin=True)
        text = _topology(copy)
    if target is None:
        sys.stdout.write(text)
        return
    _write(target, text, force=force)


def _topology(copy: Path) -> str:
    from qcore.machines.entity.entity_store import EntityStore
    from qcore.replica.sessions.session_table import SessionTable
    from qcore.replica.snapshot_builder import restore_all, restore_snapshot
    from qcore.storage.files.snapshot_file import verify

    machine = verify(copy).cluster_version.machine
    store = EntityStore()
    if machine not in ("", store.name):
        raise Refused(
            f"the cluster runs the state machine {machine!r}: only the entity store has a topology"
        )
    # The text follows the header line. newline="": a line of the state may hold a carriage return.
    with copy.open(encoding="utf-8", newline="") as state:
        state.readline()
        data = state.read()
    restore_all(restore_snapshot(data, store, SessionTable()))
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
