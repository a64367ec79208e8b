"""Watches a run from outside: which nodes lead, which can reach a quorum, and what was committed when.

The monitor knows what no node can know: which links are cut and which nodes are down. So it can distinguish a leader
from a node that only believes it leads, and time without a leader from time in which no leader was possible.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

from qcore.compiled_build import register_copies
from qcore.core.effects import Role
from qcore.core.entry import Membership
from qcore.sim.records.packed_numbers import PackedNumbers
from qcore.sim.world.network import Network


@dataclass
class NodeFacts:
    """The current state of a node.

    `joined` is true once the node has run. `quorums` are the sets of voters of its effective configuration, two while
    it is joint: the node reaches a quorum if it reaches a majority of each.
    """

    up: bool = False
    paused: bool = False
    role: Role = "follower"
    term: int = 0
    last_index: int = 0
    commit: int = 0
    connected: bool = False
    joined: bool = False
    quorums: tuple[tuple[int, ...], ...] = ()

    @property
    def running(self) -> bool:
        return self.up and not self.paused

    @property
    def leads(self) -> bool:
        return self.role == "leader" and self.running


@dataclass
class Interval:
    """A stretch of simulated time. `end` is None while it lasts; `node` is 0 if it belongs to no node."""

    start: int
    end: int | None = None
    node: int = 0
    first: bool = False

    def length(self, now: int) -> int:
        return (now if self.end is None else self.end) - self.start


@dataclass(frozen=True)
class ElectionEvent:
    """At `time`, `node` became candidate (or leader) in `term`."""

    time: int
    node: int
    term: int


@dataclass
class RunRecord:
    """The observations of the monitor, for expectations and metrics. Times in microseconds.

    Attributes:
        elections: the first candidate of each term.
        leaders: each time that a node became leader.
        leaderless: stretches in which some node could reach a quorum and no leader did. The first begins at the start
            of the run.
        stale_leaders: stretches in which a running node led without a quorum, or while another node led a higher
            term.
        commit_times: each time that the highest commit index of all nodes grew.
        minority_commits: entries committed in a minority (docs/scenarios.md, "What the words mean").
        truncated: entries removed from the ends of logs.
    """

    elections: list[ElectionEvent] = field(default_factory=list, repr=False)
    leaders: list[ElectionEvent] = field(default_factory=list, repr=False)
    leaderless: list[Interval] = field(default_factory=list, repr=False)
    stale_leaders: list[Interval] = field(default_factory=list, repr=False)
    commit_times: PackedNumbers = field(default_factory=PackedNumbers, repr=False)
    minority_commits: int = 0
    truncated: int = 0
    highest_term: int = 0


class LogQueries(Protocol):
    """The questions that the monitor asks about logs; `qcore.sim.verdict.log_queries` answers them."""

    def is_held_by(self, quorums: Iterable[tuple[int, ...]], index: int, node: int) -> bool:
        """Whether a majority of each set of voters holds the entry that `node` holds at `index`."""
        ...

    def committed_membership(self, node: int) -> Membership:
        """The newest configuration that a running node knows to be committed."""
        ...


class Monitor:
    """Keeps `facts` and `record` up to date. The simulator reports to it what happens."""

    def __init__(
        self, nodes: tuple[int, ...], network: Network, later: tuple[int, ...] = ()
    ) -> None:
        self.facts = {node: NodeFacts(joined=True) for node in nodes}
        self.facts.update((node, NodeFacts()) for node in later)
        self.record = RunRecord()
        #: The newest committed configuration, from the node that committed it first.
        self.committed_membership = Membership(voters=nodes)
        self._membership_moves = True
        self._logs: LogQueries | None = None
        self._network = network
        self._linked: dict[int, list[int]] = {}
        #: Whether each node reaches its quorums; a missing one is not known any more.
        self._reaches: dict[int, bool] = {}
        self._terms_contested: set[int] = set()
        self._highest_commit = 0
        self._leaderless: Interval | None = None
        self._stale_leaders: dict[int, Interval] = {}

    # -- reports of what happens ------------------------------------------------------------------

    def set_logs(self, logs: LogQueries) -> None:
        """Set the source of answers about logs."""
        self._logs = logs

    def start(self, now: int) -> None:
        """All nodes and links exist, and the run begins."""
        self._leaderless = Interval(now, first=True)
        self.record.leaderless.append(self._leaderless)
        self.links_changed(now)

    def links_changed(self, now: int) -> None:
        """Some link was cut or healed, clogged or unclogged."""
        network = self._network
        for node in self.facts:
            self._linked[node] = [
                peer
                for peer in self.facts
                if peer == node
                or (network.link(node, peer).is_open and network.link(peer, node).is_open)
            ]
        self._reaches.clear()
        self._evaluate(now)

    def node_up(self, now: int, node: int, term: int, commit: int, last_index: int) -> None:
        facts = self.facts[node]
        facts.up, facts.paused, facts.role, facts.term = True, False, "follower", term
        facts.joined = True
        self._reaches.clear()
        facts.commit, facts.last_index = commit, last_index
        if commit > self._highest_commit:
            self._highest_commit = commit
        if self._linked:
            self._evaluate(now)

    def membership_changed(
        self, now: int, node: int, voters: tuple[int, ...], outgoing: tuple[int, ...]
    ) -> None:
        self.facts[node].quorums = (voters, outgoing) if outgoing else (voters,)
        self._membership_moves = True
        self._reaches.pop(node, None)
        self._evaluate(now)

    def node_down(self, now: int, node: int) -> None:
        self.facts[node].up = False
        self.facts[node].role = "follower"
        self._reaches.clear()
        self._evaluate(now)

    def node_paused(self, now: int, node: int, paused: bool) -> None:
        self.facts[node].paused = paused
        self._reaches.clear()
        self._evaluate(now)

    def role_changed(self, now: int, node: int, role: Role, term: int) -> None:
        facts = self.facts[node]
        if term > self.record.highest_term:
            self.record.highest_term = term
        if role == facts.role and term == facts.term:
            return
        newly = role != facts.role or term != facts.term
        facts.role, facts.term = role, term
        if role == "candidate" and term not in self._terms_contested:
            self._terms_contested.add(term)
            self.record.elections.append(ElectionEvent(now, node, term))
        if role == "leader" and newly:
            if term not in self._terms_contested:  # alone in its cluster, or elected in one step
                self._terms_contested.add(term)
                self.record.elections.append(ElectionEvent(now, node, term))
            self.record.leaders.append(ElectionEvent(now, node, term))
        self._evaluate(now)

    def appended(self, node: int, last_index: int) -> None:
        self.facts[node].last_index = last_index

    def truncated(self, node: int, from_index: int) -> None:
        facts = self.facts[node]
        self.record.truncated += max(0, facts.last_index - from_index + 1)
        facts.last_index = from_index - 1

    def committed(self, now: int, node: int, commit: int) -> None:
        facts = self.facts[node]
        facts.commit = commit
        if commit > self._highest_commit:
            self._judge_commits(node, range(self._highest_commit + 1, commit + 1))
            self._highest_commit = commit
            self.record.commit_times.append(now)

    def _judge_commits(self, node: int, indexes: range) -> None:
        """Count the newly committed entries that no quorum of logs holds at this moment.

        The links of the node do not answer this question. The responses that it counts may have been in transit when
        the links were cut, and a bug under test may let it commit an entry that it never sent.
        """
        logs, quorums = self._logs, self.facts[node].quorums
        if logs is None:
            return
        for index in indexes:
            if not logs.is_held_by(quorums, index, node):
                self.record.minority_commits += 1
        if self._membership_moves:
            newest = self.committed_membership = logs.committed_membership(node)
            uncommitted = quorums != tuple(filter(None, (newest.voters, newest.voters_outgoing)))
            self._membership_moves = uncommitted

    # -- questions --------------------------------------------------------------------------------

    @property
    def leader(self) -> int | None:
        """The running leader with the highest term, even if it does not reach a quorum."""
        leaders = [node for node, facts in self.facts.items() if facts.leads]
        return max(leaders, key=lambda node: self.facts[node].term, default=None)

    @property
    def highest_commit(self) -> int:
        return self._highest_commit

    # -- inference --------------------------------------------------------------------------------

    def _evaluate(self, now: int) -> None:
        if not self._linked:
            return
        for node, facts in self.facts.items():
            facts.connected = facts.running and self._reaches_quorum(node, facts)
        self._evaluate_leaderless(now)
        self._evaluate_stale(now)

    def _reaches_quorum(self, node: int, facts: NodeFacts) -> bool:
        """Whether the node reaches a majority of each set of voters.

        A node that is not a voter leads only for a short time: while it commits its own removal.
        """
        if not (facts.leads or any(node in voters for voters in facts.quorums)):
            return False
        reaches = self._reaches.get(node)
        if reaches is None:
            reached = frozenset(peer for peer in self._linked[node] if self.facts[peer].running)
            reaches = all(
                2 * len(reached.intersection(voters)) > len(voters) for voters in facts.quorums
            )
            self._reaches[node] = reaches
        return reaches

    def _evaluate_leaderless(self, now: int) -> None:
        able = any(facts.connected for facts in self.facts.values())
        led = any(facts.leads and facts.connected for facts in self.facts.values())
        if self._leaderless is not None:
            if led or not able:
                self._leaderless.end = now
                self._leaderless = None
        elif able and not led:
            self._leaderless = Interval(now, first=not self.record.leaders)
            self.record.leaderless.append(self._leaderless)

    def _evaluate_stale(self, now: int) -> None:
        top = max((facts.term for facts in self.facts.values() if facts.leads), default=0)
        for node, facts in self.facts.items():
            stale = facts.leads and (not facts.connected or facts.term < top)
            interval = self._stale_leaders.get(node)
            if stale and interval is None:
                self._stale_leaders[node] = Interval(now, node=node)
                self.record.stale_leaders.append(self._stale_leaders[node])
            elif not stale and interval is not None:
                interval.end = now
                del self._stale_leaders[node]


register_copies(globals())
