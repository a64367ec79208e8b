"""`NewCluster`: the first configuration and the cluster id that an `Init` asks for; and the checks of both."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from qcore.core.entry import Membership
from qcore.core.version import ClusterVersion
from qcore.errors import ConfigError
from qcore.node.api.member_addresses import member_address, members_problem

#: The most members (voters and learners) of a cluster. The bound exists because many messages carry a configuration.
MAX_MEMBERS: Final = 255

#: In a cluster id made from a token, this many characters digest token and members; the rest digests the version.
_TOKEN_PART_LENGTH: Final = 24


@dataclass(slots=True, frozen=True)
class NewCluster:
    """A cluster that an `Init` asks for.

    Without a token the cluster id is random. With a token it is a digest of the token and of everything in the first
    entries: the members, and the version that the log begins with. So nodes that independently write first entries with
    the same cluster id write the same bytes.

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
    def token_part(self) -> str:
        """The part of the cluster id that does not depend on the version that the log begins with."""
        return self.cluster_id[:_TOKEN_PART_LENGTH]

    def is_cluster(self, cluster_id: str) -> bool:
        """Whether the same `Init` initialised that cluster, perhaps on a node with another program version."""
        return self.by_token and cluster_id[:_TOKEN_PART_LENGTH] == self.token_part


def new_cluster(
    nodes: Sequence[tuple[int, str]],
    own_id: int,
    token: str | None = None,
    version: ClusterVersion | None = None,
    *,
    new_token: Callable[[], str],
) -> NewCluster:
    """The cluster of these nodes.

    Args:
        nodes: id and `host:port` of every voter.
        own_id: this node's id; must be among them.
        token: determines the cluster id; None for a random one.
        version: the version that this node's log would begin with.
        new_token: see `qcore.runtime.interface.Runtime`.

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
        else _digest_id(token, members, version),
    )
    return NewCluster(membership, token is not None)


def _digest_id(
    token: str, members: Sequence[tuple[int, str]], version: ClusterVersion | None
) -> str:
    token_part = hashlib.sha256(json.dumps([token, members]).encode()).hexdigest()[
        :_TOKEN_PART_LENGTH
    ]
    first_version = "" if version is None else version.to_json()
    return (
        token_part + hashlib.sha256(first_version.encode()).hexdigest()[: 32 - _TOKEN_PART_LENGTH]
    )
