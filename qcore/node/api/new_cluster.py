"""`NewCluster`: the first configuration and the cluster id that an `Init` asks for; and what executing it needs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final, Protocol

from qcore.core.entry import Membership
from qcore.core.version import ClusterVersion
from qcore.errors import ConfigError
from qcore.node.addresses.member_addresses import member_address, members_problem
from qcore.node.peers.founder_keys import Answer
from qcore.node.peers.peer_router import ConnectionStatus

#: The most members (voters and learners) of a cluster. The bound exists because many messages carry a configuration.
MAX_MEMBERS: Final = 255

#: In a cluster id made from a token, this many characters digest token and members; the rest digests the version.
_TOKEN_PART_LENGTH: Final = 24


class PeerConnections(Protocol):
    """What `Initialiser` needs from `qcore.node.peers.peer_router.PeerRouter`."""

    def connect_to(self, nodes: Mapping[int, str], keys: Mapping[int, str] | None = None) -> None:
        """Connect to these nodes; an empty mapping ends the connections. They must have these public keys (by id)."""
        ...

    def connection_statuses(self) -> dict[int, ConnectionStatus]:
        """The status of the connection to each node."""
        ...


class Peers(PeerConnections, Protocol):
    """The connections to the other nodes.

    Attributes:
        on_connection_change: called when one of them has changed.
        public_key: of this node; empty if it has none.
    """

    on_connection_change: Callable[[], None]
    public_key: str

    @property
    def awaited_cluster(self) -> str | None:
        """The cluster for which this node has a join token, until it is a member."""
        ...

    async def ask_nodes(
        self,
        nodes: Mapping[int, str],
        timeout_s: float,
        cluster_id: str = "",
        *,
        need_keys: bool = True,
    ) -> tuple[Mapping[int, Answer], Mapping[int, str]]:
        """See `qcore.node.peers.founder_keys`."""
        ...

    def announced_by(self, peer: int) -> str | None:
        """See `PeerRouter`."""
        ...


class LogState(Protocol):
    """What `Initialiser` reads from `qcore.core.raft.RaftCore`."""

    @property
    def is_pristine(self) -> bool:
        """Whether the log is empty and the node took part in no election. Only then may it initialise a cluster."""
        ...

    @property
    def commit_index(self) -> int:
        """The commit index."""
        ...


@dataclass(slots=True, frozen=True)
class NewCluster:
    """A cluster that an `Init` asks for.

    Without a token the cluster id is random. With a token it is a digest of the token and of everything in the first
    entries: the members with their public keys, and the version that the log begins with. So nodes that independently
    write first entries with the same cluster id write the same bytes.

    Attributes:
        membership: the first configuration.
        by_token: whether the cluster id was made from a token.
    """

    membership: Membership
    by_token: bool

    @property
    def cluster_id(self) -> str:
        return self.membership.cluster_id

    @property
    def members(self) -> tuple[int, ...]:
        return self.membership.voters

    @property
    def token_part(self) -> str:
        """The part of the cluster id that does not depend on keys, and on the version that the log begins with."""
        return self.cluster_id[:_TOKEN_PART_LENGTH]

    def is_cluster(self, cluster_id: str) -> bool:
        """Whether the same `Init` initialised that cluster, perhaps on a node with another program version."""
        return self.by_token and cluster_id[:_TOKEN_PART_LENGTH] == self.token_part

    @property
    def required_acceptances(self) -> int:
        """How many nodes, this one included, must accept the cluster before this node writes the first entries.

        Without a token the cluster id is new, and a majority excludes a second cluster. With a token all nodes must
        accept, because the same `Init` may be sent to a member that was wiped. Then a majority does not prove that the
        cluster is new: a silent node may belong to it, under the same id, with other entries at the same index and
        term.
        """
        members = len(self.membership.voters)
        return members if self.by_token else members // 2 + 1

    def with_keys(self, keys: Mapping[int, str]) -> NewCluster:
        """The same cluster, with the members' public keys by id. Not for a cluster by token, whose id depends on them.

        Raises:
            ConfigError: they cannot be the keys of these members.
        """
        membership = replace(self.membership, keys=tuple(sorted(keys.items())))
        if (fault := membership.invalid_reason()) is not None:
            raise ConfigError(f"public_keys: {fault}")
        return replace(self, membership=membership)


def new_cluster(
    nodes: Sequence[tuple[int, str]],
    own_id: int,
    token: str | None = None,
    version: ClusterVersion | None = None,
    *,
    new_token: Callable[[], str],
    keys: Mapping[int, str] = MappingProxyType({}),
) -> NewCluster:
    """The cluster of these nodes.

    Args:
        nodes: id and `host:port` of every voter.
        own_id: this node's id; must be among them.
        token: determines the cluster id; None for a random one.
        version: the version that this node's log would begin with.
        new_token: see `qcore.runtime.interface.Runtime`.
        keys: the public keys of voters, by id.

    Raises:
        ConfigError: an id or address is malformed or given twice, or `own_id` is missing.
    """
    if len(nodes) > MAX_MEMBERS:
        raise ConfigError(f"{len(nodes)} nodes are named; a cluster has at most {MAX_MEMBERS}")
    addresses: dict[int, str] = {}
    for position, (node_id, text) in enumerate(nodes):
        address = member_address(text, f"nodes[{position}]")
        if node_id in addresses:
            raise ConfigError(f"nodes[{position}]: node {node_id} is named twice")
        addresses[node_id] = address
    if own_id not in addresses:
        raise ConfigError(
            f"nodes: this is node {own_id}, and it is not among {sorted(addresses)}; "
            "send Init to one of the nodes that it names"
        )
    if (problem := members_problem(addresses)) is not None:
        raise ConfigError(f"nodes: {problem}")
    members = sorted(addresses.items())
    membership = Membership(
        voters=tuple(node_id for node_id, _ in members),
        addresses=tuple(members),
        cluster_id=new_token().replace("-", "")
        if token is None
        else _digest_id(token, members, version, sorted(keys.items())),
        keys=tuple(sorted(keys.items())),
    )
    return NewCluster(membership, token is not None)


def _digest_id(
    token: str,
    members: Sequence[tuple[int, str]],
    version: ClusterVersion | None,
    keys: Sequence[tuple[int, str]],
) -> str:
    token_part = hashlib.sha256(json.dumps([token, members]).encode()).hexdigest()[
        :_TOKEN_PART_LENGTH
    ]
    first_version = "" if version is None else version.to_json()
    if keys:
        first_version += json.dumps(keys)
    return (
        token_part + hashlib.sha256(first_version.encode()).hexdigest()[: 32 - _TOKEN_PART_LENGTH]
    )
