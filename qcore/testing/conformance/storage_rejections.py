"""The part of the storage suite about writes that do not fit: the call raises `ValueError` and writes nothing at all.

A core never makes such writes, but a driver that loses or reorders writes does. A log with a hole would then go
unnoticed until it is needed. `qcore.storage.log_outline.LogOutline` does these checks for any storage.
"""

from __future__ import annotations

from collections.abc import Sequence

from qcore.core.effects import AppendLog, StoreSnapshot, TruncateLog, Write
from qcore.core.entry import DurableState, Entry
from qcore.testing.conformance.expectation_checks import require, require_equal
from qcore.testing.conformance.storage_tools import (
    Opener,
    append,
    hard_state,
    rejects,
    reopened,
    snapshot_write,
    terms,
)


class StorageRejections:
    """The tests of `StorageConformance` about writes that do not fit the log."""

    def make(self) -> Opener:
        """See `StorageConformance.make`."""
        raise NotImplementedError

    def _check_rejection(self, before: Sequence[Write], invalid_write: Write) -> None:
        """After `before`, a call that ends with `invalid_write` does nothing, and the storage remains usable."""
        opener = self.make()
        storage = opener()
        storage.write(before)
        state = storage.load()
        call: list[Write] = [hard_state(8, vote=2), invalid_write]
        if not (rejects(storage, call, commit=2)):
            raise AssertionError(f"accepted: {invalid_write}")
        if not (storage.load() == state):
            raise AssertionError("a part of a rejected call was done")
        storage.write([hard_state(9)])
        storage.close()
        if not (_log_of(reopened(opener)) == _log_of(state)):
            raise AssertionError("a part of a rejected call was done")

    def test_gap_rejects_the_whole_call(self) -> None:
        opener = self.make()
        storage = opener()
        storage.write([hard_state(1), append(1, [1, 1])])
        before = storage.load()
        call: list[Write] = [hard_state(9, vote=2), append(3, [9]), append(7, [9])]
        require(
            rejects(storage, call, commit=2), f"{call!r:.300} was accepted; expected ValueError"
        )
        require_equal(storage.load(), before, "storage.load()")
        storage.write([append(3, [1])])
        storage.close()
        require_equal(terms(reopened(opener)), [(1, 1), (2, 1), (3, 1)], "terms(reopened(opener))")

    def test_overwriting_without_truncation_is_rejected(self) -> None:
        storage = self.make()()
        storage.write([hard_state(1), append(1, [1, 1])])
        require(
            rejects(storage, [append(2, [1])]),
            "an append over existing entries was accepted; expected ValueError",
        )
        storage.close()

    def test_truncation_before_the_start_is_rejected(self) -> None:
        storage = self.make()()
        storage.write(
            [hard_state(1), append(1, [1] * 6), StoreSnapshot(3, snapshot_write(4, 1), 4, False)]
        )
        require(
            rejects(storage, [TruncateLog(4, 3)]),
            "a truncation before the first entry of the log was accepted; expected ValueError",
        )
        storage.close()

    def test_gap_within_an_append_is_rejected(self) -> None:
        entries = [Entry(3, 1, "noop", "", 0), Entry(5, 1, "noop", "", 0)]
        self._check_rejection([hard_state(1), append(1, [1, 1])], AppendLog(2, entries))

    def test_falling_terms_are_rejected(self) -> None:
        before: list[Write] = [hard_state(4), append(1, [2, 3])]
        self._check_rejection(before, append(3, [2]))
        self._check_rejection(before, append(3, [4, 3]))

    def test_entry_or_snapshot_of_an_unsaved_term_is_rejected(self) -> None:
        """Save the term first. Otherwise the node could vote in it again after a restart (paper, figure 2)."""
        before: list[Write] = [hard_state(1), append(1, [1, 1])]
        self._check_rejection(before, append(3, [10]))
        self._check_rejection(before, StoreSnapshot(3, snapshot_write(9, 10), 9, True))

    # --- log and snapshot adjoin without a gap

    def test_append_that_does_not_follow_the_snapshot_is_rejected(self) -> None:
        before: list[Write] = [hard_state(2), StoreSnapshot(3, snapshot_write(10, 2), 10, True)]
        for first in (1, 10, 12):
            self._check_rejection(before, append(first, [2]))

    def test_entries_must_adjoin_the_snapshot(self) -> None:
        """Compaction must not drop entries that no snapshot covers."""
        before: list[Write] = [hard_state(1), append(1, [1] * 8)]
        self._check_rejection(before, StoreSnapshot(3, snapshot_write(4, 1), 6, False))
        self._check_rejection(before, StoreSnapshot(3, snapshot_write(4, 1), 8, False))

    def test_snapshot_beyond_the_log_needs_a_reset(self) -> None:
        """Otherwise entries would remain that end before the snapshot does."""
        before: list[Write] = [hard_state(1), append(1, [1] * 4)]
        self._check_rejection(before, StoreSnapshot(3, snapshot_write(7, 1), 2, False))

    def test_snapshot_whose_term_contradicts_the_log_is_rejected(self) -> None:
        before: list[Write] = [hard_state(2), append(1, [1, 1, 2, 2])]
        self._check_rejection(before, StoreSnapshot(3, snapshot_write(3, 1), 1, False))
        self._check_rejection(before, StoreSnapshot(3, snapshot_write(2, 2), 1, False))

    def test_truncation_of_entries_under_a_snapshot_is_rejected(self) -> None:
        """Even if the entries are still there for followers that lag."""
        before: list[Write] = [
            hard_state(1),
            append(1, [1] * 6),
            StoreSnapshot(3, snapshot_write(4, 1), 1, False),
        ]
        for first in (1, 2, 4):
            self._check_rejection(before, TruncateLog(4, first))


def _log_of(state: DurableState) -> tuple[object, object]:
    return state.snapshot, state.entries
