"""Run as a process: writes in a loop until it is killed, and reports on stdout what is durable.

Arguments: data directory, seed. Prints `<index> <term>` of the log's last entry after each write.
The writes depend only on the seed and the log's length, so the reader can check them.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

from qcore.core.effects import AppendLog, SaveHardState, StoreSnapshot, TruncateLog, Write
from qcore.core.entry import Entry, HardState, Membership, Snapshot, SnapshotMeta
from qcore.core.log.durable_state import last_index
from qcore.storage.sqlite.sqlite_storage import SqliteStorage

NODE_ID = 1


def entry(index: int, term: int) -> Entry:
    """The only entry that this index may have in this term."""
    text = f"{index} in {term} ".ljust(20 + index * 37 % 700, "x")
    return Entry(index, term, "command", text, 1_700_000_000_000_000 + index)


def snapshot(index: int, term: int) -> Snapshot:
    meta = SnapshotMeta(index, term, 1_700_000_000_000_000 + index, Membership(voters=(1,)))
    return Snapshot(meta, f"machine at {index} " * 500)


def main() -> None:
    choose = random.Random(sys.argv[2])
    storage = SqliteStorage.open(Path(sys.argv[1]), NODE_ID, wal_bytes=100_000)
    state = storage.load()
    last, term = last_index(state), state.hard_state.term + 1
    terms = {e.index: e.term for e in state.entries}
    covered = state.snapshot.meta.last_included_index if state.snapshot else 0
    storage.write([SaveHardState(1, HardState(term, NODE_ID, 0))])
    while True:
        writes: list[Write] = []
        action = choose.random()
        if action < 0.1 and last > covered + 3:
            # The leader of a new term overwrites a little of the tail.
            last -= choose.randrange(1, 3)
            term += 1
            writes += [SaveHardState(1, HardState(term, None, 0)), TruncateLog(2, last + 1)]
        elif action < 0.13 and last > covered + 40:
            covered = last - 5
            writes.append(StoreSnapshot(1, snapshot(covered, terms[covered]), covered - 3, False))
        count = choose.randrange(1, 20)
        writes.append(AppendLog(3, [entry(last + 1 + n, term) for n in range(count)]))
        for n in range(count):
            terms[last + 1 + n] = term
        last += count
        storage.write(writes, commit=covered)
        sys.stdout.write(f"{last} {term}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
