"""What the disks of a cluster hold at the start of a test."""

from __future__ import annotations

from collections.abc import Sequence
from zlib import crc32

from qcore.core import DurableState, Entry, HardState, Membership
from qcore.core.messages import InstallSnapshot
from qcore.core.version import ClusterVersion


def membership_entry(membership: Membership, term: int = 1) -> Entry:
    """The first entry of every log."""
    return Entry(1, term, "membership", membership.to_json(), 0)


def started(membership: Membership, terms: Sequence[int] = (1,), term: int = 0) -> DurableState:
    """The durable state of a server whose log has entries of these terms; the first is the membership."""
    entries = [membership_entry(membership, terms[0])]
    entries += [
        Entry(index, entry_term, "command", f"{entry_term}-{index}", 0)
        for index, entry_term in enumerate(terms[1:], start=2)
    ]
    return DurableState(HardState(term or terms[-1], None, 0), None, entries)


def begun(membership: Membership, rules: int, machine: str = "") -> DurableState:
    """Like `started`, for a cluster that begins at these apply rules: from 2 on, the second entry raises them.

    Args:
        machine: the name of a state machine of version 1, if the cluster has one.
    """
    state = started(membership)
    if rules > 1:
        version = ClusterVersion(rules, machine, 1) if machine else ClusterVersion(rules)
        state.entries.append(Entry(2, 1, "version", version.to_json(), 0))
    return state


def whole_snapshot(
    term: int,
    leader_id: int,
    last_included_index: int,
    last_included_term: int,
    membership: Membership,
    data: str,
    *,
    time_us: int = 0,
) -> InstallSnapshot:
    """A snapshot in one chunk."""
    checksum = crc32(data.encode())
    return InstallSnapshot(
        term,
        leader_id,
        last_included_index,
        last_included_term,
        time_us,
        membership,
        offset=0,
        total=len(data),
        checksum=checksum,
        data=data,
    )
