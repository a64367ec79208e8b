"""The state of a core, computed again from scratch and by enumeration, without the core's shortcuts.

Slow and simple on purpose. This module does not sort, cache an order or remember the step before. The log, the
configuration and the commit index follow from the writes to the disk and from the definition of a majority.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import lru_cache

from qcore.core import DurableState, Membership, RaftCore
from qcore.core.effects import Write
from qcore.core.log.durable_state import apply_write
from tests.core.support.safety_checks import (
    SafetyViolation,
    holds_durably,
    majorities,
    require,
    voter_sets,
)

_membership_of = lru_cache(maxsize=None)(Membership.from_json)


def written(durable: DurableState, pending: Iterable[Write]) -> DurableState:
    """What the disk will hold once all pending writes are durable; `durable` is not changed."""
    image = DurableState(replace(durable.hard_state), durable.snapshot, list(durable.entries))
    for write in pending:
        apply_write(image, write)
    return image


def configuration_of(state: DurableState) -> tuple[int, Membership]:
    """The newest configuration of snapshot and log, replayed from the start, with its index."""
    index, membership = 0, Membership()
    if state.snapshot is not None:
        meta = state.snapshot.meta
        index, membership = meta.last_included_index, meta.membership
    for entry in state.entries:
        if entry.kind == "membership" and entry.index > index:
            index, membership = entry.index, _membership_of(entry.data)
    return index, membership


def quorum_value_by_enumeration(membership: Membership, values: Mapping[int, int]) -> int:
    """The highest value that all members of some majority have reached, in each voter set."""
    return max(
        value
        for value in {0, *values.values()}
        if all(
            any(all(values.get(voter, 0) >= value for voter in some) for some in majorities(voters))
            for voters in voter_sets(membership)
        )
    )


def check_node(
    node_id: int,
    core: RaftCore,
    durable: Mapping[int, DurableState],
    pending: Iterable[Write],
) -> None:
    """Compare a core with its disk, and a leader with the disks of all nodes.

    Raises:
        SafetyViolation: they differ.
    """
    image = written(durable[node_id], pending)
    _check_log(node_id, core, image)
    index, membership = configuration_of(image)
    covered = image.snapshot.meta.last_included_index if image.snapshot else 0
    # A configuration that a snapshot covers may be known by its entry, if that was held once, or by the snapshot.
    same_place = core.membership_index == index or core.membership_index <= index <= covered
    if not same_place or core.membership != membership:
        raise SafetyViolation(
            f"configuration: node {node_id} uses {core.membership_index}, {core.membership}; "
            f"its log and snapshot hold {index}, {membership}"
        )
    check_leader(node_id, core, durable)


def _check_log(node_id: int, core: RaftCore, image: DurableState) -> None:
    status = core.status()
    stored = (image.hard_state.term, image.hard_state.voted_for)
    require(
        stored == (status.term, status.voted_for),
        f"hard state: node {node_id} is at {(status.term, status.voted_for)}, its writes store {stored}",
    )
    require(
        core.log_entries() == image.entries,
        f"durable log: node {node_id} holds entries that differ from those that its writes store",
    )
    covered = image.snapshot.meta.last_included_index if image.snapshot else 0
    require(
        status.snapshot_index == covered,
        f"snapshot: node {node_id} has one through {status.snapshot_index}, its writes store one through {covered}",
    )


def check_leader(node_id: int, core: RaftCore, durable: Mapping[int, DurableState]) -> None:
    """Check that a leader counts only what is on its followers' disks, and commits all that a quorum holds.

    Raises:
        SafetyViolation: it does not.
    """
    if core.role != "leader" or core.commit_index == core.last_log_index:
        return  # everything is committed: there is nothing to count
    status = core.status()
    matches = {peer: progress.match for peer, progress in status.peers.items()}
    for peer, match in matches.items():
        state, term = durable.get(peer), core.term_at(match)
        # A peer whose disk knows a newer term may have replaced what it acknowledged in this one.
        if match and term and state is not None and state.hard_state.term <= status.term:
            require(
                holds_durably(state, match, term),
                f"match: leader {node_id} counts {match} at node {peer}, whose disk does not hold it",
            )
    matches[node_id] = status.durable_index
    reachable = quorum_value_by_enumeration(status.membership, matches)
    if reachable > status.commit_index and core.term_at(reachable) == status.term:
        raise SafetyViolation(
            f"commit index: leader {node_id} is at {status.commit_index}, a quorum holds {reachable} "
            f"({matches}, {status.membership})"
        )
