"""What a follower checks in an append, and which times remain when it removes entries."""

from __future__ import annotations

import pytest

from qcore.core import Entry
from qcore.core.effects import MessageDropped
from qcore.core.entry import EntryKind
from qcore.core.messages import AppendEntries
from tests.core.support.single_core import only, pristine, receive


@pytest.mark.parametrize(
    ("kind", "why"), [("version", "holds no version"), ("membership", "holds no membership")]
)
def test_append_with_an_unreadable_entry_is_dropped(kind: EntryKind, why: str) -> None:
    core = pristine()
    entry = Entry(1, 1, kind, "unreadable", 0)
    effects = receive(core, 2, AppendEntries(1, 2, 0, 0, 0, [entry]))
    assert only(effects, MessageDropped).reason.startswith(f"entry 1 {why}")
    assert core.last_log_index == 0


def test_clock_of_a_removed_first_entry_does_not_remain() -> None:
    """A deposed leader's clock was wrong, and nothing that it stamped is committed."""
    core = pristine()
    receive(core, 2, AppendEntries(1, 2, 0, 0, 0, [Entry(1, 1, "command", "x", 0, 10**15)]))
    assert core.last_clock_us == 10**15
    receive(core, 3, AppendEntries(2, 3, 0, 0, 0, [Entry(1, 2, "command", "y", 0, 7)]))
    assert core.last_clock_us == 7
