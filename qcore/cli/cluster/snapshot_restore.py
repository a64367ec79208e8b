"""`qcore snapshot restore`: begins a new cluster from a snapshot file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from qcore.cli.cluster.node_list import parse_keys, parse_nodes
from qcore.cli.options import OutputFormat, OutputOption, non_empty_path
from qcore.cli.output import show
from qcore.cli.recovery.bump_options import INDEX_BUMP, TERM_BUMP, BumpIndexOption, BumpTermOption
from qcore.errors import ConfigError


def restore(
    file: Annotated[
        Path, typer.Argument(parser=non_empty_path, metavar="FILE", help="The snapshot file.")
    ],
    data_dir: Annotated[
        Path,
        typer.Option(
            "--data-dir",
            envvar="QCORE_DATA_DIR",
            parser=non_empty_path,
            metavar="PATH",
            help="Data directory of the new member. It must hold no data.",
        ),
    ],
    node_id: Annotated[
        int, typer.Option("--id", envvar="QCORE_ID", min=1, help="This member's id.")
    ],
    members: Annotated[
        str,
        typer.Option(
            "--members",
            help="All members of the new cluster: ID=host:port, separated by commas.",
        ),
    ],
    public_key: Annotated[
        list[str] | None,
        typer.Option(
            "--public-key",
            metavar="ID=KEY",
            help="The public key of another member, from `qcore node key` on its machine; once for each.",
        ),
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(
            "--token",
            help="Any text that is unique to this restore. Needed with several members: give all the same.",
        ),
    ] = None,
    bump_index: BumpIndexOption = INDEX_BUMP,
    bump_term: BumpTermOption = TERM_BUMP,
    output: OutputOption = OutputFormat.table,
) -> None:
    """Begin a new cluster from FILE: write its state into a data directory.

    The cluster has a new id, so no old member can join it. Indexes and terms continue far above those
    of FILE, and sessions end: nothing that a client of the old cluster holds means something else.
    Users and roles stay; tokens of users and join tokens end.

    Run it for each member with its --data-dir and --id, and the same FILE, --members, --public-key and
    --token. Then start the nodes.

    Exit code 1: the file is damaged, or the data directory is in use or holds data.
    """
    import os

    from qcore.recovery.clusters.new_cluster_state import Bumps
    from qcore.recovery.clusters.snapshot_restore import restore as restore_file

    named = parse_nodes(members, "--members")
    if len({node for node, _ in named}) < len(named):
        raise ConfigError("--members names a node twice")
    if not named:
        raise ConfigError("--members is empty: name the members, 1=HOST:PORT,2=HOST:PORT,...")
    done = restore_file(
        file,
        data_dir,
        node_id,
        dict(named),
        keys=dict(parse_keys(public_key or [])),
        token=token,
        bumps=Bumps(bump_index, bump_term),
        random_bytes=os.urandom,
    )
    meta = done.new.snapshot.meta
    names = ", ".join(f"{node} at {address}" for node, address in meta.membership.addresses)
    show(
        output,
        {
            "cluster_id": done.new.cluster_id,
            "old_cluster_id": done.header.cluster_id,
            "node_id": node_id,
            "data_dir": str(data_dir),
            "index": meta.last_included_index,
            "old_index": done.header.last_included_index,
            "term": meta.last_included_term,
            "members": [list(pair) for pair in meta.membership.addresses],
            "public_key": done.public_key,
        },
        text=f"{data_dir} holds the state of cluster {done.header.cluster_id} at entry "
        f"{done.header.last_included_index}, as node {node_id} of the new cluster {done.new.cluster_id}\n"
        f"members: {names}\n"
        f"the log continues after index {meta.last_included_index}, in a term above {meta.last_included_term}; all "
        "sessions, tokens of users and join tokens have ended",
    )
