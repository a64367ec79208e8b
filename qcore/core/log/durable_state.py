"""`apply_write`: what a write does to the durable state. Every storage must follow this definition."""

from __future__ import annotations

from dataclasses import replace
from typing import Final, assert_never

from qcore.core.effects import AppendLog, SaveHardState, StoreSnapshot, TruncateLog, Write
from qcore.core.entry import DurableState

#: Bytes counted for each write, besides its entries or snapshot.
WRITE_OVERHEAD_BYTES: Final = 64


def apply_write(state: DurableState, write: Write) -> None:
    """Execute one write on an in-memory image of the durable state.

    Raises:
        ValueError: the write does not fit the state (a gap, or a truncation into the snapshot): a bug in the code
            that made or ordered the writes.
    """
    match write:
        case SaveHardState(hard_state=hard_state):
            state.hard_state = replace(hard_state)
        case AppendLog(entries=entries):
            expected = last_index(state) + 1
            if entries and entries[0].index != expected:
                raise ValueError(
                    f"append starts at {entries[0].index}, the log ends at {expected - 1}"
                )
            state.entries.extend(entries)
        case TruncateLog(from_index=from_index):
            keep = from_index - first_index(state)
            if keep < 0:
                raise ValueError(
                    f"truncate from {from_index}, the log starts at {first_index(state)}"
                )
            del state.entries[keep:]
        case StoreSnapshot(snapshot=snapshot, compact_through=through, reset_log=reset):
            state.entries = [] if reset else [e for e in state.entries if e.index > through]
            state.snapshot = snapshot
        case _:
            assert_never(write)


def size_bytes(write: Write) -> int:
    """Roughly how many bytes a write adds to the disk."""
    if isinstance(write, AppendLog):
        return WRITE_OVERHEAD_BYTES + sum(entry.size_bytes() for entry in write.entries)
    if isinstance(write, StoreSnapshot):
        return WRITE_OVERHEAD_BYTES + len(write.snapshot.data)
    return WRITE_OVERHEAD_BYTES


def first_index(state: DurableState) -> int:
    """Index of the first entry that the log holds or would hold."""
    if state.entries:
        return state.entries[0].index
    return state.snapshot.meta.last_included_index + 1 if state.snapshot else 1


def last_index(state: DurableState) -> int:
    """Index of the last entry, or of the last entry that the snapshot covers, or 0."""
    if state.entries:
        return state.entries[-1].index
    return state.snapshot.meta.last_included_index if state.snapshot else 0
