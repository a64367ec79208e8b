"""Durability: a message leaves only once the disk of its sender holds what it promises. Quorum: a leader counts right.

Sources: Ongaro and Ousterhout, "In Search of an Understandable Consensus Algorithm" (extended version), figure 2:
"updated on stable storage before responding to RPCs", "if votes received from majority of servers: become leader",
"if a majority of matchIndex[i] >= N: set commitIndex = N"; section 6 for joint configurations.

The other checks see a broken promise only if a server loses its memory at the wrong moment and others then act on it.
These two look at the promise itself. They know what was sent and what each disk holds, so they need neither a crash nor
luck. If a scenario switches off the safeguard that keeps a promise, the promise is not checked at that server.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Final

from qcore.compiled_build import register_copies
from qcore.core.config import Safeguards
from qcore.core.entry import DurableState, Membership
from qcore.core.log.durable_state import last_index
from qcore.core.log.restore import restored_memberships
from qcore.core.messages import (
    AppendEntries,
    AppendEntriesResponse,
    InstallSnapshot,
    InstallSnapshotResponse,
    PreVote,
    PreVoteResponse,
    RequestVote,
    RequestVoteResponse,
    TimeoutNow,
    TimeoutNowResponse,
)
from qcore.errors import LogCorrupt
from qcore.replica.messages import PeerMessage
from qcore.sim.invariants.node_view import NodeView, Report

DURABILITY: Final = "durability"
QUORUM: Final = "quorum"

#: The other messages that carry the term of their sender, and no promise.
_OF_A_TERM: Final = (
    InstallSnapshot,
    PreVote,
    PreVoteResponse,
    RequestVote,
    TimeoutNow,
    TimeoutNowResponse,
)


class _Server:
    """One server in its current life.

    Attributes:
        disk: what its disk holds durably at this moment.
        keeps_votes, keeps_entries: whether it stores a vote, and entries, before it sends what promises them.
        membership, members: its effective configuration, and who gets the log in it.
    """

    def __init__(
        self, disk: Callable[[], DurableState], safeguards: Safeguards, membership: Membership
    ) -> None:
        self.disk = disk
        self.keeps_votes: bool = safeguards.vote_durable_before_reply
        self.keeps_entries: bool = safeguards.append_durable_before_ack
        self.use(membership)

    def use(self, membership: Membership) -> None:
        """This is its effective configuration from now on."""
        self.membership = membership
        self.members = membership.members()


class _Acknowledged:
    """The last entry that a server acknowledged to a leader, in the newest term in which it did."""

    def __init__(self, term: int, index: int) -> None:
        self.term = term
        self.index = index


class Promises:
    """Watches what servers send, who leads, and what leaders commit."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._servers: dict[int, _Server] = {}
        #: By candidate and term, the servers that sent it a vote, as an ordered set.
        self._granted: dict[tuple[int, int], dict[int, None]] = {}
        #: By leader and server, the newest term in which the server acknowledged entries to the leader, and the last
        #: of them.
        self._acknowledged: dict[int, dict[int, _Acknowledged]] = {}
        self._elected: dict[int, int] = {}  # node -> the term whose election was judged

    def on_start(
        self,
        node: int,
        durable: DurableState,
        disk: Callable[[], DurableState],
        safeguards: Safeguards,
    ) -> None:
        """The server starts from `durable`, with these safeguards."""
        membership = Membership()
        with suppress(LogCorrupt):  # the start itself reports this
            membership = restored_memberships(durable)[-1][1]
        self._servers[node] = _Server(disk, safeguards, membership)

    def on_sent(self, node: int, to: int, message: PeerMessage) -> None:
        """The message leaves the server now."""
        server = self._servers.get(node)
        if server is None:
            return
        if isinstance(message, AppendEntries):  # the most frequent ones first
            self._on_term(node, server, to, message.term, message)
        elif isinstance(message, (AppendEntriesResponse, InstallSnapshotResponse)):
            self._on_acknowledgement(node, server, to, message)
        elif isinstance(message, RequestVoteResponse):
            self._on_vote(node, server, to, message)
        elif isinstance(message, _OF_A_TERM):
            self._on_term(node, server, to, message.term, message)

    def on_membership(self, view: NodeView, membership: Membership) -> None:
        """The effective configuration of the server changed."""
        server = self._servers.get(view.node)
        if server is not None:
            server.use(membership)

    def on_leader(self, view: NodeView, term: int) -> None:
        """The server leads this term: a quorum must have voted for it."""
        node, server = view.node, self._servers.get(view.node)
        if server is None or self._elected.get(node) == term:
            return
        self._elected[node] = term
        votes = [*self._granted.get((node, term), ())]
        hard_state = server.disk().hard_state
        if not server.keeps_votes or ((hard_state.term, hard_state.voted_for) == (term, node)):
            votes.append(node)
        if not _is_quorum(server.membership, votes):
            self._report(
                QUORUM,
                node,
                f"node {node} leads term {term}, and only {_those(votes, 'vote')} for it "
                f"durably; {_voters(server.membership)}",
            )

    def on_commit(self, view: NodeView, index: int) -> None:
        """The server commits this index. If it leads, a quorum must have acknowledged the entry in its term."""
        node, server = view.node, self._servers.get(view.node)
        if server is None or view.role != "leader":
            return
        own = last_index(server.disk()) if server.keeps_entries else view.last_index
        holders = [node] if own >= index else []
        acknowledged = self._acknowledged.get(node, {})
        for member in server.members:
            known = acknowledged.get(member)
            if known is None or member == node:
                continue
            if known.term == view.term and known.index >= index:
                holders.append(member)
        if not _is_quorum(server.membership, holders):
            self._report(
                QUORUM,
                node,
                f"node {node} commits entry {index} in term {view.term}, and only {_those(holders, 'hold')} it "
                f"durably; {_voters(server.membership)}",
            )

    # -- messages --------------------------------------------------------------------------------

    def _on_term(
        self, node: int, server: _Server, to: int, term: int, message: PeerMessage
    ) -> None:
        held = server.disk().hard_state.term
        if held < term and server.keeps_votes:
            self._report(
                DURABILITY,
                node,
                f"node {node} sends {type(message).__name__} of term {term} to node {to}, and its disk "
                f"holds term {held}",
            )

    def _on_vote(self, node: int, server: _Server, to: int, message: RequestVoteResponse) -> None:
        self._on_term(node, server, to, message.term, message)
        if not message.vote_granted:
            return
        self._granted.setdefault((to, message.term), {})[node] = None
        held = server.disk().hard_state
        is_kept = held.term > message.term or (held.term, held.voted_for) == (message.term, to)
        if held.term >= message.term and not is_kept and server.keeps_votes:
            vote = "no vote" if held.voted_for is None else f"a vote for node {held.voted_for}"
            self._report(
                DURABILITY,
                node,
                f"node {node} sends node {to} its vote in term {message.term}, and its disk holds {vote}",
            )

    def _on_acknowledgement(
        self,
        node: int,
        server: _Server,
        to: int,
        message: AppendEntriesResponse | InstallSnapshotResponse,
    ) -> None:
        match, term = message.match_index, message.term
        self._on_term(node, server, to, term, message)
        if not match:
            return
        acknowledged = self._acknowledged.setdefault(to, {})
        known = acknowledged.get(node)
        if known is None:
            acknowledged[node] = _Acknowledged(term, match)
        elif term > known.term:
            known.term, known.index = term, match
        elif term == known.term and match > known.index:
            known.index = match
        held = server.disk()
        # A response of an earlier term may leave when a later leader's entries have replaced the acknowledged ones. No
        # earlier leader can commit those: this server has followed the later one.
        if last_index(held) < match and held.hard_state.term <= term and server.keeps_entries:
            self._report(
                DURABILITY,
                node,
                f"node {node} acknowledges entry {match} to node {to}, and its disk ends with entry "
                f"{last_index(held)}",
            )


def _is_quorum(membership: Membership, nodes: Collection[int]) -> bool:
    """Whether these nodes are a majority of each set of voters. It shares no code with the core, which it judges."""
    return all(
        2 * sum(voter in nodes for voter in voters) > len(voters)
        for voters in (membership.voters, membership.voters_outgoing)
        if voters
    )


def _those(nodes: Collection[int], verb: str) -> str:
    """For example: nodes 1 and 2 hold."""
    if not nodes:
        return f"no node {verb}s"
    if len(nodes) == 1:
        return f"node {min(nodes)} {verb}s"
    return f"nodes {' and '.join(map(str, sorted(nodes)))} {verb}"


def _voters(membership: Membership) -> str:
    outgoing = membership.voters_outgoing
    more = f", the outgoing ones {', '.join(map(str, outgoing))}" if outgoing else ""
    return f"the voters are {', '.join(map(str, membership.voters))}{more}"


register_copies(globals())
