"""`qcore snapshot`: backups of a cluster's state in files."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qcore.cli.clients.connection import with_client
from qcore.cli.cluster.snapshot_restore import restore
from qcore.cli.options import (
    DEFAULT_ENDPOINT,
    EndpointsOption,
    OutputFormat,
    OutputOption,
    TimeoutOption,
    non_empty_path,
)
from qcore.cli.output import show, table
from qcore.errors import DeadlineExceeded, NotLeader, QcoreError, Refused

if TYPE_CHECKING:
    from qcore.client.client import Client
    from qcore.storage.files.snapshot_file import SnapshotHeader

app = typer.Typer(
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Back up a cluster's state to a file, check such a file, and begin a new cluster from it.",
)
app.command()(restore)


@app.command()
def save(
    file: Annotated[
        Path, typer.Argument(parser=non_empty_path, metavar="FILE", help="The file to write.")
    ],
    stale: Annotated[
        bool,
        typer.Option(
            "--stale",
            envvar="QCORE_STALE",
            help="Copy what the node has applied. Works without a leader or quorum.",
        ),
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", envvar="QCORE_FORCE", help="Replace FILE if it exists.")
    ] = False,
    endpoints: EndpointsOption = DEFAULT_ENDPOINT,
    timeout: TimeoutOption = 300.0,
    output: OutputOption = OutputFormat.table,
) -> None:
    """Back up the state to FILE while the cluster keeps serving.

    The backup holds every write acknowledged before the command began. The first endpoint that can
    do so takes the snapshot, whether it leads or not, and compacts its log.
    """

    async def work(client: Client) -> SnapshotHeader:
        try:
            return await client.save_snapshot(file, stale=stale, force=force, timeout_s=timeout)
        except (NotLeader, DeadlineExceeded) as error:
            if stale:
                raise
            raise Refused(
                f"{error} (--stale copies what a node has applied, without a leader or quorum)"
            ) from error

    header = with_client(endpoints, timeout, work, admin=True)
    show(
        output,
        _as_json(file, header),
        text=f"{file} holds the state of cluster {header.cluster_id} at entry {header.last_included_index} "
        f"({header.size} bytes)",
    )


@app.command("status")
@app.command()
def verify(
    file: Annotated[
        Path, typer.Argument(parser=non_empty_path, metavar="FILE", help="The file to check.")
    ],
    output: OutputOption = OutputFormat.table,
) -> None:
    """Read and check the whole FILE, and show what it holds. `status` is the same command.

    Exit code 1: the file is damaged.
    """
    from qcore.recovery.clusters.snapshot_restore import verify_content

    try:
        header, content = verify_content(file)
    except QcoreError as error:
        if "another backup" not in str(error):
            error.add_note("give another file that `qcore snapshot save` wrote")
        raise
    membership = header.membership
    members = [
        f"{node_id} at {membership.address_of(node_id) or '-'}"
        + ("" if membership.is_voter(node_id) else " (learner)")
        for node_id in membership.members()
    ]
    rows = [
        ("CLUSTER", header.cluster_id),
        ("INDEX", str(header.last_included_index)),
        ("TERM", str(header.last_included_term)),
        ("TIME", _time(header)),
        ("MEMBERS", ", ".join(members)),
        ("RULES", str(header.cluster_version.rules)),
        ("MACHINE", _machine(header)),
        ("USERS", str(content.users)),
        ("SESSIONS", str(content.sessions)),
        ("FORMAT", str(header.format_version)),
        ("SIZE", f"{header.size} bytes"),
        ("SHA256", header.sha256),
        ("CHECKSUM", "ok"),
    ]
    counts = {"users": content.users, "sessions": content.sessions}
    body = {**_as_json(file, header), **counts, "format_version": header.format_version}
    show(output, {**body, "checksum_ok": True}, text=table(rows))


def _as_json(file: Path, header: SnapshotHeader) -> dict[str, Any]:
    membership = header.membership
    return {
        "file": str(file),
        "cluster_id": header.cluster_id,
        "index": header.last_included_index,
        "term": header.last_included_term,
        "time": _time(header),
        "members": [
            {
                "id": node_id,
                "address": membership.address_of(node_id),
                "role": "voter" if membership.is_voter(node_id) else "learner",
            }
            for node_id in membership.members()
        ],
        "apply_rules": header.cluster_version.rules,
        "machine": header.cluster_version.machine or None,
        "machine_version": header.cluster_version.machine_version,
        "size": header.size,
        "sha256": header.sha256,
    }


def _machine(header: SnapshotHeader) -> str:
    version = header.cluster_version
    return f"{version.machine} {version.machine_version}" if version.machine else "not recorded"


def _time(header: SnapshotHeader) -> str:
    """The time stamp of the last entry; as a number if it is outside the range of the calendar."""
    try:
        moment = datetime.fromtimestamp(header.last_included_time_us / 1e6, UTC)
    except (ValueError, OverflowError, OSError):
        return f"{header.last_included_time_us} us since 1970"
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
