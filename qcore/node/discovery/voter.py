"""`Voter`: the durable promises of this node, and the circumstances in which it gives any."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from qcore.errors import QcoreError
from qcore.node.addresses.member_addresses import is_same_address
from qcore.node.discovery.promise_file import PromiseStore
from qcore.node.discovery.protocol.founding import (
    Acceptance,
    Ballot,
    Founder,
    Founding,
    Identities,
    Promises,
    VoteRejected,
    after_acceptance,
    after_promise,
    check_founders,
    difference,
    identities_of,
)
from qcore.replica.peers.identity import ClusterIdentity
from qcore.runtime.interface import Runtime

#: The id of the cluster that a founding gives at this node.
ClusterIdOf = Callable[[Founding], str]


class Voter:
    """Votes for foundings. One vote is in progress at a time.

    Args:
        identity: of this node. Once it has accepted a founding, it accepts no other cluster.
        store: the durable promises. They are read now, unless this node is a member.
        is_pristine: whether the log is empty and the node took part in no election.
        cluster_id_of: see `ClusterIdOf`.
        runtime: the world that the node runs in.

    Attributes:
        takes_part: whether this node founds a cluster (`--auto-init`).
        founders: all founders as this node has found them; empty while it has not, or while they contradict each other.
        heard: the highest ballot that founders have named.
        promises: what is stored.

    Raises:
        StorageError: the promises cannot be read.
    """

    def __init__(
        self,
        identity: ClusterIdentity,
        store: PromiseStore,
        is_pristine: Callable[[], bool],
        cluster_id_of: ClusterIdOf,
        runtime: Runtime,
    ) -> None:
        self._identity = identity
        self._store = store
        self._is_pristine = is_pristine
        self._cluster_id_of = cluster_id_of
        self._runtime = runtime
        self._lock = asyncio.Lock()
        self.takes_part = False
        self.founders: tuple[Founder, ...] = ()
        self.heard = Ballot(0, 0)
        self.promises = store.load() if identity.cluster_id is None else Promises()
        self._reserve()

    async def promise(self, ballot: Ballot, founders: Identities) -> str:
        """Promise a ballot; returns the reason why not, or an empty text once the promise is durable.

        Raises:
            StorageError: it is unknown whether the promise is stored.
        """
        return await self._vote(
            ballot, founders, lambda: after_promise(self.promises, ballot, founders)
        )

    async def accept(self, ballot: Ballot, founding: Founding) -> str:
        """Accept a founding; returns the reason why not, or an empty text once that is durable.

        Raises:
            StorageError: it is unknown whether the founding is stored.
        """

        def accepted() -> Promises:
            self._check_founding(founding)
            return after_acceptance(self.promises, ballot, founding)

        return await self._vote(ballot, founding.identities, accepted)

    async def _vote(
        self, ballot: Ballot, founders: Identities, after: Callable[[], Promises]
    ) -> str:
        async with self._lock:
            try:
                self._check(founders)
                promises = after()
            except VoteRejected as refusal:
                return str(refusal)
            # Only now: else a faulty founder could raise the ballots of this one as far as it likes.
            self.heard = max(self.heard, ballot)
            if promises != self.promises:
                if promises.accepted is not None:
                    # Before it is durable: meanwhile this node must not accept another cluster.
                    self._identity.founding_id = promises.accepted.founding.cluster_id
                try:
                    await self._runtime.run_long(partial(self._store.save, promises))
                    self.promises = promises
                finally:
                    self._reserve()
            return ""

    def objection(self, founders: Identities) -> str:
        """Why this node votes for no founding of these founders, whatever the ballot; empty if it may."""
        try:
            self._check(founders)
        except VoteRejected as refusal:
            return str(refusal)
        return ""

    @property
    def accepted(self) -> Acceptance | None:
        """The founding that this node has accepted."""
        return self.promises.accepted

    def _reserve(self) -> None:
        accepted = self.promises.accepted
        if accepted is not None:
            self._identity.founding_id = accepted.founding.cluster_id

    def _check(self, founders: Identities) -> None:
        """Check that this node may vote, and that these are the founders that it knows.

        Raises:
            VoteRejected: it may not.
        """
        identity, accepted = self._identity, self.promises.accepted
        if identity.cluster_id is not None:
            raise VoteRejected(f"it belongs to cluster {identity.cluster_id}")
        if not self.takes_part:
            raise VoteRejected("it was started without --auto-init")
        if not self._is_pristine():
            raise VoteRejected("it has taken part in an election of a cluster before")
        own = None if accepted is None else accepted.founding.cluster_id
        joining = identity.joining_cluster_id
        if joining not in (None, own):
            raise VoteRejected(f"it is about to join cluster {joining}")
        check_founders(self.promises, founders)
        if accepted is not None:
            return
        if not self.founders:
            raise VoteRejected("it has not found all founders yet")
        known = identities_of(self.founders)
        if known != founders:
            raise VoteRejected(f"it has found other founders: {difference(known, founders)}")

    def _check_founding(self, founding: Founding) -> None:
        """Check that the founding means at this node what it means at the proposer.

        Raises:
            VoteRejected: it does not.
        """
        for each in self.founders:
            if each.node_id == self._identity.node_id:
                listed = {one.node_id: one.address for one in founding.founders}
                address = listed.get(each.node_id, "")
                if not is_same_address(address, each.address):
                    raise VoteRejected(f"its address is {each.address}, and not {address!r:.300}")
        try:
            own = self._cluster_id_of(founding)
        except QcoreError as error:
            raise VoteRejected(f"it could not begin this cluster: {error}") from None
        if own != founding.cluster_id:
            raise VoteRejected(
                "it would begin the cluster with another version: start all founders with the same program, --machine "
                "and --max-rules"
            )
