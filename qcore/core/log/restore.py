"""Restores the volatile state of a server from its durable state: log, times, versions, configurations.

It refuses an incomplete state before the server takes part in anything.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Final, TypeVar

from qcore.core.entry import DurableState, EntryKind, Membership
from qcore.core.log.raft_log import RaftLog
from qcore.core.version import FIRST_VERSION, ClusterVersion
from qcore.errors import LogCorrupt

T = TypeVar("T")

#: What to do about a damaged log: the end of every `LogCorrupt` text. An older copy repairs nothing, because it forgets
#: votes and entries. The advice deletes nothing, so the damaged files can still be inspected.
RECOVERY_ADVICE: Final = (
    "Do not restore an older copy (it would take back acknowledged writes and votes): remove this node from the "
    "cluster, move its data directory away, and add the node again with an empty one"
)


def restored_log(durable: DurableState) -> RaftLog:
    """The log in memory.

    Raises:
        LogCorrupt: entries are missing, or log and snapshot do not meet.
    """
    entries, snapshot = durable.entries, durable.snapshot
    _check_terms(durable)
    for before, entry in pairwise(entries):
        if entry.index != before.index + 1:
            raise LogCorrupt(
                f"the log has entry {entry.index} right after entry {before.index}: entries are missing. "
                f"{RECOVERY_ADVICE}"
            )
    if snapshot is None:
        if entries and entries[0].index != 1:
            raise LogCorrupt(
                f"the log starts at entry {entries[0].index} and there is no snapshot of what came before. "
                f"{RECOVERY_ADVICE}"
            )
        return RaftLog(entries)
    meta = snapshot.meta
    if not entries:
        return RaftLog(offset=meta.last_included_index, offset_term=meta.last_included_term)
    first, last = entries[0].index, entries[-1].index
    if first > meta.last_included_index + 1 or last < meta.last_included_index:
        raise LogCorrupt(
            f"the snapshot ends at {meta.last_included_index}, the log holds {first} to {last}: they do not meet. "
            f"{RECOVERY_ADVICE}"
        )
    if first == meta.last_included_index + 1:
        return RaftLog(entries, offset=first - 1, offset_term=meta.last_included_term)
    log = RaftLog(entries, offset=first - 1, offset_term=None)
    if not log.matches(meta.last_included_index, meta.last_included_term):
        raise LogCorrupt(
            f"the snapshot's last entry {meta.last_included_index} has term {meta.last_included_term}, the log "
            f"disagrees. {RECOVERY_ADVICE}"
        )
    return log


def _check_terms(durable: DurableState) -> None:
    """Terms never decrease along the log, and the server's current term is at least the last one."""
    terms = [entry.term for entry in durable.entries]
    meta = durable.snapshot.meta if durable.snapshot else None
    if meta is not None and (not terms or durable.entries[0].index > meta.last_included_index):
        terms.insert(0, meta.last_included_term)
    for before, after in pairwise([0, *terms, durable.hard_state.term]):
        if after < before:
            raise LogCorrupt(
                f"term {after} comes after term {before} in the log or as the current term: something was lost. "
                f"{RECOVERY_ADVICE}"
            )


def restored_time_us(durable: DurableState) -> int:
    """The newest time stamp in log and snapshot, µs since the Unix epoch; 0 if there is none."""
    covered = durable.snapshot.meta.last_included_time_us if durable.snapshot else 0
    return max(covered, durable.entries[-1].time_us) if durable.entries else covered


def restored_clock_us(durable: DurableState) -> int:
    """The newest value of the cluster clock in log and snapshot, µs; 0 if there is none."""
    covered = durable.snapshot.meta.last_included_clock_us if durable.snapshot else 0
    return max(covered, durable.entries[-1].clock_us) if durable.entries else covered


def restored_versions(durable: DurableState) -> list[tuple[int, ClusterVersion]]:
    """The versions of the cluster in log and snapshot, as (index, version), oldest first; never empty.

    Raises:
        LogCorrupt: an entry of kind `version` holds no version.
    """
    first = (0, FIRST_VERSION)
    if durable.snapshot is not None:
        first = (durable.snapshot.meta.last_included_index, durable.snapshot.meta.version)
    return _history(durable, first, "version", ClusterVersion.from_json, "a version of the cluster")


def restored_memberships(durable: DurableState) -> list[tuple[int, Membership]]:
    """The configurations in log and snapshot, as (index, membership), oldest first; never empty.

    Raises:
        LogCorrupt: an entry of kind `membership` holds no configuration.
    """
    first = (0, Membership())
    if durable.snapshot is not None:
        first = (durable.snapshot.meta.last_included_index, durable.snapshot.meta.membership)
    return _history(durable, first, "membership", Membership.from_json, "a membership")


def _history(
    durable: DurableState,
    first: tuple[int, T],
    kind: EntryKind,
    parse: Callable[[str], T],
    what: str,
) -> list[tuple[int, T]]:
    """`first`, then the values of the later entries of this kind, each with its index."""
    found = [first]
    for entry in durable.entries:
        if entry.kind == kind and entry.index > first[0]:
            try:
                found.append((entry.index, parse(entry.data)))
            except ValueError as error:
                raise LogCorrupt(
                    f"entry {entry.index} should hold {what} and does not ({error}). {RECOVERY_ADVICE}"
                ) from error
    return found
