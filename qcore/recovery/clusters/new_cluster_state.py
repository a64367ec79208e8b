"""The state with which a new cluster begins, made from that of an older one.

Clients of the older cluster may have seen log positions and terms that the copy of its state does not have: ids of
sessions and entities, positions of notifications, fencing tokens. None of them may come again with another meaning. So
indexes and terms continue far above those of the copy, and all sessions end. A client with an old session gets
`SessionExpired`, and a watch from an old position gets `WatchCompacted`. The jump is that of etcd's `--bump-revision`,
which etcd needed for the same reason.

The cluster id is new, so no member of the older cluster can join, and no token of a user is valid any more: a token
names its cluster. Users and roles stay. Join tokens are dropped, because the members are other nodes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from typing import Final

from qcore.core.dispatch.message_handlers import MAX_TERM_JUMP
from qcore.core.entry import HardState, Membership, Snapshot, SnapshotMeta
from qcore.core.log.compressed_text import SnapshotText, text_checksum, text_parts
from qcore.core.log.growing_text import TextBuilder
from qcore.core.version import KEYS_SINCE_RULES
from qcore.errors import ConfigError, LogCorrupt
from qcore.recovery.recovery_refused import RecoveryRefused
from qcore.replica.access.access_table import AccessTable
from qcore.replica.access.access_text import table_text
from qcore.replica.sessions.session_table import SessionTable

#: How far indexes jump: more entries than a cluster writes in a year, and little enough for 9,000 recoveries before an
#: index needs more than the 53 bits that are exact in JavaScript.
INDEX_BUMP: Final = 10**12
#: How far terms jump: one election each second for eleven days.
TERM_BUMP: Final = 10**6
#: Indexes stay below this, in which a node has room for all that follows.
_INDEX_LIMIT: Final = 2**61
#: A node that is added later begins with term 0, and drops messages of terms that are too far above its term.
_TERM_LIMIT: Final = MAX_TERM_JUMP // 2
_CLUSTER_ID_CHARS: Final = 32


@dataclass(slots=True, frozen=True)
class Bumps:
    """How far indexes and terms jump.

    Raises:
        ConfigError: a jump is below 1.
    """

    index: int = INDEX_BUMP
    term: int = TERM_BUMP

    def __post_init__(self) -> None:
        if self.index < 1 or self.term < 1:
            raise ConfigError(
                "indexes and terms must continue above the old ones: give numbers from 1 on"
            )


@dataclass(slots=True, frozen=True)
class NewCluster:
    """What a node of the new cluster begins with.

    Attributes:
        snapshot: the state, and the configuration.
        hard_state: the term.
    """

    snapshot: Snapshot
    hard_state: HardState

    @property
    def cluster_id(self) -> str:
        """The id of the new cluster."""
        return self.snapshot.meta.membership.cluster_id


def new_membership(
    addresses: Mapping[int, str], keys: Mapping[int, str], cluster_id: str, rules: int
) -> Membership:
    """The first configuration: all members are voters.

    Args:
        addresses: `host:port` of each member, by id.
        keys: the public key of each member, by id. Apply rules below 5 have none.
        cluster_id: the id of the new cluster.
        rules: the apply rules of the state.

    Raises:
        ConfigError: a key is missing, or no cluster can have this configuration.
    """
    members = tuple(sorted(addresses))
    known = (
        {node: keys[node] for node in members if node in keys} if rules >= KEYS_SINCE_RULES else {}
    )
    missing = [node for node in members if node not in known] if rules >= KEYS_SINCE_RULES else []
    if missing:
        raise ConfigError(
            f"the public key of node {missing[0]} is missing: give --public-key {missing[0]}=KEY; `qcore node key "
            "--create` on that node's machine makes the key in its new data directory and prints it"
        )
    membership = Membership(
        voters=members,
        addresses=tuple(sorted(addresses.items())),
        cluster_id=cluster_id,
        keys=tuple(sorted(known.items())),
    )
    if (fault := membership.invalid_reason()) is not None:
        raise ConfigError(f"no cluster can have these members: {fault}")
    return membership


def derived_cluster_id(token: str, *facts: object) -> str:
    """A cluster id that is the same on all nodes which are given the same token and facts, and on no others."""
    text = json.dumps([token, facts])
    return hashlib.sha256(text.encode()).hexdigest()[:_CLUSTER_ID_CHARS]


def begin(
    meta: SnapshotMeta, text: Iterator[str], membership: Membership, bumps: Bumps
) -> NewCluster:
    """What each member of a new cluster begins with.

    Args:
        meta: what the state covers.
        text: the parts of the text of the state, with users and without sessions (`without_sessions`).
        membership: the first configuration of the new cluster.
        bumps: how far indexes and terms jump.

    Raises:
        RecoveryRefused: no index or term is left.
    """
    index, term = meta.last_included_index + bumps.index, meta.last_included_term + bumps.term
    if index >= _INDEX_LIMIT or term >= _TERM_LIMIT:
        raise RecoveryRefused(
            f"the index would become {index} and the term {term}; they must stay below {_INDEX_LIMIT} and "
            f"{_TERM_LIMIT}: jump less far (--bump-index, --bump-term)"
        )
    builder = TextBuilder()
    for part in text:
        builder.add(part)
    data = builder.build()
    new_meta = replace(
        meta, last_included_index=index, last_included_term=term, membership=membership
    )
    return NewCluster(
        Snapshot(new_meta, data, text_checksum(data)), HardState(term=term, commit=index)
    )


def without_sessions(access: AccessTable, rules: int, machine: Iterator[str]) -> Iterator[str]:
    """The text of a snapshot with these users, with no session and no join token, and this state of the machine."""
    users = table_text(access.users(), access.roles(), ())
    return chain(users, SessionTable().dump(rules), machine)


def cleared(text: SnapshotText, rules: int) -> Iterator[str]:
    """The text of a snapshot in parts, without its sessions and join tokens.

    Raises:
        LogCorrupt: it is not the text of a snapshot.
    """
    access, sessions = AccessTable(), SessionTable()
    try:
        at = _finished(access.load(text))
        at = _finished(sessions.load(text, at))
    except (ValueError, TypeError) as error:
        raise LogCorrupt(f"the text is not that of a snapshot: {error}") from error
    return without_sessions(access, rules, text_parts(text, at))


def _finished(loading: Iterator[None]) -> int:
    """Run a loading to its end. Returns the position behind what it has read."""
    while True:
        try:
            next(loading)
        except StopIteration as end:
            return int(end.value)
