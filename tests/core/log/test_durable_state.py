"""What a write does to the durable state, and which writes do not fit it."""

from __future__ import annotations

import pytest

from qcore.core import DurableState, Entry, HardState, Membership, Snapshot, SnapshotMeta
from qcore.core.effects import AppendLog, TruncateLog, Write
from qcore.core.log.durable_state import apply_write


def entry(index: int) -> Entry:
    return Entry(index, 1, "command", "x", 0)


def holding(*indexes: int) -> DurableState:
    """A log with these entries after a snapshot through entry 4."""
    snapshot = Snapshot(SnapshotMeta(4, 1, 0, Membership(voters=(1,))), "state")
    return DurableState(HardState(1), snapshot, [entry(index) for index in indexes])


@pytest.mark.parametrize(
    ("state", "write", "why"),
    [
        (holding(5, 6), AppendLog(1, [entry(8)]), "append starts at 8, the log ends at 6"),
        (holding(), AppendLog(1, [entry(6)]), "append starts at 6, the log ends at 4"),
        (holding(5, 6), TruncateLog(1, 4), "truncate from 4, the log starts at 5"),
        (holding(), TruncateLog(1, 4), "truncate from 4, the log starts at 5"),
    ],
)
def test_write_that_does_not_fit_is_rejected(state: DurableState, write: Write, why: str) -> None:
    before = list(state.entries)
    with pytest.raises(ValueError, match=why):
        apply_write(state, write)
    assert state.entries == before


def test_truncation_at_the_end_of_an_empty_log_fits() -> None:
    state = holding()
    apply_write(state, TruncateLog(1, 5))
    assert state == holding()
