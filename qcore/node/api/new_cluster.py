"""`NewCluster`: the first configuration and the cluster id that an `Init` asks for; and what executing it needs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final, Protocol

from qcore.core.entry import Membership
from qcore.core.version import KEYS_SINCE_RULES, ClusterVersion
from qcore.errors import ChangeRefused, ConfigError, QcoreError
from qcore.node.addresses.member_addresses import member_address, members_problem
from qcore.node.peers.founder_keys import AskedPeers
from qcore.node.peers.peer_keys import OTHER_FOUNDER_KEY
from qcore.node.peers.peer_router import ConnectionStatus
from qcore.replica.peers.identity import (
    DUPLICATE_NODE_ID,
    IN_OTHER_CLUSTER,
    JOINING_OTHER_CLUSTER,
)
from qcore.transport.peers.peer_connector import WRONG_NODE_HINT

#: The most members (voters and learners) of a cluster. The bound exists because many messages carry a configuration.
MAX_MEMBERS: Final = 255

#: What to do about a wrong public key.
KEY_ADVICE: Final = (
    "Give the keys that `qcore node key --data-dir DIR` prints on the machines of the nodes, or leave out "
    "`--public-key`"
)

#: Parts of rejections that show a wrong list of nodes: the node that rejects would never join.
_WRONG_LIST: Final = (IN_OTHER_CLUSTER, DUPLICATE_NODE_ID, WRONG_NODE_HINT)
#: What to do if an `Init` is rejected.
INIT_ADVICE: Final = (
    "If another Init is in progress, wait: its cluster takes in the nodes that it names. Else start the nodes that do "
    "not answer, and repeat this Init; send it to one node only, or to several with one --init-token. A node that "
    "belongs to another cluster can move only with an empty data directory"
)

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


class Peers(PeerConnections, AskedPeers, Protocol):
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
        is_decided: whether the founders have decided it: see `qcore.node.discovery`.
    """

    membership: Membership
    by_token: bool
    is_decided: bool = False

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
        term. A cluster that is decided names the keys of its founders, and a node that was wiped has another key. So a
        majority is enough.
        """
        members = len(self.membership.voters)
        return members if self.by_token and not self.is_decided else members // 2 + 1

    def with_keys(self, keys: Mapping[int, str]) -> NewCluster:
        """The same cluster, with the members' public keys by id. Not for a cluster by token, whose id depends on them.

        Raises:
            ConfigError: they cannot be the keys of these members.
        """
        membership = replace(self.membership, keys=tuple(sorted(keys.items())))
        if (fault := membership.invalid_reason()) is not None:
            raise ConfigError(f"public_keys: {fault}")
        return replace(self, membership=membership)


def check_given_keys(
    plan: NewCluster, keys: Mapping[int, str], own_id: int, own_key: str, rules: int | None
) -> None:
    """Check the public keys that an `Init` gives, as far as this node knows them.

    Args:
        plan: the new cluster.
        keys: the given keys, by id.
        own_id, own_key: id and public key of this node.
        rules: the apply rules with which the cluster begins, if its members have no keys; None if they have.

    Raises:
        ConfigError: a key is wrong, or there may be none.
    """
    if keys and rules is not None:
        raise ConfigError(
            f"public_keys: the cluster would begin with apply rules {rules}, under which its members have no public "
            "keys: leave them out (--public-key). The cluster collects the keys by itself once every member supports "
            f"apply rules {KEYS_SINCE_RULES}"
        )
    for node in keys:
        if node not in plan.members:
            raise ConfigError(
                f"public_keys: node {node} has a key and is not among the nodes {[*plan.members]}"
            )
    if keys.get(own_id, own_key) != own_key:
        raise ConfigError(
            f"public_keys: node {own_id} is given the key {keys[own_id]}, and has the key {own_key}. Nothing was "
            f"written. {KEY_ADVICE}"
        )


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


def list_is_wrong(rejections: Mapping[int, str]) -> bool:
    """Whether a node rejects a new cluster because its list of nodes is wrong."""
    return _has(rejections, _WRONG_LIST)


def never_joins(rejections: Mapping[int, str]) -> bool:
    """Whether a node that rejects a new cluster would never join it."""
    return _has(rejections, (*_WRONG_LIST, OTHER_FOUNDER_KEY))


def _has(rejections: Mapping[int, str], parts: Sequence[str]) -> bool:
    return any(part in text for text in rejections.values() for part in parts)


def not_accepted(
    own_id: int, plan: NewCluster, rejections: Mapping[int, str], report: str
) -> QcoreError:
    """The error of an `Init` that too few nodes accept.

    Args:
        own_id: the node that got the `Init`.
        plan: the new cluster.
        rejections: why nodes reject it, by id.
        report: what is known of each node.
    """
    members = plan.membership.voters
    answers = " ".join(rejections.values())
    wrong_list = list_is_wrong(rejections)
    other_key = _has(rejections, (OTHER_FOUNDER_KEY,))
    why = (
        "a node has another public key than it is given"
        if other_key
        else "a node that belongs to another cluster cannot be among them"
        if IN_OTHER_CLUSTER in answers
        else "the list gives a node an address that is not its own"
        if wrong_list
        else f"{plan.required_acceptances} of the {len(members)} nodes have to accept the new cluster first"
    )
    if plan.by_token and not plan.is_decided and not never_joins(rejections):
        why += ", all of them: with a token, a silent node may be a member of this very cluster already"
    text = (
        f"node {own_id} has not begun the cluster, because {why}: "
        f"{report}. Nothing was written here. {INIT_ADVICE}"
    )
    if plan.by_token and answers.count(plan.token_part) > answers.count(plan.cluster_id):
        text += (
            ". They have begun the same cluster with other apply rules, another version of the state machine, or "
            "other public keys: start all nodes with the same program, --max-rules and --machine. A node that was "
            "wiped since has another key: remove it from the cluster, and add it again"
        )
    if other_key:
        text += (
            f". {KEY_ADVICE}. If they are right, another machine answers at an address of the list"
        )
    if wrong_list or other_key:
        return ConfigError(text)
    if JOINING_OTHER_CLUSTER in answers:
        return ChangeRefused("initialising", text)
    if len(rejections) <= len(members) - plan.required_acceptances:
        return ChangeRefused("unreachable", text)
    return ConfigError(text)
