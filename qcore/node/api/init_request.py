"""`Initialiser`: executes `Init`. One cluster results even if several nodes receive an `Init` at the same time.

| step | what the node does |
|---|---|
| offer | it offers the new cluster's id to the other nodes in `Hello`, and accepts no other cluster meanwhile |
| keys | from apply rules 5 on, it needs the public key of every node: given, or proved when the node answers |
| write | once a majority with itself (by a token: all) has accepted, it writes the first entries and campaigns |
| wait | if another node has initialised the same cluster (by a token), it writes nothing and waits to become a member |
| respond | once the first configuration is committed here, it reports success |

A node accepts one cluster at a time. So if two clusters are offered at the same time, a majority accepts at most one,
and the other node writes nothing. This module has no timers: its owner calls `advance`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final

from qcore.core.entry import Membership
from qcore.core.version import KEYS_SINCE_RULES, ClusterVersion
from qcore.errors import ChangeRefused, ConfigError, NotLeader, OutcomeUnknown, QcoreError
from qcore.node.addresses.member_addresses import member_address, same_address
from qcore.node.api.new_cluster import (
    INIT_ADVICE,
    LogState,
    NewCluster,
    PeerConnections,
    check_given_keys,
    list_is_wrong,
    never_joins,
    new_cluster,
    not_accepted,
)
from qcore.replica.events import Reply
from qcore.replica.peers.identity import JOINING_OTHER_CLUSTER, ClusterIdentity
from qcore.replica.peers.known_members import WAS_WIPED
from qcore.transport.address import Address

#: Called with the outcome: None, or the error.
Done = Callable[[QcoreError | None], None]
#: Writes the first entries: configuration, whether they must be the same on all nodes, timeout (ms), callback.
WriteFirstEntries = Callable[[Membership, bool, int, Callable[[Reply], None]], None]

#: The least time that the first commit gets, ms.
_MIN_COMMIT_MS: Final = 1000
#: How long a node that has a majority waits for the other nodes, which may belong to a cluster already, µs.
_WAIT_FOR_ALL_US: Final = 1_000_000


@dataclass(slots=True)
class _Pending:
    """The `Init` in progress.

    Attributes:
        began_at, deadline: µs.
        offers: whether this node may initialise the cluster; if not, it waits until it is a member.
        wrote: whether the first entries are on their way to the disk.
        waiting: callbacks of the requests that wait for the outcome.
    """

    plan: NewCluster
    began_at: int
    deadline: int
    offers: bool
    wrote: bool = False
    waiting: list[Done] = field(default_factory=list)


class Initialiser:
    """Executes the `Init` requests of one node.

    Args:
        identity: of this node.
        core: the state of the log.
        peers: connections to the other nodes.
        write: writes the first entries; see `WriteFirstEntries`.
        first_version: the version that a log begins with at this node.
        timeout_ms: how long one `Init` may take.
        never_leads: whether this node has priority 0.
        advertised: the advertised address of this node, if it has one.
        public_key: of this node; empty for a cluster without keys.

    Attributes:
        own_address: the address at which others reach this node; an `Init` without nodes uses it.
    """

    def __init__(
        self,
        identity: ClusterIdentity,
        core: LogState,
        peers: PeerConnections,
        write: WriteFirstEntries,
        first_version: Callable[[], ClusterVersion | None],
        timeout_ms: int,
        new_token: Callable[[], str],
        *,
        never_leads: bool = False,
        advertised: Address | None = None,
        public_key: str = "",
    ) -> None:
        self._identity = identity
        self._core = core
        self._peers = peers
        self._write = write
        self._first_version = first_version
        self._timeout_ms = timeout_ms
        self._new_token = new_token
        self._never_leads = never_leads
        self._advertised = advertised
        self.own_address = "" if advertised is None else str(advertised)
        self._public_key = public_key
        self._pending: _Pending | None = None

    def listening_on(self, address: str) -> None:
        """The node listens at this address. Others dial it, unless the node has an advertised address."""
        self.own_address = address if self._advertised is None else str(self._advertised)

    @property
    def waiting(self) -> int:
        """Requests without an outcome."""
        return 0 if self._pending is None else len(self._pending.waiting)

    @property
    def needs_keys(self) -> bool:
        """Whether the members of a cluster that begins here have public keys."""
        version = self._first_version()
        return bool(self._public_key and version and version.rules >= KEYS_SINCE_RULES)

    @property
    def begins_with(self) -> str:
        """The version with which a cluster begins here, in words."""
        version = self._first_version() or ClusterVersion()
        machine = f", state machine {version.machine} {version.machine_version}"
        return f"apply rules {version.rules}{machine if version.machine else ''}"

    def begin(
        self,
        nodes: Sequence[tuple[int, str]],
        token: str | None,
        now: int,
        done: Done,
        keys: Mapping[int, str] = MappingProxyType({}),
        *,
        is_decided: bool = False,
    ) -> None:
        """Execute an `Init`. `done` is called once, perhaps during this call.

        Args:
            nodes: id and `host:port` of every voter; none for a cluster of this node alone.
            token: determines the cluster id, so the same `Init` may be sent to several nodes; None for a random id.
            now: µs on the monotonic clock, as for `advance`.
            done: called with None once the first configuration is committed here, or with the error.
            keys: the public keys of other nodes, by id: with a token all of them; otherwise the nodes show those that
                are missing.
            is_decided: whether the founders have decided this cluster; see `NewCluster`.
        """
        try:
            plan = replace(self.planned(nodes, token, keys), is_decided=is_decided)
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
            others = {node: members[node] for node in members if node != own_id}
            self._peers.connect_to(others, dict(plan.membership.keys))
        self.advance(now)

    def advance(self, now: int) -> None:
        """Go on as far as possible. Call it when a connection has changed, and at intervals."""
        pending = self._pending
        if pending is None or pending.wrote:
            return  # the replica will report the outcome
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
                    f"made a member in time: send the same Init to {self._others(pending.plan)}",
                )
            )

    def stop(self) -> None:
        """The node accepts no more requests: end the `Init` in progress if it has written nothing."""
        if self._pending is not None and not self._pending.wrote:
            self._finish(NotLeader())

    def abandon(self, error: QcoreError) -> None:
        """End the `Init` in progress with this error."""
        self._finish(error)

    # -- the request -----------------------------------------------------------------------------

    def check(self, nodes: Sequence[tuple[int, str]], token: str | None) -> bool:
        """Check an `Init`. Returns whether this node would initialise the cluster, and not wait for another node.

        Raises:
            QcoreError: the `Init` is wrong, or not possible here.
        """
        return self._may_offer(self.planned(nodes, token, {})) and self._pending is None

    def planned(
        self, nodes: Sequence[tuple[int, str]], token: str | None, keys: Mapping[int, str]
    ) -> NewCluster:
        """The cluster that an `Init` with these arguments would begin here; see `begin`.

        Raises:
            ConfigError: the arguments are wrong.
        """
        own_id, own = self._identity.node_id, self.own_address
        if token == "":
            raise ConfigError(
                "token: it is empty: give a text that no other cluster has, or leave it out"
            )
        if token is not None and not nodes:
            raise ConfigError(
                "a token is for one Init that is sent to several nodes, and this one names no nodes: name all voters"
            )
        listed = nodes or [(own_id, member_address(own, f"the address of node {own_id}"))]
        known = {**keys, own_id: self._public_key} if self.needs_keys else {}
        version = self._first_version()
        plan = new_cluster(listed, own_id, token, version, new_token=self._new_token, keys=known)
        rules = None if self.needs_keys else version.rules if version else 1
        check_given_keys(plan, keys, own_id, self._public_key, rules)
        for node_id, address in plan.membership.addresses:
            if node_id != own_id and same_address(address, own):
                raise ConfigError(
                    f"nodes: {address} is given to node {node_id}, but node {own_id} listens there: are ids or "
                    "addresses swapped?"
                )
        address = plan.membership.address_of(own_id) or ""
        if self._advertised is not None and not same_address(address, str(self._advertised)):
            raise ConfigError(
                f"nodes: node {own_id} is given the address {address}, and was started with --advertise-addr "
                f"{self._advertised}: give both the same address"
            )
        return plan

    def _may_offer(self, plan: NewCluster) -> bool:
        """Whether this node may initialise the cluster; if not, it waits until it is a member.

        Raises:
            QcoreError: the node can do neither.
        """
        identity = self._identity
        if identity.founding_id not in (None, identity.cluster_id, plan.cluster_id):
            raise ConfigError(
                f"node {identity.node_id} has accepted the founding of cluster {identity.founding_id}, which may have "
                "begun: start the founders with --auto-init again, and they finish it"
            )
        if identity.cluster_id is not None:
            if plan.is_cluster(identity.cluster_id):
                return False
            raise ConfigError(
                f"node {identity.node_id} is already a member of cluster {identity.cluster_id}; a cluster is "
                "initialised once. If this is the cluster that you mean, there is nothing to do: look at `qcore "
                "cluster status`. If not, stop the node, give it an empty data directory, and then initialise it"
            )
        if identity.joining_cluster_id not in (None, plan.cluster_id):
            raise ChangeRefused(
                "initialising",
                f"node {identity.node_id} {JOINING_OTHER_CLUSTER} {identity.joining_cluster_id}, which another node "
                f"has begun or is about to begin; nothing was written. {INIT_ADVICE}",
            )
        why_not = self._why_it_cannot_begin()
        if why_not is not None and not plan.by_token:
            raise ConfigError(why_not + ": send Init to another node")
        return why_not is None

    def _why_it_cannot_begin(self) -> str | None:
        """Why this node cannot initialise a cluster, or None if it can."""
        node_id = self._identity.node_id
        if self._never_leads:
            # Only this node holds the first configuration at first, so it must lead to commit it.
            return f"node {node_id} has priority 0 and never leads"
        if not self._core.is_pristine:
            return f"node {node_id} has taken part in an election of a cluster before, and can only join one"
        return None

    def _join_pending(self, pending: _Pending, plan: NewCluster, done: Done) -> None:
        if pending.plan.is_cluster(plan.cluster_id):
            pending.waiting.append(done)
            return
        done(
            ChangeRefused(
                "initialising",
                f"node {self._identity.node_id} is being initialised by another Init; this one has changed nothing. "
                f"{INIT_ADVICE}",
            )
        )

    # -- progress --------------------------------------------------------------------------------

    def _await_commit(self, pending: _Pending, cluster_id: str, now: int) -> None:
        if not pending.plan.is_cluster(cluster_id):
            self._finish(
                ConfigError(
                    f"node {self._identity.node_id} has become a member of cluster {cluster_id} meanwhile, which "
                    "another Init has begun; this one has changed nothing"
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
        accepted, exists, all_answered = 1, False, True
        for node in others:
            connection = connection_statuses.get(node)
            if connection is None or connection.introduction is None:
                if connection is None or connection.problem is None:
                    all_answered = False
                elif connection.rejected:
                    rejections[node] = connection.problem
                continue
            accepted += 1
            exists = exists or connection.introduction.membership_index > 0
        needed = pending.plan.required_acceptances
        if exists:
            # Never write if the cluster exists: this node may be a member of it that was wiped.
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
        elif not pending.plan.is_decided and never_joins(rejections):
            # Even if a majority accepts, the node that rejects would never join.
            self._finish(self._not_accepted(pending.plan, rejections))
        elif accepted >= needed:
            if all_answered or now >= pending.began_at + _WAIT_FOR_ALL_US:
                self._begin_with_keys(pending, now)
        elif len(rejections) > len(members) - needed or now >= pending.deadline:
            self._finish(self._not_accepted(pending.plan, rejections))

    def _begin_with_keys(self, pending: _Pending, now: int) -> None:
        """Begin the cluster if the keys of all nodes are known. Else wait for them until the deadline."""
        plan = pending.plan
        if self.needs_keys:
            keys = dict(plan.membership.keys)
            if not plan.by_token:
                for node, connection in self._peers.connection_statuses().items():
                    if connection.introduction is not None and connection.introduction.public_key:
                        keys.setdefault(node, connection.introduction.public_key)
            missing = [node for node in plan.members if node not in keys]
            if missing:
                if now >= pending.deadline or plan.by_token:
                    addresses = {node: plan.membership.address_of(node) or "" for node in missing}
                    self._finish(self.keys_missing(addresses, {}))
                return
            if not plan.by_token:
                try:
                    pending.plan = plan.with_keys({node: keys[node] for node in plan.members})
                except ConfigError as error:
                    self._finish(error)
                    return
        self._begin_cluster(pending, now)

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

    # -- error texts -----------------------------------------------------------------------------

    def _not_accepted(self, plan: NewCluster, rejections: Mapping[int, str]) -> QcoreError:
        report = self._report(plan, rejections)
        return not_accepted(self._identity.node_id, plan, rejections, report)

    def keys_missing(self, nodes: Mapping[int, str], problems: Mapping[int, str]) -> QcoreError:
        """The error of an `Init` that lacks the keys of nodes (address by id), with the reasons by id."""
        reports = "; ".join(
            f"node {node} at {address}: {problems.get(node, 'it has not answered yet')}"
            for node, address in nodes.items()
            if not problems or node in problems
        )
        text = (
            f"node {self._identity.node_id} has not begun the cluster, because it does not know the public keys of all "
            f"nodes: {reports}. Nothing was written here. Start these nodes, or give their keys with `--public-key "
            "ID=KEY`; `qcore node key --data-dir DIR` prints the key of a node"
        )
        if list_is_wrong(problems):
            return ConfigError(text)
        return ChangeRefused("unreachable", text)

    def _not_committed(self, plan: NewCluster) -> OutcomeUnknown:
        return OutcomeUnknown(
            f"node {self._identity.node_id} belongs to cluster {self._identity.cluster_id or plan.cluster_id}, and its "
            f"first configuration was not committed in time: {self._report(plan, {})}. The cluster goes on as soon as "
            "a majority of its nodes reach each other: look at `qcore cluster status`"
        )

    def _report(self, plan: NewCluster, rejections: Mapping[int, str]) -> str:
        """What this node knows of each of the other nodes."""
        connection_statuses = self._peers.connection_statuses()
        reports: list[str] = []
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
            reports.append(f"node {node} at {address}: {what}")
        return "; ".join(reports) or "there is no other node"

    def _others(self, plan: NewCluster) -> str:
        others = [node for node in plan.membership.voters if node != self._identity.node_id]
        return f"one of the nodes {others}"
