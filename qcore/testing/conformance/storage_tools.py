"""Helpers of the storage suite: sample writes, and the state of a storage after a restart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress

from qcore.core.effects import AppendLog, SaveHardState, Write
from qcore.core.entry import DurableState, Entry, HardState, Membership, Snapshot, SnapshotMeta
from qcore.core.log.durable_state import last_index
from qcore.storage.interface import LogStorage
from qcore.testing.conformance.expectation_checks import require

#: Opens the same data at each call. It is called again only after `close`.
Opener = Callable[[], LogStorage]

#: The node id that `make` must give to its storages.
NODE_ID = 7


def rejects(storage: LogStorage, writes: Sequence[Write], commit: int | None = None) -> bool:
    """Whether the storage reports that these writes do not fit its log."""
    with suppress(ValueError):
        storage.write(writes, commit)
        return False
    return True


def written(
    opener: Opener, calls: Sequence[Sequence[Write]], commit: int | None = None
) -> DurableState:
    """Open, make each call and close. Returns the state after a restart."""
    storage = opener()
    for writes in calls:
        storage.write(writes, commit)
    storage.close()
    return reopened(opener)


def reopened(opener: Opener) -> DurableState:
    """Return the state after a restart."""
    storage = opener()
    state = storage.load()
    storage.close()
    require(
        state.hard_state.commit <= last_index(state),
        f"the commit index is {state.hard_state.commit}; expected at most the last index, {last_index(state)}",
    )
    return state


def terms(state: DurableState) -> list[tuple[int, int]]:
    """`(index, term)` of each entry."""
    return [(entry.index, entry.term) for entry in state.entries]


def hard_state(term: int, vote: int | None = None) -> SaveHardState:
    """A saved term and vote."""
    return SaveHardState(1, HardState(term, vote, 0))


def append(first: int, terms: Sequence[int]) -> AppendLog:
    """An append of one command for each term, from index `first`."""
    entries = [
        Entry(first + at, term, "command", f"command {first + at}", 1_000_000 + first + at)
        for at, term in enumerate(terms)
    ]
    return AppendLog(2, entries)


def snapshot_write(index: int, term: int, data: str = "machine") -> Snapshot:
    """A snapshot that ends at `index`."""
    membership = Membership(voters=(1, 2, 3), addresses=((1, "h:1"), (2, "h:2"), (3, "h:3")))
    return Snapshot(SnapshotMeta(index, term, 1_000_000 + index, membership), data)
