"""`Init`: how one cluster begins, also if several nodes are asked at once.

| step | what the node does |
|---|---|
| ask | it offers the new cluster's id in `Hello` to the other nodes, and listens to no other cluster meanwhile |
| write | a majority, itself included, has accepted (with a token all): it writes the first entries and campaigns |
| wait | another node has begun the same cluster (by a token): it writes nothing and waits to be made a member |
| answer | the first configuration is committed here |

A node accepts one cluster at a time, so of two clusters that are offered at once at most one is accepted by a majority.
The other writes nothing: its node's data is as it was. Nobody here waits or draws numbers: the host calls `advance`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from qcore.core.entry import Membership
from qcore.core.version import ClusterVersion
from qcore.errors import ChangeRefused, ConfigError, NotLeader, OutcomeUnknown, QcoreError
from qcore.node.api.member_addresses import member_address, same_address
from qcore.node.api.new_cluster import NewCluster, new_cluster
from qcore.node.peers.peer_messages import ConnectionStatus
from qcore.replica.events import Reply
from qcore.replica.peers.identity import (
    DUPLICATE_NODE_ID,
    IN_OTHER_CLUSTER,
    JOINING_OTHER_CLUSTER,
    ClusterIdentity,
)
from qcore.replica.peers.known_members import WAS_WIPED
from qcore.transport.peers.peer_link import WRONG_NODE_HINT

#: Called with the outcome: None, or the error.
Done = Callable[[QcoreError | None], None]
#: Writes the first entries; the flag: several nodes write them, so that they must be the same everywhere.
WriteFirstEntries = Callable[[Membership, bool, int, Callable[[Reply], None]], None]

#: The least time that is left for the first commit, ms.
_MIN_COMMIT_MS: Final = 1000
#: So long a majority waits for what the other nodes have to say: they may belong to a cluster already, µs.
_WAIT_FOR_ALL_US: Final = 1_000_000
#: Parts of rejections that show that the list itself is wrong: whoever said so would never join.
_WRONG_LIST: Final = (IN_OTHER_CLUSTER, DUPLICATE_NODE_ID, WRONG_NODE_HINT)
_ADVICE: Final = (
    "If another Init is under way, wait: its cluster takes in the nodes that it names. Else start the nodes that do "
    "not answer, and repeat this Init; give it to one node only, or to several with one --init-token. A node that "
    "belongs to another cluster moves with an empty data directory only"
)


def _required_acceptances(plan: NewCluster) -> int:
    """How many nodes, the one that writes included, must have accepted the cluster before.

    With a token it is all of them: the same `Init` may be given to a member that was wiped. A majority that accepts
    does not show that there is no such cluster yet: the one that is silent may hold it, under the same id, and with
    other entries at the same index and term. Without a token the id is new, and a majority keeps two of them apart.
    """
    members = len(plan.membership.voters)
    return members if plan.by_token else members // 2 + 1


def _list_is_wrong(rejections: Mapping[int, str]) -> bool:
    return any(part in text for text in rejections.values() for part in _WRONG_LIST)


class PeerConnections(Protocol):
    """What `Initialiser` needs of `qcore.node.peers.peer_messages.PeerRouter`."""

    def connect_to(self, nodes: Mapping[int, str]) -> None:
        """Connect to these nodes; none: no more."""
        ...

    def connection_statuses(self) -> dict[int, ConnectionStatus]:
        """How the connection to each stands."""
        ...


class LogState(Protocol):
    """What `Initialiser` looks at of `qcore.core.raft.RaftCore`."""

    @property
    def is_pristine(self) -> bool:
        """Whether the node may begin a cluster."""
        ...

    @property
    def commit_index(self) -> int:
        """How much of the log is committed."""
        ...


@dataclass(slots=True)
class _Pending:
    """The `Init` that is under way.

    Attributes:
        began_at, deadline: µs.
        offers: this node may begin the cluster; else it waits until it is a member.
        wrote: the first entries are on their way to the disk.
    """

    plan: NewCluster
    began_at: int
    deadline: int
    offers: bool
    wrote: bool = False
    waiting: list[Done] = field(default_factory=list)


class Initialiser:
    """Carries out the `Init` requests of one node.

    Args:
        identity: of this node.
        core: looked at for what is in the log.
        peers: connections to the other nodes.
        write: see `WriteFirstEntries`.
        first_version: what a log begins with here.
        timeout_ms: how long one `Init` may take.
        never_leads: this node has priority 0.
        advertised: the address that the operator gave to this node, if any.

    Attributes:
        own_address: what others dial; it is what `Init` without nodes writes.
    """

    def __init__(
        self,
        identity: ClusterIdentity,
        core: LogState,
        peers: PeerConnections,
        write: WriteFirstEntries,
        first_version: Callable[[], ClusterVersion | None],
        timeout_ms: int,
        *,
        never_leads: bool = False,
        advertised: str | None = None,
    ) -> None:
        self._identity = identity
        self._core = core
        self._peers = peers
        self._write = write
        self._first_version = first_version
        self._timeout_ms = timeout_ms
        self._never_leads = never_leads
        self._advertised = advertised
        self.own_address = advertised or ""
        self._pending: _Pending | None = None

    def listening_on(self, address: str) -> None:
        """The node listens at this address, which others dial unless the operator gave another one."""
        self.own_address = self._advertised or address

    @property
    def waiting(self) -> int:
        """Requests without an outcome."""
        return 0 if self._pending is None else len(self._pending.waiting)

    def begin(
        self, nodes: Sequence[tuple[int, str]], token: str | None, now: int, done: Done
    ) -> None:
        """Take an `Init`; `done` is called once, maybe at once.

        Args:
            nodes: id and `host:port` of every voter; none: this node alone.
            token: names the cluster, so that the same `Init` may be given to several nodes.
            now: µs on the monotonic clock, as for `advance`.
            done: gets None once the first configuration is committed here, or the error.
        """
        try:
            plan = self._planned(nodes, token)
            if self._pending is not None:
                self._join_pending(self._pending, plan, done)
                return
            pending = _Pending(plan, now, now + self._timeout_ms * 1000, self._may_offer(plan))
        except QcoreError as error:
            done(error)
            return
        pending.waiting.append(done)
        self._pending = pending
        if pending.offers:
            self._identity.begin_init(plan.cluster_id)
            own_id = self._identity.node_id
            members = dict(plan.membership.addresses)
            self._peers.connect_to({node: members[node] for node in members if node != own_id})
        self.advance(now)

    def advance(self, now: int) -> None:
        """Go on as far as possible. Call it when a connection changed, and now and then."""
        pending = self._pending
        if pending is None or pending.wrote:
            return  # the replica answers
        cluster_id = self._identity.cluster_id
        if cluster_id is not None:
            self._await_commit(pending, cluster_id, now)
        elif pending.offers:
            self._await_acceptance(pending, now)
        elif now >= pending.deadline:
            self._finish(
                ChangeRefused(
                    "unreachable",
                    f"{self._why_it_cannot_begin()}, so it waits for another node to begin the cluster, and was not "
                    f"made a member in time: give the same Init to {self._others(pending.plan)}",
                )
            )

    def stop(self) -> None:
        """End the `Init` that has written nothing; the node takes no more requests."""
        if self._pending is not None and not self._pending.wrote:
            self._finish(NotLeader())

    def abandon(self, error: QcoreError) -> None:
        """End the `Init` that is under way."""
        self._finish(error)

    # -- what is asked ---------------------------------------------------------------------------

    def _planned(self, nodes: Sequence[tuple[int, str]], token: str | None) -> NewCluster:
        own_id, own = self._identity.node_id, self.own_address
        if token == "":
            raise ConfigError(
                "token: it is empty: give a text that no other cluster has, or leave it out"
            )
        if token is not None and not nodes:
            raise ConfigError(
                "a token is for one Init that is given to several nodes, and this one names none: name all voters"
            )
        listed = nodes or [(own_id, member_address(own, f"the address of node {own_id}"))]
        plan = new_cluster(listed, own_id, token, self._first_version())
        for node_id, address in plan.membership.addresses:
            if node_id != own_id and same_address(address, own):
                raise ConfigError(
                    f"nodes: {address} is given to node {node_id}, and it is node {own_id} that listens there: are ids "
                    "or addresses swapped?"
                )
        address = plan.membership.address_of(own_id) or ""
        if self._advertised is not None and not same_address(address, self._advertised):
            raise ConfigError(
                f"nodes: node {own_id} is given the address {address}, and was started with --advertise-addr "
                f"{self._advertised}: give both the same address"
            )
        return plan

    def _may_offer(self, plan: NewCluster) -> bool:
        """Whether this node may begin the cluster itself; if not, it waits until it is a member of it.

        Raises:
            QcoreError: neither.
        """
        identity = self._identity
        if identity.cluster_id is not None:
            if plan.is_cluster(identity.cluster_id):
                return False
            raise ConfigError(
                f"node {identity.node_id} is already a member of cluster {identity.cluster_id}; a cluster is "
                "initialised once. If it is the one that you mean, there is nothing to do: look at `qcore cluster "
                "status`. If not, stop the node, give it an empty data directory, and initialise it then"
            )
        if identity.joining_cluster_id not in (None, plan.cluster_id):
            raise ChangeRefused(
                "initialising",
                f"node {identity.node_id} {JOINING_OTHER_CLUSTER} {identity.joining_cluster_id}, which another node "
                f"has begun or "
                f"is about to begin; nothing was written. {_ADVICE}",
            )
        why_not = self._why_it_cannot_begin()
        if why_not is not None and not plan.by_token:
            raise ConfigError(why_not + ": send Init to another node")
        return why_not is None

    def _why_it_cannot_begin(self) -> str | None:
        """Why this node cannot be the one that begins a cluster, or None if it can."""
        node_id = self._identity.node_id
        if self._never_leads:
            # It alone would hold the first configuration, which the first leader has to commit: nobody could.
            return f"node {node_id} has priority 0 and never leads"
        if not self._core.is_pristine:
            return f"node {node_id} has taken part in an election of a cluster before, and can only join one"
        return None

    def _join_pending(self, pending: _Pending, plan: NewCluster, done: Done) -> None:
        if plan.cluster_id == pending.plan.cluster_id:
            pending.waiting.append(done)
            return
        done(
            ChangeRefused(
                "initialising",
                f"node {self._identity.node_id} is being initialised by another Init; this one has changed nothing. "
                f"{_ADVICE}",
            )
        )

    # -- what comes of it ------------------------------------------------------------------------

    def _await_commit(self, pending: _Pending, cluster_id: str, now: int) -> None:
        if not pending.plan.is_cluster(cluster_id):
            self._finish(
                ConfigError(
                    f"node {self._identity.node_id} was made a member of cluster {cluster_id} meanwhile, which another "
                    "Init began; this one has changed nothing"
                )
            )
        elif self._core.commit_index > 0:
            self._finish(None)
        elif now >= pending.deadline:
            self._finish(self._not_committed(pending.plan))

    def _await_acceptance(self, pending: _Pending, now: int) -> None:
        members = pending.plan.membership.voters
        others = [node for node in members if node != self._identity.node_id]
        connection_statuses = self._peers.connection_statuses()
        rejections: dict[int, str] = {}
        accepted, exists, all_heard = 1, False, True
        for node in others:
            connection = connection_statuses.get(node)
            if connection is None or connection.introduction is None:
                if connection is None or connection.problem is None:
                    all_heard = False
                elif connection.rejected:
                    rejections[node] = connection.problem
                continue
            accepted += 1
            exists = exists or connection.introduction.membership_index > 0
        needed = _required_acceptances(pending.plan)
        if exists:
            # Never write beside a cluster that exists: this node may have been part of it, and wiped.
            if now >= pending.deadline:
                self._finish(
                    OutcomeUnknown(
                        f"cluster {pending.plan.cluster_id} has begun, and node {self._identity.node_id} was not made "
                        f"a member in time; it may still be: {self._report(pending.plan, rejections)}"
                    )
                )
        elif any(WAS_WIPED in text for text in rejections.values()):
            self._finish(
                ConfigError(
                    f"cluster {pending.plan.cluster_id} exists already, and node {self._identity.node_id} was wiped "
                    f"since: {self._report(pending.plan, rejections)}. Nothing was written. Remove the wiped node from "
                    "the cluster and add it again; for a new cluster give another token"
                )
            )
        elif _list_is_wrong(rejections):
            # A majority may accept. But that node would never join, and may have been begun with others of the list.
            self._finish(self._not_accepted(pending.plan, rejections))
        elif accepted >= needed:
            if all_heard or now >= pending.began_at + _WAIT_FOR_ALL_US:
                self._begin_cluster(pending, now)
        elif len(rejections) > len(members) - needed or now >= pending.deadline:
            self._finish(self._not_accepted(pending.plan, rejections))

    def _begin_cluster(self, pending: _Pending, now: int) -> None:
        pending.wrote = True
        left_ms = max(_MIN_COMMIT_MS, (pending.deadline - now) // 1000)

        def settled(reply: Reply) -> None:
            error = reply.error
            if isinstance(error, OutcomeUnknown):
                error = self._not_committed(pending.plan)
            self._finish(error)

        self._write(pending.plan.membership, pending.plan.by_token, left_ms, settled)

    def _finish(self, error: QcoreError | None) -> None:
        pending, self._pending = self._pending, None
        if pending is None:
            return
        if self._identity.cluster_id is None:
            self._identity.end_init()
            self._peers.connect_to({})
        for done in pending.waiting:
            done(error)

    # -- what is said ----------------------------------------------------------------------------

    def _not_accepted(self, plan: NewCluster, rejections: Mapping[int, str]) -> QcoreError:
        members = plan.membership.voters
        said = " ".join(rejections.values())
        wrong_list = _list_is_wrong(rejections)
        why = (
            "a node that belongs to another cluster cannot be among them"
            if IN_OTHER_CLUSTER in said
            else "the list gives a node an address that is not its own"
            if wrong_list
            else f"{_required_acceptances(plan)} of the {len(members)} nodes have to accept the new cluster first"
        )
        if plan.by_token and not wrong_list:
            why += ", all of them: with a token, one that is silent may be a member of this very cluster already"
        text = (
            f"node {self._identity.node_id} has not begun the cluster, since {why}: {self._report(plan, rejections)}. "
            f"Nothing was written here. {_ADVICE}"
        )
        if plan.by_token and said.count(plan.token_part) > said.count(plan.cluster_id):
            text += (
                ". They have begun the same cluster with other apply rules, or another version of the state machine: "
                "start all nodes with the same program, --max-rules and --machine"
            )
        if wrong_list:
            return ConfigError(text)
        if JOINING_OTHER_CLUSTER in said:
            return ChangeRefused("initialising", text)
        if len(rejections) <= len(members) - _required_acceptances(plan):
            return ChangeRefused("unreachable", text)
        return ConfigError(text)

    def _not_committed(self, plan: NewCluster) -> OutcomeUnknown:
        return OutcomeUnknown(
            f"node {self._identity.node_id} belongs to cluster {self._identity.cluster_id or plan.cluster_id}, and its "
            f"first configuration was not committed in time: {self._report(plan, {})}. The cluster goes on as soon as "
            "a majority of its nodes reach each other: look at `qcore cluster status`"
        )

    def _report(self, plan: NewCluster, rejections: Mapping[int, str]) -> str:
        """What is known of each other node."""
        connection_statuses = self._peers.connection_statuses()
        said: list[str] = []
        for node, address in plan.membership.addresses:
            if node == self._identity.node_id:
                continue
            connection = connection_statuses.get(node)
            if node in rejections:
                what = rejections[node]
            elif connection is not None and connection.introduction is not None:
                what = "it answers"
            elif connection is not None and connection.problem:
                what = connection.problem
            else:
                what = "it has not answered yet"
            said.append(f"node {node} at {address}: {what}")
        return "; ".join(said) or "there is no other node"

    def _others(self, plan: NewCluster) -> str:
        others = [node for node in plan.membership.voters if node != self._identity.node_id]
        return f"one of the nodes {others}"
