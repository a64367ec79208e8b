"""`GlobalHistory`: what has happened in the explored cluster, as far as the safety properties need it.

| check | property | source |
|---|---|---|
| election_safety | at most one leader in a term; one vote of a node in a term | paper, figures 2 and 3 |
| state_machine_safety | nodes apply the same entry at an index, in order | paper, figure 3 |
| leader_completeness | a leader has every entry that was committed in an earlier term | paper, figure 3 |
| log_matching | same index and term mean the same prefix | paper, figure 3 |
| leader_append_only | a leader removes nothing from its log | paper, figure 3 |
| linearizable_read | a read reflects what was committed before it | dissertation 6.4 |

They are those of `qcore.sim.invariants`, as functions of a state. The classes there follow one run and remember all of
it; an explored state must be small, and equal to that of other orders of the same events.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from qcore.core.entry import Entry
from qcore.sim.exploration.small.fingerprints import Fingerprint, NodeRef, of_entry
from qcore.sim.exploration.small.local_node import LocalNode, StepReport

#: The checks of an exploration, in the order of the table above; `assertion` is a failed assertion of the core.
CHECKS: Final = (
    "election_safety",
    "state_machine_safety",
    "leader_completeness",
    "log_matching",
    "leader_append_only",
    "linearizable_read",
    "assertion",
)


class Broken(NamedTuple):
    """A property that does not hold.

    Attributes:
        check: one of `CHECKS`.
        node: the node whose step showed it.
        note: what is wrong, with the values.
    """

    check: str
    node: int
    note: str


class Committed(NamedTuple):
    """A committed entry, and the lowest term in which a node committed it."""

    entry: Fingerprint
    term: int


class GlobalHistory(NamedTuple):
    """The leaders of all terms, the committed entries by index, and for each open read what it must reflect.

    It does not depend on the order of steps of different nodes, except of reads.
    """

    leaders: tuple[tuple[int, NodeRef], ...] = ()
    committed: tuple[Committed, ...] = ()
    reads: tuple[tuple[int, int], ...] = ()

    def after(self, node: int, report: StepReport) -> GlobalHistory | Broken:
        """The history after a step of a node, or the property that the step broke."""
        if report.broken:
            check, note = report.broken[0]
            return Broken(check, node, note)
        leaders, committed, reads = self
        for term in report.led:
            found = dict(leaders).get(term)
            if found == node:
                return Broken(
                    "election_safety", node, f"node {node} leads term {term} again after a restart"
                )
            if found is not None:
                return Broken(
                    "election_safety", node, f"nodes {found} and {node} both lead term {term}"
                )
            leaders = tuple(sorted((*leaders, (term, NodeRef(node)))))
        for snapshot in report.restored:
            index, term = snapshot.meta.last_included_index, snapshot.meta.last_included_term
            if index > len(committed) or committed[index - 1].entry[0] != term:
                return Broken(
                    "state_machine_safety",
                    node,
                    f"node {node} restores a snapshot up to (index {index}, term {term}), which is not committed",
                )
        for entry, term in report.applied:
            extended = _with_entry(committed, node, entry, term)
            if isinstance(extended, Broken):
                return extended
            committed = extended
        for read_id, index in report.read:
            floor = dict(reads).get(read_id, 0)
            if index < floor:
                return Broken(
                    "linearizable_read",
                    node,
                    f"read {read_id} at node {node} reflects index {index}, "
                    f"but {floor} was committed before it began",
                )
            reads = tuple([read for read in reads if read[0] != read_id])
        return GlobalHistory(leaders, committed, reads)

    def with_read(self, read_id: int) -> GlobalHistory:
        """A read begins now."""
        return self._replace(reads=(*self.reads, (read_id, len(self.committed))))

    def missing_at(self, node: LocalNode) -> Broken | None:
        """The committed entry that a node, if it leads, lacks although it was committed in an earlier term."""
        server = node.core._server
        if server.role != "leader":
            return None
        log = server.log
        for index, (entry, term) in enumerate(self.committed, 1):
            if term < server.term and index > log.offset and log.term(index) != entry[0]:
                return Broken(
                    "leader_completeness",
                    server.node_id,
                    f"node {server.node_id} leads term {server.term} without the committed "
                    f"{_text(index, entry)}",
                )
        return None


def _with_entry(
    committed: tuple[Committed, ...], node: int, entry: Entry, term: int
) -> tuple[Committed, ...] | Broken:
    index, found = entry.index, of_entry(entry)
    if index > len(committed) + 1:
        return Broken(
            "state_machine_safety",
            node,
            f"node {node} applies {_text(index, found)}, but only {len(committed)} entries are committed",
        )
    if index == len(committed) + 1:
        return (*committed, Committed(found, term))
    known = committed[index - 1]
    if known.entry != found:
        return Broken(
            "state_machine_safety",
            node,
            f"node {node} applies {_text(index, found)}, another node applied {_text(index, known.entry)}",
        )
    if term < known.term:
        return (*committed[: index - 1], Committed(found, term), *committed[index:])
    return committed


def log_mismatch(one: LocalNode, other: LocalNode) -> Broken | None:
    """Where two logs hold an entry of the same index and term, but differ in it or before it."""
    here, there = one.core._server.log, other.core._server.log
    first = max(here.offset, there.offset) + 1
    differs: int | None = None
    for index in range(first, min(here.last_index, there.last_index) + 1):
        mine, its = here.entry(index), there.entry(index)
        assert mine is not None, "the first log holds the index"
        assert its is not None, "the second log holds the index"
        same_term = mine.term == its.term
        if same_term and (differs is not None or mine.data != its.data or mine.kind != its.kind):
            nodes = one.core.node_id, other.core.node_id
            note = (
                f"nodes {nodes[0]} and {nodes[1]} both hold (index {index}, term {mine.term}), "
                f"but differ at index {index if differs is None else differs}"
            )
            return Broken("log_matching", nodes[0], note)
        if not same_term and differs is None:
            differs = index
    return None


def _text(index: int, entry: Fingerprint) -> str:
    return f"(index {index}, term {entry[0]}, {entry[1]} {entry[2]!r})"
