"""`Proofs`: makes tokens of this node, and decides whether a token or a connection's principal is valid now."""

from __future__ import annotations

from collections.abc import Callable

from qcore.core.raft import RaftCore
from qcore.errors import Overloaded, QcoreError, Unauthenticated
from qcore.node.access.cluster_time import ClusterTime
from qcore.replica.access.access_records import ADMIN, User
from qcore.replica.replica import Replica
from qcore.runtime.interface import Runtime
from qcore.security.keys.node_key import NodeKey
from qcore.security.users.token import MAX_TTL_S, TokenClaims, read_token, sign_token
from qcore.transport.server.handler import Principal

#: How long a token is valid that a password gives, seconds.
LOGIN_TTL_S: int = 3600
#: How far a token's beginning may lie in the future, seconds. The cluster clock of a node that has just started may
#: lag by as long as nothing was written. The wall clocks of machines differ less.
_MAX_LAG_S: int = MAX_TTL_S
_MAX_SKEW_S: int = 300
#: The retry hint while this node has not applied the change of a user yet, ms.
_LAG_MS = 50
#: A node whose state is older than so many of the longest election timeouts counts as cut off.
_OUTDATED_TIMEOUTS = 2
_US = 1_000_000


class Proofs:
    """The tokens of one cluster, at one node.

    Args:
        replica: holds the users and the members' keys.
        cluster_id: returns the node's cluster; None while it has none.
        key: the node's key pair.
        node_id: the node.
        runtime: the world that the node runs in.
    """

    def __init__(
        self,
        replica: Replica,
        cluster_id: Callable[[], str | None],
        key: NodeKey,
        node_id: int,
        runtime: Runtime,
    ) -> None:
        self._replica = replica
        self._core: RaftCore = replica.core
        self._users = replica.access
        self._cluster_id = cluster_id
        self._key = key
        self._node_id = node_id
        self._new_id = runtime.new_token
        self._wall_us = runtime.wall_us
        self._monotonic_us = runtime.monotonic_us
        self._outdated_from_us = (
            _OUTDATED_TIMEOUTS * replica.config.raft.election_timeout_max_ms * 1000
        )
        self._membership = self._core.membership
        self._keys = dict(self._membership.keys)
        self.time = ClusterTime(lambda: self._core.last_clock_us, runtime.monotonic_us)

    def issue(self, user: User, ttl_s: int) -> tuple[str, Principal]:
        """A token for a user, and the principal that it proves.

        Raises:
            Unauthenticated: this node cannot issue tokens, because its key is not in the configuration.
        """
        cluster_id = self._cluster_id()
        if not cluster_id or self._key_of(self._node_id) != self._key.public:
            raise Unauthenticated(
                f"node {self._node_id} cannot issue tokens, because the cluster does not know its key: ask another node"
            )
        now_us = self.time.now_us()
        claims = TokenClaims(
            user.name,
            user.epoch,
            self._node_id,
            self._new_id(),
            now_us // _US * _US,  # a token holds no parts of seconds
            -(-now_us // _US) * _US + min(ttl_s, MAX_TTL_S) * _US,
        )
        return sign_token(self._key, cluster_id, claims), self._principal(claims, self._key.public)

    def read(self, token: str) -> Principal:
        """The principal that a token proves, without a look at its end and at users.

        Raises:
            Unauthenticated: it is no token of this cluster.
        """
        cluster_id = self._cluster_id()
        if not cluster_id:
            raise Unauthenticated("this node belongs to no cluster yet, so it knows no tokens")
        claims = read_token(token, cluster_id, self._key_of)
        ahead_s = _MAX_SKEW_S if claims.is_recovery else _MAX_LAG_S
        if claims.issued_us > self._now_us(claims.is_recovery) + ahead_s * _US:
            raise Unauthenticated("the token begins in the future: check the clocks of the nodes")
        return self._principal(claims, self._key_of(claims.issuer) or "")

    def _now_us(self, is_recovery: bool) -> int:
        """The clock that a token goes by. A recovery token is made without a cluster, so by the wall clock."""
        return self._wall_us() if is_recovery else self.time.now_us()

    def _key_of(self, node_id: int) -> str | None:
        """The public key of a member. This is on the path of every request."""
        membership = self._core.membership
        if membership is not self._membership:
            self._membership, self._keys = membership, dict(membership.keys)
        return self._keys.get(node_id)

    def _principal(self, claims: TokenClaims, issuer_key: str) -> Principal:
        user = claims.user
        if claims.is_recovery and not user:
            admins = (each.name for each in self._users.users() if ADMIN in each.roles)
            user = next(admins, "")
        return Principal(
            user, claims.epoch, claims.expires_us, claims.issuer, issuer_key, claims.is_recovery
        )

    def problem(self, principal: Principal) -> QcoreError | None:
        """Why this principal has no rights (any more); None if it has."""
        user = self._users.user(principal.user)
        if principal.is_recovery:
            if user is None or ADMIN not in user.roles:
                return Unauthenticated("the recovery token names no user with the role `admin`")
        elif user is None or user.epoch != principal.epoch:
            if principal.epoch > self._replica.applied_index:
                return Overloaded.because("this node does not know this user yet", _LAG_MS)
            if user is None:
                return Unauthenticated("the user of this token was deleted")
            return Unauthenticated(
                "the older tokens of this user have ended, with a new password, more rights or a revocation: get a new "
                "one"
            )
        if self._key_of(principal.issuer) != principal.issuer_key:
            return Unauthenticated(
                f"node {principal.issuer}, which issued the token, is not a member any more: get a new one"
            )
        if self._now_us(principal.is_recovery) >= principal.expires_us:
            return Unauthenticated("the token has expired: get a new one")
        return None

    def outdated(self, principal: Principal) -> Overloaded | None:
        """The error for a request that only a node with a recent state may pass; None if this node has one.

        A node that is cut off does not learn that a token was revoked, or that a user has lost a role. A recovery token
        counts there, too: with it an operator saves what a cluster without a quorum still has.
        """
        if principal.is_recovery:
            return None
        now = self._monotonic_us()
        fresh_as_of = self._core.fresh_as_of(now)
        if fresh_as_of is not None and now - fresh_as_of <= self._outdated_from_us:
            return None
        return Overloaded.because(
            "this node has no recent contact with a majority, so it cannot know whether the user still has this right; "
            "it accepts the request with a token of `qcore token recover`",
            _LAG_MS,
        )

    def may_lag(self) -> bool:
        """Whether this node leads, and has not applied entries that are committed: one may add the first user."""
        core = self._core
        return core.role == "leader" and self._replica.applied_index < core.commit_index

    def seconds_left(self, principal: Principal) -> int:
        """The whole seconds until the principal expires."""
        return max(0, (principal.expires_us - self._now_us(principal.is_recovery)) // _US)
