"""`qcore node recover`: begins a new cluster from the nodes that are left of one that has lost its quorum."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qcore.cli.cluster.node_list import parse_nodes
from qcore.cli.options import OutputFormat, OutputOption, non_empty_path
from qcore.cli.output import show
from qcore.cli.recovery.bump_options import INDEX_BUMP, TERM_BUMP, BumpIndexOption, BumpTermOption

if TYPE_CHECKING:
    from qcore.recovery.clusters.quorum_recovery import Recovered, RecoveryPlan


def recover(
    data_dir: Annotated[
        list[Path],
        typer.Option(
            "--data-dir",
            envvar="QCORE_DATA_DIR",
            parser=non_empty_path,
            metavar="PATH",
            help="Data directory of a node that is left; once for each.",
        ),
    ],
    members: Annotated[
        str | None,
        typer.Option(
            "--members",
            help="The members of the new cluster, from these nodes: ID=host:port, separated by commas. Default: all "
            "that are voters, at their addresses.",
        ),
    ] = None,
    machine: Annotated[
        str,
        typer.Option(
            "--machine",
            envvar="QCORE_MACHINE",
            help="The state machine that the cluster runs, as for `qcore node start`.",
        ),
    ] = "entity",
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Do it. Without it, nothing is changed.")
    ] = False,
    even_if_diverged: Annotated[
        bool,
        typer.Option(
            "--even-if-diverged",
            help="Take the furthest log even if its node differs from a majority (diverged.json).",
        ),
    ] = False,
    bump_index: BumpIndexOption = INDEX_BUMP,
    bump_term: BumpTermOption = TERM_BUMP,
    output: OutputOption = OutputFormat.table,
) -> None:
    """Begin a new cluster from the nodes that are left, after a majority is lost for ever.

    Give the data directories of all nodes that are left, and no node may run on them. It compares
    their logs as an election does, takes the furthest one, says what may be lost, and with --yes writes
    the new cluster into the directories of its members. It keeps a copy of their files beside them.

    The cluster has a new id, so no old member can join it. Sessions, tokens of users and join tokens
    end. Start the members afterwards, and add more with empty data directories.

    Exit code 1: it is refused, and nothing is changed.
    """
    import os

    from qcore.node.application import application_of
    from qcore.recovery.clusters.new_cluster_state import Bumps
    from qcore.recovery.clusters.quorum_recovery import carry_out, plan_recovery, preview

    named = None if members is None else dict(parse_nodes(members, "--members"))
    bumps = Bumps(bump_index, bump_term)
    fresh = application_of(machine).machine
    plan = plan_recovery(data_dir, named, even_if_diverged=even_if_diverged)
    done = None
    if yes:
        done = carry_out(plan, fresh, bumps, os.urandom)
    else:
        preview(plan, fresh, bumps, os.urandom)
    show(output, _as_json(plan, done), text="\n".join(_lines(plan, done)))


def _lines(plan: RecoveryPlan, done: Recovered | None) -> list[str]:
    judgement, lines = plan.judgement, list[str]()
    for each in judgement.survivors:
        lines.append(
            f"node {each.node_id} ({each.directory}): term {each.term}, last entry {each.last_index} of term "
            f"{each.last_term}, commit index at least {each.commit_index}"
            + (", diverged" if each.diverged else "")
        )
    lines.append(f"the log of node {judgement.furthest.node_id} is the furthest")
    lines += judgement.losses()
    for each in plan.new_members:
        if each.public_key is None:
            lines.append(f"node {each.node_id} has no key (node.key), and gets a new one")
    for each in plan.others:
        lines.append(
            f"node {each.node_id} does not become a member; {each.directory} stays as it is, and can never join"
        )
    names = ", ".join(f"{node} at {address}" for node, address in sorted(plan.members.items()))
    if done is None:
        lines.append(f"with --yes a new cluster begins with {names}; nothing was changed")
        return lines
    for node, path in sorted(done.backups.items()):
        lines.append(f"the old files of node {node} are in {path}")
    index = done.new.snapshot.meta.last_included_index
    lines.append(
        f"cluster {done.new.cluster_id} begins with {names}; its log continues after index {index}"
    )
    return lines


def _as_json(plan: RecoveryPlan, done: Recovered | None) -> dict[str, Any]:
    judgement = plan.judgement
    return {
        "done": done is not None,
        "old_cluster_id": judgement.furthest.cluster_id,
        "cluster_id": None if done is None else done.new.cluster_id,
        "members": [list(pair) for pair in sorted(plan.members.items())],
        "furthest": judgement.furthest.node_id,
        "commit_index": judgement.commit_index,
        "last_index": judgement.furthest.last_index,
        "last_term": judgement.furthest.last_term,
        "unseen_voters": list(judgement.unseen),
        "loses_nothing": judgement.loses_nothing,
        "notes": judgement.losses(),
        "nodes": [
            {
                "node_id": each.node_id,
                "data_dir": str(each.directory),
                "term": each.term,
                "last_term": each.last_term,
                "last_index": each.last_index,
                "commit_index": each.commit_index,
                "diverged": each.diverged,
                "backup": None
                if done is None or each.node_id not in done.backups
                else str(done.backups[each.node_id]),
            }
            for each in judgement.survivors
        ],
    }
