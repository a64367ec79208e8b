"""`MemberMoves`: finds out whether a member may get a new address: it must answer there, and prove its key.

A change that only moves members keeps every quorum, so it needs no joint phase. But the leader must reach a member to
replicate to it. So the configuration gets a new address only once the leader has reached the member there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from qcore.core.raft import RaftCore
from qcore.display import MAX_SENTENCE_CHARS, truncate
from qcore.errors import ChangeRefused, ConfigError
from qcore.node.addresses.member_addresses import (
    member_address,
    moved_member_problem,
    same_address,
)
from qcore.node.peers.founder_keys import AskedPeers
from qcore.replica.admin.membership_requests import not_ready
from qcore.replica.events import ChangeMembers

#: The part of the time of a request in which the member must answer, and the longest such time: it may be starting.
_ASKING_SHARE: Final = 0.5
_MAX_ASKING_S: Final = 20.0


class MemberMoves:
    """The moves of members to other addresses, on the leader.

    Args:
        core: read for the configuration.
        peers: asks the members.
    """

    def __init__(self, core: RaftCore, peers: AskedPeers) -> None:
        self._core = core
        self._peers = peers

    def is_done(self, node_id: int, address: str) -> bool:
        """Whether the configuration has this address for the member already."""
        configured = self._core.membership.address_of(node_id)
        return configured is not None and same_address(configured, address)

    async def check(self, node_id: int, address: str, timeout_ms: int) -> None:
        """Check a move that an operator asks for.

        Raises:
            ConfigError: no member can have this address.
            ChangeRefused: the node is no member, or it does not answer there, or it announces another address.
        """
        core = self._core
        member_address(address, "node_addr")
        if (rejection := not_ready(core)) is not None:
            raise rejection
        if node_id not in core.membership.members():
            raise ChangeRefused("unknown_member", f"node {node_id} is not a member: add it")
        announced = self._peers.announced_by(node_id)
        if announced is not None and not same_address(announced, address):
            raise ChangeRefused(
                "announced",
                f"node {node_id} was started with --advertise-addr {announced}, and the leader gives it that address: "
                f"start it with --advertise-addr {address} instead",
            )
        problem = moved_member_problem(node_id, address, dict(core.membership.addresses))
        if problem is not None:
            raise ConfigError(f"node_addr: {problem}")
        timeout_s = min(_ASKING_SHARE * timeout_ms / 1000, _MAX_ASKING_S)
        if (why := (await self.unreached({node_id: address}, timeout_s)).get(node_id)) is not None:
            raise ChangeRefused(
                "unreachable",
                f"node {node_id} was not reached at {address}: {truncate(why, MAX_SENTENCE_CHARS)}; start it there "
                "with its data directory, and repeat this",
            )

    async def unreached(self, nodes: Mapping[int, str], timeout_s: float) -> dict[int, str]:
        """Ask members at these addresses, by id; returns why one did not prove there that it is the member, by id."""
        membership = self._core.membership
        cluster_id = membership.cluster_id
        keyed = bool(membership.keys)  # otherwise a member may run 0.1.0, which proves nothing
        answers, problems = await self._peers.ask_nodes(
            nodes, timeout_s, cluster_id, need_keys=keyed
        )
        found = dict(problems)
        for node_id in nodes:
            answer = answers.get(node_id)
            if answer is None:
                found.setdefault(node_id, "no answer")
            elif answer.reply.cluster_id != cluster_id:
                found[node_id] = f"the node there does not belong to cluster {cluster_id}"
            elif keyed and answer.reply.public_key != self._core.membership.key_of(node_id):
                found[node_id] = "the node there has another public key than the member"
        return found

    def event(self, request_id: int, moved: Mapping[int, str], timeout_ms: int) -> ChangeMembers:
        """The change that gives members these addresses, by id."""
        core = self._core
        return ChangeMembers(
            request_id,
            voters=core.membership.voters,
            learners=core.membership.learners,
            addresses=tuple(sorted(moved.items())),
            timeout_ms=timeout_ms,
            expected_index=core.membership_index,
        )
