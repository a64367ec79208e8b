"""What a server makes of the durable state that its storage gave back: log, times, versions, configurations.

A state that cannot be whole is refused here, before the server takes part in anything.
"""

from __future__ import annotations

from itertools import pairwise

from qcore.core.entry import DurableState, Membership
from qcore.core.log import RaftLog
from qcore.core.version import FIRST_VERSION, ClusterVersion
from qcore.errors import LogCorrupt


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
                f"the log has entry {entry.index} right after entry {before.index}: entries are missing; "
                "restore this server from a backup, or wipe it and add it again"
            )
    if snapshot is None:
        if entries and entries[0].index != 1:
            raise LogCorrupt(
                f"the log starts at entry {entries[0].index} and there is no snapshot of what came before; "
                "restore this server from a backup, or wipe it and add it again"
            )
        return RaftLog(entries)
    meta = snapshot.meta
    if not entries:
        return RaftLog(offset=meta.last_included_index, offset_term=meta.last_included_term)
    first, last = entries[0].index, entries[-1].index
    if first > meta.last_included_index + 1 or last < meta.last_included_index:
        raise LogCorrupt(
            f"the snapshot ends at {meta.last_included_index}, the log holds {first} to {last}: they do not meet; "
            "restore this server from a backup, or wipe it and add it again"
        )
    if first == meta.last_included_index + 1:
        return RaftLog(entries, offset=first - 1, offset_term=meta.last_included_term)
    log = RaftLog(entries, offset=first - 1, offset_term=None)
    if not log.matches(meta.last_included_index, meta.last_included_term):
        raise LogCorrupt(
            f"the snapshot's last entry {meta.last_included_index} has term {meta.last_included_term}, the log "
            "disagrees; restore this server from a backup, or wipe it and add it again"
        )
    return log


def _check_terms(durable: DurableState) -> None:
    """Terms never decrease along the log, and the server's own is at least the last one's."""
    terms = [entry.term for entry in durable.entries]
    meta = durable.snapshot.meta if durable.snapshot else None
    if meta is not None and (not terms or durable.entries[0].index > meta.last_included_index):
        terms.insert(0, meta.last_included_term)
    for before, after in pairwise([0, *terms, durable.hard_state.term]):
        if after < before:
            raise LogCorrupt(
                f"term {after} comes after term {before} in the log or as the server's own: something was lost; "
                "restore this server from a backup, or wipe it and add it again"
            )


def restored_time_us(durable: DurableState) -> int:
    """The newest time stamp that the log ever held, as far as log and snapshot tell."""
    behind = durable.snapshot.meta.last_included_time_us if durable.snapshot else 0
    return max(behind, durable.entries[-1].time_us) if durable.entries else behind


def restored_clock_us(durable: DurableState) -> int:
    """The newest value of the cluster clock that the log ever held, as far as log and snapshot tell."""
    behind = durable.snapshot.meta.last_included_clock_us if durable.snapshot else 0
    return max(behind, durable.entries[-1].clock_us) if durable.entries else behind


def restored_versions(durable: DurableState) -> list[tuple[int, ClusterVersion]]:
    """The versions of the cluster that log and snapshot name, as (index, version), oldest first; never empty.

    Raises:
        LogCorrupt: an entry of kind `version` holds none.
    """
    snapshot = durable.snapshot
    found = [(0, FIRST_VERSION)]
    if snapshot is not None:
        found = [(snapshot.meta.last_included_index, snapshot.meta.version)]
    for entry in durable.entries:
        if entry.kind == "version" and entry.index > found[0][0]:
            try:
                found.append((entry.index, ClusterVersion.from_json(entry.data)))
            except ValueError as error:
                raise LogCorrupt(
                    f"entry {entry.index} should hold a version of the cluster and does not ({error}); "
                    "restore this server from a backup, or wipe it and add it again"
                ) from error
    return found


def restored_memberships(durable: DurableState) -> list[tuple[int, Membership]]:
    """The configurations that log and snapshot name, as (index, membership), oldest first; never empty.

    Raises:
        LogCorrupt: an entry of kind `membership` holds none.
    """
    found: list[tuple[int, Membership]] = [(0, Membership())]
    floor = 0
    if durable.snapshot is not None:
        floor = durable.snapshot.meta.last_included_index
        found = [(floor, durable.snapshot.meta.membership)]
    for entry in durable.entries:
        if entry.kind == "membership" and entry.index > floor:
            try:
                found.append((entry.index, Membership.from_json(entry.data)))
            except ValueError as error:
                raise LogCorrupt(
                    f"entry {entry.index} should hold a membership and does not ({error}); "
                    "restore this server from a backup, or wipe it and add it again"
                ) from error
    return found
