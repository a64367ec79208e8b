"""The part of the storage suite about a full disk: a write or join fails as a whole, and a later attempt succeeds."""

from __future__ import annotations

from contextlib import AbstractContextManager

from qcore.core.effects import AppendLog, Write
from qcore.core.entry import DurableState, Entry
from qcore.core.log.durable_state import apply_write
from qcore.errors import DiskFull
from qcore.storage.interface import Identity, LogStorage
from qcore.testing.conformance.expectation_checks import require, require_equal
from qcore.testing.conformance.storage_tools import (
    NODE_ID,
    Opener,
    append,
    hard_state,
    rejects,
    reopened,
)

#: This many entries of this many characters need space that a storage cannot have reserved.
_ENTRIES, _CHARS = 60, 20_000


class StorageSpace:
    """The tests of `StorageConformance` about a full disk."""

    def make(self) -> Opener:
        """See `StorageConformance.make`."""
        raise NotImplementedError

    def no_space(self, storage: LogStorage) -> AbstractContextManager[None] | None:
        """A context in which this open storage has no space for `_ENTRIES` entries; None to skip the tests.

        Override it with a small file system, a quota, or a limit of your storage.
        """
        return None

    def test_a_call_without_space_may_be_tried_again(self) -> None:
        opener = self.make()
        storage = opener()
        first: list[Write] = [hard_state(1), append(1, [1, 1])]
        storage.write(first, commit=1)
        before = storage.load()
        call: list[Write] = [hard_state(2, vote=1), append(3, [2]), _large_append(4)]
        full = self.no_space(storage)
        if full is not None:
            with full:
                for _ in range(3):
                    if not (_finds_no_space(storage, call)):
                        raise AssertionError("accepted a call without space for it")
                    if not (storage.load() == before):
                        raise AssertionError("a part of a call without space was done")
        storage.write(call, commit=3)
        expected = DurableState()
        for write in [*first, *call]:
            apply_write(expected, write)
        expected.hard_state.commit = 3
        require_equal(storage.load(), expected, "storage.load()")
        storage.close()
        require_equal(reopened(opener), expected, "reopened(opener)")

    def test_joining_without_space_succeeds_or_may_be_tried_again(self) -> None:
        opener = self.make()
        storage = opener()
        storage.write([hard_state(1), append(1, [1, 1])])
        before = storage.load()
        full = self.no_space(storage)
        if full is not None:
            with full:
                _finds_no_space(storage, [_large_append(3)])
                try:
                    storage.join_cluster("north")
                except DiskFull:
                    require(storage.identity().cluster_id is None, "joined in spite of DiskFull")
        storage.join_cluster("north")
        require_equal(storage.load(), before, "storage.load()")
        storage.write([append(3, [1])])
        storage.close()
        storage = opener()
        require_equal(storage.identity(), Identity(NODE_ID, "north"), "storage.identity()")
        require_equal(
            [entry.index for entry in storage.load().entries],
            [1, 2, 3],
            "[entry.index for entry in storage.load().entries]",
        )
        storage.close()

    def test_joining_after_a_rejected_call_keeps_the_log(self) -> None:
        opener = self.make()
        storage = opener()
        storage.write([hard_state(1), append(1, [1, 1])], commit=1)
        before = storage.load()
        require(
            rejects(storage, [append(3, [1]), append(9, [1])]),
            "an append after a gap was accepted; expected ValueError",
        )
        storage.join_cluster("north")
        require_equal(storage.load(), before, "storage.load()")
        storage.close()
        require_equal(reopened(opener), before, "reopened(opener)")


def _large_append(first: int) -> AppendLog:
    return AppendLog(
        3,
        [
            Entry(index, 2 if first > 3 else 1, "command", f"{index} ".ljust(_CHARS, "x"), index)
            for index in range(first, first + _ENTRIES)
        ],
    )


def _finds_no_space(storage: LogStorage, call: list[Write]) -> bool:
    try:
        storage.write(call, commit=2)
    except DiskFull:
        return True
    return False
