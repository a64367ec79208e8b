"""Answers questions about the logs of all nodes: which nodes hold an entry, and which acknowledged writes are lost.

A node's log is the one with which it would enter an election: the log in memory of a running process (also a paused
one), or the log on the disk of a node that is down. The history of a snapshot answers for the entries that the snapshot
covers. docs/scenarios.md, "What the words mean", defines the terms.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from qcore.compiled_build import register_copies
from qcore.core.entry import Entry, Membership
from qcore.core.log.durable_state import first_index
from qcore.sim.verdict.snapshot_histories import EntryHistory, SnapshotHistories
from qcore.sim.workload.operations import ClientOperation
from qcore.sim.world.simulated_node import SimulatedNode

_SHOWN_CHARS = 80


class NodeLogs:
    """Answers questions about the current logs of the nodes."""

    def __init__(self, nodes: Mapping[int, SimulatedNode], histories: SnapshotHistories) -> None:
        self._nodes = nodes
        self._histories = histories

    def term_at(self, node: int, index: int) -> int | None:
        """The term of the entry that the node's log holds at `index`; None if it holds none."""
        machine = self._nodes[node]
        if machine.replica is not None:
            term = machine.replica.core.term_at(index)
            if term is not None:
                return term
            entry = machine.state_history.history.entry_at(index)
        else:
            entry = self.log_of(node).entry_at(index)
        return None if entry is None else entry.term

    def is_held_by(self, quorums: Iterable[tuple[int, ...]], index: int, node: int) -> bool:
        """Whether a majority of each set of voters holds the entry that `node` holds at `index`."""
        term_at = self.term_at
        term = term_at(node, index)
        for voters in quorums:
            needed = len(voters) // 2 + 1
            for voter in voters:
                if term_at(voter, index) == term:
                    needed -= 1
                    if not needed:
                        break
            else:
                return False
        return True

    def committed_membership(self, node: int) -> Membership:
        """The newest configuration that a running node knows to be committed."""
        replica = self._nodes[node].replica
        assert replica is not None, "asked of a node that has just committed"
        return replica.core.committed_membership[1]

    def log_of(self, node: int) -> LogContents:
        """The contents of the node's current log, for many questions about one log."""
        machine = self._nodes[node]
        if machine.replica is None:
            state = machine.disk.durable
            history = self._histories.of(node, state.snapshot)
            meta = state.snapshot.meta if state.snapshot else None
            return _log_contents(
                state.entries, first_index(state), history, meta.last_included_term if meta else 0
            )
        core = machine.replica.core
        entries = core.log_entries()
        first = core.last_log_index - len(entries) + 1
        return _log_contents(
            entries, first, machine.state_history.history, core.term_at(core.last_log_index) or 0
        )


@dataclass(frozen=True)
class LogContents:
    """A log: `entries` from index `first` on, the history of its snapshot, and (term, index) of its last entry."""

    entries: Sequence[Entry] = field(repr=False)
    first: int
    history: EntryHistory
    last: tuple[int, int]

    def entry_at(self, index: int) -> Entry | None:
        """The entry at `index`, or None if the log does not hold one."""
        offset = index - self.first
        if offset < 0:
            return self.history.entry_at(index)
        return self.entries[offset] if offset < len(self.entries) else None


def _log_contents(
    entries: Sequence[Entry], first: int, history: EntryHistory, base_term: int
) -> LogContents:
    """Build the contents. Elections compare logs by `last`, which is (last term, last index): paper, section 5.4.1."""
    last = (entries[-1].term, entries[-1].index) if entries else (base_term, first - 1)
    return LogContents(entries, first, history, last)


def electable(logs: Mapping[int, LogContents], membership: Membership) -> list[int]:
    """The voters that could win an election: their logs are at least as up to date as the logs of a quorum.

    In a joint configuration, a quorum needs both majorities.
    """
    quorums = [voters for voters in (membership.voters, membership.voters_outgoing) if voters]

    def could_win(candidate: int) -> bool:
        return all(
            2 * sum(logs[voter].last <= logs[candidate].last for voter in voters) > len(voters)
            for voters in quorums
        )

    voters = sorted({*membership.voters, *membership.voters_outgoing})
    return [node for node in voters if could_win(node)]


def lost_writes(
    logs: NodeLogs, membership: Membership, history: Iterable[ClientOperation]
) -> list[str]:
    """The acknowledged writes that the log of some electable voter lacks, each described in one text.

    Args:
        logs: the nodes' logs, at the end of the run.
        membership: the newest committed configuration.
        history: all operations of the clients.
    """
    voters = sorted({*membership.voters, *membership.voters_outgoing})
    held = {node: logs.log_of(node) for node in voters}
    candidates = electable(held, membership)
    return [
        text
        for op in history
        if op.is_acknowledged_write
        for node in candidates
        if (text := _missing(op, node, held[node]))
    ]


def _missing(op: ClientOperation, node: int, log: LogContents) -> str:
    """The description of a write that the log does not hold; empty if it holds the write."""
    entry = log.entry_at(op.index)
    if entry is not None and entry.data == op.payload and op.term in (0, entry.term):
        return ""
    if entry is not None:
        instead = f"holds {entry.kind} {_short(entry.data)} of term {entry.term} there"
    elif op.index <= log.history.through:
        instead = "has a snapshot there that is not made of it"
    else:
        instead = "holds nothing there"
    of_term = f", term {op.term}" if op.term else ""
    term, index = log.last
    return (
        f"{_short(op.payload)} at index {op.index}{of_term}, acknowledged to client {op.client}: node {node} can be "
        f"elected (its log ends at index {index}, term {term}) and {instead}"
    )


def _short(text: str) -> str:
    return repr(text if len(text) <= _SHOWN_CHARS else text[: _SHOWN_CHARS - 3] + "...")


register_copies(globals())
