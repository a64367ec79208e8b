"""`recover`: begins a new, smaller cluster from the nodes that are left of one that has lost its quorum.

It applies the whole furthest log to the state machine, as `RecoverCluster` of HashiCorp's Raft does, and writes the
state as a snapshot into the data directory of each new member, in one transaction each. Before that it copies the files
of the directory.
"""

from __future__ import annotations

import random
import shutil
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

from qcore.core.config import RaftConfig
from qcore.core.entry import DurableState, SnapshotMeta
from qcore.core.log.compressed_text import SnapshotText
from qcore.core.log.durable_state import last_index
from qcore.core.log.restore import restored_clock_us, restored_memberships, restored_time_us
from qcore.errors import ConfigError, StorageError
from qcore.machines.interface import StateMachine
from qcore.node.peers.known_members_file import FILE_NAME as PEERS_FILE
from qcore.node.peers.known_members_file import load_known_members
from qcore.node.peers.node_key_file import KEY_FILE_NAME, load_or_create_key, read_key
from qcore.node.watches.divergence import FILE_NAME as DIVERGED_FILE
from qcore.node.watches.divergence import DivergenceMarkFile
from qcore.recovery.checks.data_dir_check import check_data_dir
from qcore.recovery.checks.database_copy import read_stored
from qcore.recovery.checks.findings import CheckReport
from qcore.recovery.clusters.member_list import checked_addresses
from qcore.recovery.clusters.new_cluster_state import (
    Bumps,
    NewCluster,
    begin,
    cleared,
    new_membership,
)
from qcore.recovery.clusters.survivors import Recovery, Survivor, judge, survivor_of
from qcore.recovery.recovery_refused import RecoveryRefused
from qcore.recovery.repairs.backup_copy import back_up
from qcore.replica.config import ReplicaConfig
from qcore.replica.replica import Replica
from qcore.replica.snapshot_builder import SnapshotBuilder
from qcore.security.keys.node_key import SEED_BYTES, NodeKey
from qcore.storage.files.synced_files import path_exists, remove
from qcore.storage.sqlite.sqlite_storage import DATABASE_FILE, SqliteStorage

_BACKUP_PREFIX: Final = "before-recovery"


@dataclass(slots=True, frozen=True)
class RecoveryPlan:
    """What a recovery does.

    Attributes:
        judgement: whose log is taken, and what may be lost.
        state: the furthest log.
        members: `host:port` of each member of the new cluster, by id.
        others: the survivors that do not become members. Their directories stay as they are.
    """

    judgement: Recovery
    state: DurableState
    members: Mapping[int, str]
    others: tuple[Survivor, ...]

    @property
    def new_members(self) -> tuple[Survivor, ...]:
        """The survivors that become members."""
        return tuple(each for each in self.judgement.survivors if each.node_id in self.members)


@dataclass(slots=True, frozen=True)
class Recovered:
    """What a recovery has done.

    Attributes:
        new: what each member begins with.
        backups: the directory with the old files, by node id.
    """

    new: NewCluster
    backups: Mapping[int, Path]


def plan_recovery(
    directories: Sequence[Path],
    members: Mapping[int, str] | None,
    *,
    even_if_diverged: bool = False,
) -> RecoveryPlan:
    """Read the data directories, and decide what a recovery does. Changes nothing.

    Args:
        directories: the data directories of all nodes that are left.
        members: `host:port` of each member of the new cluster, by id: some of these nodes. None for all of them that
            are voters, at their addresses.
        even_if_diverged: take the log of a node that differs from a majority.

    Raises:
        ConfigError: a member has no directory here, or its address cannot be used.
        RecoveryRefused: see `judge`; or a node runs on a directory, or its log cannot be trusted.
        StorageError: a directory cannot be read.
    """
    read = [_read(directory) for directory in directories]
    judgement = judge([survivor for survivor, _ in read], even_if_diverged=even_if_diverged)
    if members is None:
        newest = judgement.furthest.membership
        members = {
            each.node_id: newest.address_of(each.node_id) or ""
            for each in judgement.survivors
            if each.node_id in newest.voters
        }
    addresses = checked_addresses(members)
    present = {each.node_id for each in judgement.survivors}
    for node in addresses:
        if node not in present:
            raise ConfigError(
                f"--members names node {node}, and no --data-dir is that of node {node}: begin without it, and add it "
                "to the new cluster with an empty data directory"
            )
    if not addresses:
        raise ConfigError("--members is empty: name at least one of these nodes")
    state = next(state for survivor, state in read if survivor is judgement.furthest)
    others = tuple(each for each in judgement.survivors if each.node_id not in addresses)
    return RecoveryPlan(judgement, state, addresses, others)


def _read(directory: Path) -> tuple[Survivor, DurableState]:
    report = check_data_dir(directory)
    _require_readable(report)
    found = read_stored((directory / DATABASE_FILE).absolute())
    cluster_id = found.identity.cluster_id
    if cluster_id is None:
        raise RecoveryRefused(f"{directory} belongs to no cluster yet: leave it out")
    key = read_key(directory)
    survivor = survivor_of(
        directory,
        found.identity.node_id,
        cluster_id,
        found.state,
        restored_memberships(found.state),
        diverged=DivergenceMarkFile(directory).load() is not None,
        public_key=None if key is None else key.public,
    )
    return survivor, found.state


