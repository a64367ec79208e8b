"""The safety argument as an observer: figure 3 of the paper, and the guarantees to clients.

Each check is incremental, so that it can run after every single step of a long random walk.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from qcore.core import DurableState, Entry, Membership, RaftCore
from qcore.core.effects import (
    AppendLog,
    Apply,
    Effect,
    MembershipChanged,
    ReadReady,
    Role,
    SaveCommit,
    Send,
    StoreSnapshot,
    TruncateLog,
)
from qcore.core.log.durable_state import last_index
from qcore.core.messages import RequestVoteResponse
from qcore.replica.events import Applied, ReplicaEffect


class SafetyViolation(AssertionError):
    """A property that Raft guarantees does not hold."""


def chain(digest: int, entry: Entry) -> int:
    """Digest of a state machine that has applied one more entry."""
    return zlib.crc32(f"{entry.index}/{entry.term}/{entry.kind}/{entry.data}".encode(), digest)


def require(holds: bool, text: str) -> None:
    if not holds:
        raise SafetyViolation(text)


@dataclass(slots=True)
class Before:
    """The state before a step, for comparison."""

    role: Role
    term: int
    commit: int
    membership: Membership


@dataclass(slots=True)
class Committed:
    """The term of a committed entry, and the term of the server that first committed it."""

    entry_term: int
    leader_term: int


class Safety:
    """Observes every step of every core; raises `SafetyViolation`.

    Args:
        watch_votes: also require one vote per term from each server. This is not a property of figure 3, but
            election safety relies on it. Without this check a broken vote is detected only once it elects a leader.
    """

    def __init__(self, *, watch_votes: bool = True) -> None:
        self.watch_votes = watch_votes
        self.leader_of_term: dict[int, int] = {}
        self.vote_sent: dict[tuple[int, int], int] = {}
        self.known_entries: dict[tuple[int, int], tuple[str, str, int, int | None]] = {}
        self.committed: dict[int, Committed] = {}
        self.highest_commit = 0
        self.state_at: dict[int, int] = {}
        self.time_at: dict[int, int] = {}
        self.clock_at: dict[int, int] = {}
        self.reads: dict[tuple[int, int, int], int] = {}
        self.leaders: dict[int, tuple[int, RaftCore]] = {}  # node -> (term, core)

    # -- one step --------------------------------------------------------------------------------

    def before(self, core: RaftCore) -> Before:
        return Before(core.role, core.term, core.commit_index, core.membership)

    def after(
        self,
        durable: Mapping[int, DurableState],
        node_id: int,
        core: RaftCore,
        before: Before,
        effects: Sequence[Effect | ReplicaEffect],
    ) -> None:
        require(core.term >= before.term, f"node {node_id}: the term went back")
        require(core.commit_index >= before.commit, f"node {node_id}: the commit index went back")
        for effect in effects:
            match effect:
                case AppendLog(entries=entries):
                    self._log_matching(node_id, core, entries)
                case Apply(entries=applied):
                    self._log_time(node_id, applied)
                case Applied(entry=entry):
                    self._log_time(node_id, [entry])
                case TruncateLog() | StoreSnapshot(reset_log=True):
                    still = before.role == "leader" and core.role == "leader"
                    require(not still, f"leader append-only: leader {node_id} removes entries")
                case _:
                    pass
        if core.role == "leader":
            if before.role != "leader" or before.term != core.term:
                self._elected(node_id, core)
        else:
            self.leaders.pop(node_id, None)
        if core.commit_index > before.commit:
            self._commits(node_id, core, before.commit)
        leads = core.role == "leader" or (before.role == "leader" and before.term == core.term)
        if leads and core.commit_index > before.commit:
            self._durable_at_a_quorum(durable, node_id, core, before.membership, effects)

    def restarted(self, node_id: int, core: RaftCore) -> None:
        self.leaders.pop(node_id, None)
        entries = core.log_entries()
        for entry in entries[1:]:
            self._remember(node_id, core, entry)

    # -- figure 3 --------------------------------------------------------------------------------

    def _elected(self, node_id: int, core: RaftCore) -> None:
        """Election safety, and leader completeness at the moment of election."""
        other = self.leader_of_term.setdefault(core.term, node_id)
        require(
            other == node_id, f"election safety: {other} and {node_id} both lead term {core.term}"
        )
        self.leaders[node_id] = (core.term, core)
        for index, committed in self.committed.items():
            if committed.leader_term < core.term:
                self._holds(node_id, core, index, committed.entry_term)

    def _holds(self, node_id: int, core: RaftCore, index: int, term: int) -> None:
        if index < core.status().first_log_index:
            return  # compacted: the digest of the state covers it
        require(
            core.term_at(index) == term,
            f"leader completeness: leader {node_id} of term {core.term} lacks committed entry {index}.{term}",
        )

    def _log_matching(self, node_id: int, core: RaftCore, entries: list[Entry]) -> None:
        """An index and term identify one entry and one predecessor, so by induction one whole log."""
        for entry in entries:
            # Later effects of the same step may have removed it again.
            if core.term_at(entry.index) == entry.term:
                self._remember(node_id, core, entry)

    def _remember(self, node_id: int, core: RaftCore, entry: Entry) -> None:
        previous = core.term_at(entry.index - 1)
        if previous is None:
            return
        content = (entry.kind, entry.data, entry.time_us, previous)
        known = self.known_entries.setdefault((entry.index, entry.term), content)
        require(
            known == content,
            f"log matching: node {node_id} holds {entry.index}.{entry.term} as {content}, elsewhere it is {known}",
        )

    def _commits(self, node_id: int, core: RaftCore, previous: int) -> None:
        for index in range(previous + 1, core.commit_index + 1):
            term = core.term_at(index)
            if term is None:
                continue
            known = self.committed.get(index)
            if known is None:
                self.committed[index] = known = Committed(term, core.term)
                for leader_id, (leader_term, leader) in self.leaders.items():
                    if leader_term > core.term:
                        self._holds(leader_id, leader, index, term)
            require(
                known.entry_term == term,
                f"state machine safety: node {node_id} commits {index}.{term}, "
                f"elsewhere {index}.{known.entry_term} is committed",
            )
        self.highest_commit = max(self.highest_commit, core.commit_index)

    def _durable_at_a_quorum(
        self,
        durable: Mapping[int, DurableState],
        node_id: int,
        core: RaftCore,
        membership: Membership,
        effects: Sequence[Effect | ReplicaEffect],
    ) -> None:
        """Brute force: some majority of each voter set holds each newly committed entry on disk.

        Args:
            membership: effective when the step began. One step may commit a joint configuration by both
                majorities, leave it, and commit more by the new majority alone.
        """
        for effect in effects:
            match effect:
                case MembershipChanged():
                    membership = effect.membership
                case SaveCommit(commit=index):
                    term = core.term_at(index)
                    holders = {
                        n for n, state in durable.items() if holds_durably(state, index, term)
                    }
                    for voters in voter_sets(membership):
                        require(
                            any(holders.issuperset(quorum) for quorum in majorities(voters)),
                            f"commit rule: leader {node_id} commits {index}.{term}, on disk only at "
                            f"{sorted(holders)} of the voters {list(voters)}",
                        )
                case _:
                    pass

    def applied(self, node_id: int, index: int, digest: int) -> None:
        """State machine safety: one state for each index, by log or by snapshot."""
        known = self.state_at.setdefault(index, digest)
        require(known == digest, f"state machine safety: node {node_id} differs at index {index}")

    def _log_time(self, node_id: int, entries: list[Entry]) -> None:
        """Neither log time nor the cluster clock goes back: client sessions expire by one of them."""
        for entry in entries:
            before = self.time_at.get(entry.index - 1, entry.time_us)
            self.time_at[entry.index] = entry.time_us
            require(
                before <= entry.time_us,
                f"log time: node {node_id} applies entry {entry.index} of {entry.time_us} µs after one of {before}",
            )
            clock = self.clock_at.get(entry.index - 1, entry.clock_us)
            self.clock_at[entry.index] = entry.clock_us
            require(
                clock <= entry.clock_us,
                f"cluster clock: node {node_id} applies entry {entry.index} of {entry.clock_us} µs after {clock}",
            )

    # -- votes and reads -------------------------------------------------------------------------

    def sent(self, node_id: int, send: Send) -> None:
        message = send.message
        if self.watch_votes and isinstance(message, RequestVoteResponse) and message.vote_granted:
            other = self.vote_sent.setdefault((node_id, message.term), send.to)
            require(
                other == send.to,
                f"one vote per term: node {node_id} votes for {other} and {send.to} in term {message.term}",
            )

    def read_requested(self, node_id: int, life: int, read_id: int) -> None:
        self.reads[node_id, life, read_id] = self.highest_commit

    def read_ready(self, node_id: int, life: int, ready: ReadReady) -> None:
        least = self.reads.pop((node_id, life, ready.read_id), None)
        if least is None:
            raise SafetyViolation(f"read {ready.read_id} of node {node_id} was served twice")
        require(
            ready.index >= least,
            f"stale read: node {node_id} serves index {ready.index}, but {least} was committed at the request",
        )


def voter_sets(membership: Membership) -> list[tuple[int, ...]]:
    """The incoming voters and, while joint, the outgoing ones."""
    sets = [membership.voters, membership.voters_outgoing]
    return [voters for voters in sets if voters]


def majorities(voters: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Every smallest majority."""
    return list(combinations(voters, len(voters) // 2 + 1))


def holds_durably(state: DurableState, index: int, term: int | None) -> bool:
    if state.snapshot is not None and state.snapshot.meta.last_included_index >= index:
        return True
    if not state.entries or index > last_index(state) or index < state.entries[0].index:
        return False
    return state.entries[index - state.entries[0].index].term == term
