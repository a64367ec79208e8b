"""The part of the storage suite that kills a writing process with -9, damages files, and opens a storage twice."""

from __future__ import annotations

import os
import random
import select
import signal
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from qcore.core.effects import StoreSnapshot, TruncateLog, Write
from qcore.core.entry import DurableState
from qcore.core.log.durable_state import apply_write
from qcore.errors import StorageError
from qcore.testing.conformance.expectation_checks import require_equal
from qcore.testing.conformance.storage_tools import (
    NODE_ID,
    Opener,
    append,
    hard_state,
    reopened,
    snapshot_write,
)

#: A child that reports nothing for this many seconds has hung.
_REPORT_TIMEOUT_S = 30.0


class StorageCrashes:
    """The tests of `StorageConformance` about killed processes, damaged files, and a second open."""

    #: Whether the data survive the end of the process.
    outlives_process = False
    #: How many processes are killed, and how many bits are flipped.
    kills = 8
    damages = 60

    def make(self) -> Opener:
        """See `StorageConformance.make`."""
        raise NotImplementedError

    def files(self) -> Sequence[Path]:
        """Every file that holds data of the last `make`. Without files the damage tests do nothing."""
        return ()

    def test_second_open_is_rejected_while_the_first_is_open(self) -> None:
        """The second open does no harm to the first."""
        opener = self.make()
        storage = opener()
        storage.write([hard_state(1), append(1, [1])])
        try:
            opener().close()
        except StorageError:
            pass
        else:
            raise AssertionError("the same data was opened twice at the same time")
        storage.write([append(2, [1])])
        storage.close()
        require_equal(len(reopened(opener).entries), 2, "len(reopened(opener).entries)")

    # --- kill -9

    def test_a_killed_writer_leaves_the_state_before_or_after_a_call(self) -> None:
        """Every reported call survives. The interrupted call, perhaps a snapshot, survives as a whole or not at all."""
        if not self.outlives_process:
            return
        rng = random.Random(1)
        acted = 0
        for _ in range(self.kills):
            opener = self.make()
            reported = _killed_writer(opener, rng.random() * 0.05)
            state = reopened(opener)
            candidates = [_state_after(calls) for calls in (reported, reported + 1)]
            if state not in candidates:
                raise AssertionError(f"after {reported} reported calls: {_summary(state)}")
            acted += reported > 0
        if not (acted):
            raise AssertionError("every writer was killed before it had written anything")

    # --- damage

    def test_changed_bytes_are_detected_or_harmless(self) -> None:
        """A load returns the written state or raises `StorageError`."""
        rng = random.Random(2)
        for number in range(self.damages):
            with self._damaged(number) as (opener, expected, files):
                if not files:
                    return
                path = rng.choice(files)
                content = bytearray(path.read_bytes())
                content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
                path.write_bytes(content)
                _check_loads_or_refuses(opener, expected, path)

    def test_truncated_or_missing_files_are_detected(self) -> None:
        with self._damaged(0) as (_, _, files):
            count = len(files)
        for position in range(count):
            for keep in (None, 0.0, 0.5, 0.95):
                with self._damaged(0) as (opener, expected, files):
                    path = files[position]
                    content = path.read_bytes()
                    if keep is None:
                        path.unlink()
                    else:
                        path.write_bytes(content[: int(len(content) * keep)])
                    _check_loads_or_refuses(opener, expected, path)

    @contextmanager
    def _damaged(self, number: int) -> Iterator[tuple[Opener, DurableState, list[Path]]]:
        """Yield new data with a snapshot and a log, closed; its state, and its files that are not empty."""
        opener = self.make()
        storage = opener()
        for call in range(2 + number % 5):
            storage.write(_call(call))
        storage.close()
        expected = reopened(opener)
        yield (
            opener,
            expected,
            [path for path in self.files() if path.exists() and path.stat().st_size],
        )


def _check_loads_or_refuses(opener: Opener, expected: DurableState, path: Path) -> None:
    try:
        storage = opener()
    except StorageError:
        return
    try:
        state = storage.load()
        require_equal(storage.identity().node_id, NODE_ID, "storage.identity().node_id")
    except StorageError:
        return
    finally:
        storage.close()
    if not (state == expected):
        raise AssertionError(
            f"{path.name} was damaged, and another state was loaded: {_summary(state)}"
        )


def _call(number: int) -> list[Write]:
    """The writes of one call. All kinds take turns, in an endless history of terms 1, 2, 3, ..."""
    turn, kind = divmod(number, 5)
    base, term = 10 * turn, turn + 1
    match kind:
        case 0:
            return [hard_state(term, vote=1), append(base + 1, [term] * 8)]
        case 1:
            return [TruncateLog(1, base + 6), append(base + 6, [term] * 5)]
        case 2:
            data = f"state {turn} " * 20_000
            return [StoreSnapshot(1, snapshot_write(base + 5, term, data), base + 3, False)]
        case 3:
            return [hard_state(term), append(base + 11, [term])]
        case _:
            # The leader's snapshot replaces the log, which conflicts with it.
            return [
                StoreSnapshot(
                    1, snapshot_write(base + 10, term, f"leader's {turn} " * 9_000), base + 10, True
                )
            ]


def _state_after(calls: int) -> DurableState:
    state = DurableState()
    for number in range(calls):
        for write in _call(number):
            apply_write(state, write)
    return state


def _summary(state: DurableState) -> str:
    snapshot = state.snapshot.meta.last_included_index if state.snapshot else None
    log = f"{state.entries[0].index} to {state.entries[-1].index}" if state.entries else "empty"
    return f"{state.hard_state}, snapshot through {snapshot}, log {log}"


def _killed_writer(opener: Opener, after_s: float) -> int:
    """Let a child write, and kill it `after_s` after its first report. Returns how many calls it reported."""
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        # The child uses only the storage, so it does not miss the threads that fork does not copy.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        _write_until_killed(opener, writer)
    os.close(writer)
    try:
        reported = len(_read_some(reader))
        time.sleep(after_s)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    while more := os.read(reader, 1 << 16):
        reported += len(more)
    os.close(reader)
    return reported


def _read_some(reader: int) -> bytes:
    ready, _, _ = select.select([reader], [], [], _REPORT_TIMEOUT_S)
    return os.read(reader, 1 << 16) if ready else b""


def _write_until_killed(opener: Opener, writer: int) -> None:
    """In the child: write until killed, and send one byte to the parent for each call that returned."""
    try:
        storage = opener()
        number = 0
        while True:
            storage.write(_call(number))
            os.write(writer, b".")
            number += 1
    finally:
        os._exit(1)  # in any case: the parent's program must not run here
