"""What the nodes that are left of a cluster know, which of them has the furthest log, and what may be lost.

The furthest log is the one that Raft's election prefers: the highest last term, then the highest last index (paper,
section 5.4.1). If every quorum of the cluster has one of the survivors, the furthest log has every committed entry. The
argument is that of leader completeness (paper, section 5.4.3): a survivor holds the entry; a log whose last term is
higher was continued by a leader that held it; a log with the same last term, and at least as long, holds it by log
matching. Otherwise a quorum of the others alone may have acknowledged entries that no survivor has.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from qcore.core.entry import DurableState, Membership, SnapshotMeta
from qcore.core.log.durable_state import last_index
from qcore.core.quorum import vote_result
from qcore.recovery.recovery_refused import RecoveryRefused


@dataclass(slots=True, frozen=True)
class Survivor:
    """What one data directory holds.

    Attributes:
        directory: the data directory.
        node_id: the node.
        cluster_id: its cluster.
        term: its current term.
        last_term, last_index: of its last entry.
        commit_index: the highest index that it knew to be committed; it may be behind.
        configurations: the newest configuration at or before its commit index, and all later ones.
        diverged: whether it is marked as different from a majority.
        public_key: its key; None if it has none.
    """

    directory: Path
    node_id: int
    cluster_id: str
    term: int
    last_term: int
    last_index: int
    commit_index: int
    configurations: tuple[Membership, ...]
    diverged: bool = False
    public_key: str | None = None

    @property
    def membership(self) -> Membership:
        """Its newest configuration."""
        return self.configurations[-1]


def survivor_of(
    directory: Path,
    node_id: int,
    cluster_id: str,
    state: DurableState,
    memberships: Sequence[tuple[int, Membership]],
    *,
    diverged: bool,
    public_key: str | None,
) -> Survivor:
    """What a directory holds, from its durable state.

    Args:
        directory, node_id, cluster_id, diverged, public_key: see `Survivor`.
        state: what the storage has loaded.
        memberships: all configurations in it by index, oldest first.
    """
    meta: SnapshotMeta | None = None if state.snapshot is None else state.snapshot.meta
    covered = 0 if meta is None else meta.last_included_index
    covered_term = 0 if meta is None else meta.last_included_term
    commit = max(state.hard_state.commit, covered)
    committed = [held for index, held in memberships if index <= commit]
    later = [held for index, held in memberships if index > commit]
    return Survivor(
        directory,
        node_id,
        cluster_id,
        state.hard_state.term,
        state.entries[-1].term if state.entries else covered_term,
        last_index(state),
        commit,
        (*committed[-1:], *later),
        diverged,
        public_key,
    )


@dataclass(slots=True, frozen=True)
class Recovery:
    """The judgement over the survivors.

    Attributes:
        furthest: whose log is taken.
        survivors: all of them, by node id.
        commit_index: the highest index that one of them knew to be committed.
        term: the highest current term of one of them.
        unseen: the voters of the newest configuration that are not among them.
        loses_nothing: whether every quorum had one of the survivors, so that no acknowledged write can be lost.
    """

    furthest: Survivor
    survivors: tuple[Survivor, ...]
    commit_index: int
    term: int
    unseen: tuple[int, ...]
    loses_nothing: bool

    def losses(self) -> list[str]:
        """What is kept, and what may be lost, a sentence each."""
        last, commit = self.furthest.last_index, self.commit_index
        kept = f"entries up to {commit} were committed, and all of them are kept"
        if last == commit + 1:
            kept += f"; entry {last} is kept, too, whether or not it was committed: it counts as committed from now on"
        elif last > commit:
            kept += (
                f"; entries {commit + 1} to {last} are kept, too, whether or not they were committed: they count as "
                "committed from now on"
            )
        names = ", ".join(map(str, self.unseen))
        if self.loses_nothing:
            lost = (
                "no acknowledged write is lost: every majority of the voters had one of these nodes"
                if self.unseen
                else "no acknowledged write is lost: all voters are here"
            )
        else:
            lost = (
                f"writes after entry {last} may be lost: the voters {names} are not here, and they can have "
                "acknowledged entries that none of these nodes has. How many is unknown"
            )
        return [kept, lost]


def judge(survivors: Sequence[Survivor], *, even_if_diverged: bool = False) -> Recovery:
    """Decide whose log is taken, and what may be lost.

    Args:
        survivors: at least one.
        even_if_diverged: take the log of a node that differs from a majority.

    Raises:
        RecoveryRefused: the directories do not belong together, the nodes are a quorum, or the furthest log is that
            of a node that differs from a majority.
    """
    _check_together(survivors)
    furthest = max(survivors, key=lambda each: (each.last_term, each.last_index, -each.node_id))
    present = {each.node_id for each in survivors}
    if vote_result(furthest.membership, dict.fromkeys(present, True)) == "won":
        nodes = ", ".join(map(str, sorted(present)))
        raise RecoveryRefused(
            f"these directories (of node {nodes}) are a majority of the voters of cluster {furthest.cluster_id}: start "
            "the nodes, and they elect a leader; nothing needs to be recovered"
        )
    if furthest.diverged and not even_if_diverged:
        raise RecoveryRefused(
            f"node {furthest.node_id} has the furthest log, and its state or log differs from that of a majority "
            f"(diverged.json): leave {furthest.directory} out; or take it nevertheless, with --even-if-diverged"
        )
    unseen = tuple(
        sorted({*furthest.membership.voters, *furthest.membership.voters_outgoing} - present)
    )
    return Recovery(
        furthest,
        tuple(sorted(survivors, key=lambda each: each.node_id)),
        max(each.commit_index for each in survivors),
        max(each.term for each in survivors),
        unseen,
        all(_meets_every_quorum(present, held) for held in _possible_configurations(survivors)),
    )


def _possible_configurations(survivors: Sequence[Survivor]) -> Iterator[Membership]:
    """Every configuration that may have decided about the newest entries."""
    for each in survivors:
        yield from each.configurations


def _meets_every_quorum(present: set[int], membership: Membership) -> bool:
    """Whether the other voters alone are no quorum."""
    others = dict.fromkeys({*membership.voters, *membership.voters_outgoing} - present, True)
    votes: Mapping[int, bool] = {**others, **dict.fromkeys(present, False)}
    return vote_result(membership, votes) != "won"


def _check_together(survivors: Sequence[Survivor]) -> None:
    first = survivors[0]
    by_id: dict[int, Survivor] = {}
    for each in survivors:
        if each.cluster_id != first.cluster_id:
            raise RecoveryRefused(
                f"{first.directory} belongs to cluster {first.cluster_id}, {each.directory} to {each.cluster_id}: give "
                "directories of one cluster. If a recovery was interrupted, first put the files of "
                "before-recovery-TIME back in each directory of its new cluster"
            )
        other = by_id.setdefault(each.node_id, each)
        if other is not each:
            raise RecoveryRefused(
                f"{other.directory} and {each.directory} both belong to node {each.node_id}: give the newer one; an "
                "older copy has forgotten votes and entries"
            )
