"""`restore`: begins a new cluster from a snapshot file, in the data directory of one of its members.

Each member of the new cluster gets the same state. Alone, a member can begin by itself, and others are added later.
With several, each is given the same file, members, keys and token, and so derives the same cluster id. If one was given
something else, it has another cluster id, and the members refuse each other.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from qcore.core.entry import Membership, SnapshotMeta
from qcore.core.log.compressed_text import text_parts
from qcore.core.version import LATEST_RULES
from qcore.errors import ConfigError, DataDirLocked, LogCorrupt, SnapshotFileError
from qcore.node.peers.known_members_file import load_known_members
from qcore.node.peers.node_key_file import load_or_create_key
from qcore.recovery.checks.data_dir_check import check_data_dir
from qcore.recovery.clusters.member_list import checked_addresses
from qcore.recovery.clusters.new_cluster_state import (
    Bumps,
    NewCluster,
    begin,
    cleared,
    derived_cluster_id,
    new_membership,
)
from qcore.recovery.recovery_refused import RecoveryRefused
from qcore.recovery.snapshot_summary import SnapshotSummary, summarise
from qcore.storage.files.snapshot_file import SnapshotHeader, read_snapshot
from qcore.storage.sqlite.sqlite_storage import SqliteStorage

_EMPTY_ONE: Final = "give a data directory that is empty, or that a new node has just made"


@dataclass(slots=True, frozen=True)
class Restored:
    """What a restore has written.

    Attributes:
        header: of the file.
        new: what the node begins with.
        public_key: of this node.
    """

    header: SnapshotHeader
    new: NewCluster
    public_key: str

    @property
    def membership(self) -> Membership:
        """The first configuration of the new cluster."""
        return self.new.snapshot.meta.membership


def verify_content(path: Path) -> tuple[SnapshotHeader, SnapshotSummary]:
    """Read and check a whole snapshot file. Returns its header, and what it holds.

    Raises:
        SnapshotFileError: it is damaged, or a newer program wrote it.
    """
    header, text = read_snapshot(path)
    try:
        summary = summarise(text_parts(text))
    except ValueError as error:
        raise SnapshotFileError(f"{path}: its text is not that of a state: {error}") from error
    return header, summary


def checked_members(members: Mapping[int, str], node_id: int) -> dict[int, str]:
    """The addresses of the members by id, in canonical spelling.

    Raises:
        ConfigError: one cannot be dialled, two are the same, or the node is not among them.
    """
    addresses = checked_addresses(members)
    if node_id not in addresses:
        raise ConfigError(
            f"--members names {sorted(addresses)}, and not node {node_id}, which --id names: name every member of the "
            "new cluster, this node too"
        )
    return addresses


def restore(
    path: Path,
    directory: Path,
    node_id: int,
    members: Mapping[int, str],
    *,
    keys: Mapping[int, str],
    token: str | None,
    bumps: Bumps,
    random_bytes: Callable[[int], bytes],
) -> Restored:
    """Write the state of a snapshot file into the data directory of a member of a new cluster.

    Args:
        path: the file.
        directory: the data directory: absent, empty, or of a node that belongs to no cluster.
        node_id: the member.
        members: the address of each member, by id.
        keys: the public keys of the other members, by id.
        token: a text that is unique to this restore, and the same for all members; needed with several members.
        bumps: how far indexes and terms jump.
        random_bytes: for the key of a node that has none.

    Raises:
        ConfigError: the members, keys or token do not fit; nothing was written but, perhaps, a new node's files.
        SnapshotFileError: the file is damaged.
        RecoveryRefused: the directory is in use, or holds data.
        StorageError: it cannot be written.
    """
    addresses = checked_members(members, node_id)
    if len(addresses) > 1 and not token:
        raise ConfigError(
            "--token is missing: with several members give each the same text, which no other restore has, so that "
            "they derive the same cluster id"
        )
    header, text = read_snapshot(path)
    rules = header.cluster_version.rules
    if rules > LATEST_RULES:
        raise SnapshotFileError(
            f"{path}: its state needs apply rules {rules}, this program knows up to {LATEST_RULES}: use the qcore "
            "that wrote it"
        )
    try:
        parts = cleared(text, rules)
    except LogCorrupt as error:
        raise SnapshotFileError(f"{path}: {error}") from error
    try:
        storage = SqliteStorage.open(directory, node_id)
    except DataDirLocked as error:
        raise RecoveryRefused(str(error)) from error
    try:
        _require_pristine(storage, directory)
        key = load_or_create_key(directory, random_bytes).public
        if keys.get(node_id, key) != key:
            raise ConfigError(
                f"--public-key {node_id}: the key of this node is {key}, from {directory}: leave the option out"
            )
        known = {**keys, node_id: key}
        meta = _meta(header)
        unnamed = new_membership(addresses, known, "", rules)
        cluster_id = uuid.UUID(bytes=random_bytes(16)).hex
        if token is not None:
            facts = (
                header.sha256,
                header.line().decode(),
                unnamed.to_json(),
                bumps.index,
                bumps.term,
            )
            cluster_id = derived_cluster_id(token, *facts)
        membership = new_membership(addresses, known, cluster_id, rules)
        new = begin(meta, parts, membership, bumps)
        load_known_members(directory)  # an empty file: a node that misses it warns
        storage.begin_new_cluster(new.snapshot, new.hard_state)
    finally:
        storage.close()
    if faults := check_data_dir(directory).faults:
        raise LogCorrupt(
            f"{directory} is not sound after the restore: {faults[0].where}: {faults[0].what}"
        )
    return Restored(header, new, key)


def _require_pristine(storage: SqliteStorage, directory: Path) -> None:
    found = storage.load()
    cluster_id = storage.identity().cluster_id
    if cluster_id is None and not (found.entries or found.snapshot or found.hard_state.term):
        return
    whose = f"belongs to cluster {cluster_id}" if cluster_id else "holds the log of a node"
    raise RecoveryRefused(f"{directory} {whose}, and nothing was changed: {_EMPTY_ONE}")


def _meta(header: SnapshotHeader) -> SnapshotMeta:
    return SnapshotMeta(
        header.last_included_index,
        header.last_included_term,
        header.last_included_time_us,
        header.membership,
        header.last_included_clock_us,
        header.cluster_version,
    )