def _require_readable(report: CheckReport) -> None:
    """Refuse a directory that a node uses, or whose log is not sound."""
    directory = report.directory
    if report.process is not None:
        raise RecoveryRefused(f"a node runs on {directory} (process {report.process}): stop it")
    for found in report.faults:
        if found.where in (DIVERGED_FILE, PEERS_FILE) or found.repair == "key_mode":
            continue
        advice = "Leave it out, and recover from the other nodes, or restore a backup"
        if found.where == KEY_FILE_NAME:
            if not path_exists(directory / KEY_FILE_NAME):
                continue  # the new cluster gets to know a new key
            advice = (
                f"If the other files are those of this node, move {KEY_FILE_NAME} away and recover again: the node "
                "gets a new key"
            )
        raise RecoveryRefused(
            f"{directory} is not sound: {found.where}: {found.what}. `qcore check {directory}` shows everything. "
            f"{advice}"
        )


def carry_out(
    plan: RecoveryPlan, machine: StateMachine, bumps: Bumps, random_bytes: Callable[[int], bytes]
) -> Recovered:
    """Write the new cluster into the directories of its members.

    Args:
        plan: what to do.
        machine: a fresh state machine, the one that the cluster runs.
        bumps: how far indexes and terms jump.
        random_bytes: for the id of the new cluster.

    Raises:
        RecoveryRefused: a directory has changed since it was read.
        IncompatibleVersion: the log belongs to another state machine, or needs another version of it.
        StateMachineFailed: the state machine raised.
        StorageError: a directory cannot be written. Those before it in `plan.new_members` are done.
    """
    new, made = preview(plan, machine, bumps, random_bytes)
    backups = _back_up_all(plan.new_members)
    with ExitStack() as stack:
        opened: list[tuple[Survivor, SqliteStorage]] = []
        for each in plan.new_members:
            storage = SqliteStorage.open(each.directory, each.node_id)
            stack.callback(storage.close)
            _require_unchanged(each, storage)
            opened.append((each, storage))
        for each, storage in opened:
            # It names the old data directories of the others, which get new incarnations. An empty one replaces it.
            remove(each.directory / PEERS_FILE)
            load_known_members(each.directory)
            if (key := made.get(each.node_id)) is not None:
                load_or_create_key(each.directory, partial(_seed_of, key))
            storage.begin_new_cluster(new.snapshot, new.hard_state)
            DivergenceMarkFile(each.directory).save(None)
    return Recovered(new, backups)


def preview(
    plan: RecoveryPlan, machine: StateMachine, bumps: Bumps, random_bytes: Callable[[int], bytes]
) -> tuple[NewCluster, dict[int, NodeKey]]:
    """What the members begin with, and the keys that those without one get. Changes nothing.

    Raises:
        RecoveryRefused: no index or term is left.
        IncompatibleVersion: the log belongs to another state machine, or needs another version of it.
        StateMachineFailed: the state machine raised.
    """
    made = {
        each.node_id: NodeKey(random_bytes(SEED_BYTES))
        for each in plan.new_members
        if each.public_key is None
    }
    return new_cluster(plan, machine, bumps, uuid.UUID(bytes=random_bytes(16)).hex, made), made


def _back_up_all(members: Sequence[Survivor]) -> dict[int, Path]:
    """Copy the files of each member; returns the copies, by id. If one fails, no copy stays."""
    backups: dict[int, Path] = {}
    try:
        for each in members:
            backups[each.node_id] = back_up(each.directory, _BACKUP_PREFIX)
    except StorageError:
        for backup in backups.values():
            shutil.rmtree(backup, ignore_errors=True)
        raise
    return backups


def _seed_of(key: NodeKey, _size: int) -> bytes:
    return key.seed


def new_cluster(
    plan: RecoveryPlan,
    machine: StateMachine,
    bumps: Bumps,
    cluster_id: str,
    made: Mapping[int, NodeKey],
) -> NewCluster:
    """What each member begins with: the state after the whole furthest log. Changes nothing.

    Args:
        plan: what to do.
        machine: a fresh state machine, the one that the cluster runs.
        bumps: how far indexes and terms jump.
        cluster_id: the id of the new cluster.
        made: new keys, by id, for members without one.

    Raises:
        ConfigError: a member has no key, and the cluster's rules need one.
        IncompatibleVersion: the log belongs to another state machine, or needs another version of it.
        StateMachineFailed: the state machine raised.
    """
    replica, text = _replayed(plan.state, machine, plan.judgement.furthest.node_id)
    version = replica.versions.active
    keys = {each.node_id: each.public_key for each in plan.new_members if each.public_key}
    keys.update({node_id: key.public for node_id, key in made.items()})
    membership = new_membership(plan.members, keys, cluster_id, version.rules)
    meta = SnapshotMeta(
        max(each.last_index for each in plan.judgement.survivors),
        max(plan.judgement.term, plan.judgement.furthest.last_term),
        restored_time_us(plan.state),
        membership,
        restored_clock_us(plan.state),
        version,
    )
    return begin(meta, cleared(text, version.rules), membership, bumps)


def _replayed(
    state: DurableState, machine: StateMachine, node_id: int
) -> tuple[Replica, SnapshotText]:
    """A replica that has applied every entry of a log, and the text of its state."""
    last = last_index(state)
    hard = replace(state.hard_state, commit=last)
    config = ReplicaConfig(RaftConfig(node_id))
    replica = Replica(config, machine, replace(state, hard_state=hard), rng=random.Random(0), now=0)
    assert replica.applied_index == last, "a replica applies all committed entries when it starts"
    builder = SnapshotBuilder(config)
    builder.begin(machine, replica.sessions, replica.access, last, 0, replica.versions.active, 0)
    taken = builder.build_step(0, everything=True)
    assert taken is not None, "everything was asked for"
    return replica, taken.data


def _require_unchanged(survivor: Survivor, storage: SqliteStorage) -> None:
    state = storage.load()
    if (last_index(state), state.hard_state.term) != (survivor.last_index, survivor.term):
        raise RecoveryRefused(
            f"{survivor.directory} has changed since it was read: a node ran on it. Nothing was changed here; stop "
            "the node and begin again"
        )
