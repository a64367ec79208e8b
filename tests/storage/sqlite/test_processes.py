"""Locks and kill -9 with real processes on a real disk."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from qcore.core.log.durable_state import last_index
from qcore.errors import DataDirLocked, StorageError
from qcore.storage.files.directory_lock import DirectoryLock
from qcore.storage.sqlite.sqlite_storage import SqliteStorage
from tests.checkout import CHECKOUT
from tests.storage.support.crash_writer import NODE_ID, entry


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=CHECKOUT,
    )


def read_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def start_writer(directory: Path, seed: int) -> subprocess.Popen[str]:
    return start("-m", "tests.storage.support.crash_writer", str(directory), str(seed))


def kill(process: subprocess.Popen[str]) -> str:
    """Kill -9 and wait. Returns the rest of its output."""
    process.send_signal(signal.SIGKILL)
    assert process.stdout is not None
    # Not `communicate`, which skips the lines that `readline` has already buffered.
    rest = process.stdout.read()
    process.stdout.close()
    process.wait()
    return rest


def crash_cycles(directory: Path, cycles: int) -> None:
    """Write in a process, kill it at a random moment, and check that all it reported is there."""
    choose = random.Random(cycles)
    for cycle in range(cycles):
        process = start_writer(directory, seed=cycle)
        lines = [read_line(process) for _ in range(choose.randrange(1, 120))]
        lines += kill(process).splitlines(keepends=True)
        # The kill may cut a line. A line without its end reports nothing.
        reported = [line.split() for line in lines if line.endswith("\n")]
        assert all(len(words) == 2 and words[0].isdigit() for words in reported), lines[:5]
        index, term = map(int, reported[-1])
        storage = SqliteStorage.open(directory, NODE_ID, wal_bytes=100_000)
        state = storage.load()
        storage.close()
        assert state.hard_state.term >= term
        # At most one write was not reported: it may have removed two entries and added 19.
        assert index - 2 <= last_index(state) <= index + 19
        assert [e for e in state.entries if e != entry(e.index, e.term)] == []
        if state.hard_state.term == term:
            held = {e.index: e.term for e in state.entries}
            assert held[index] == term


def test_kill_9_loses_nothing_that_was_reported(tmp_path: Path) -> None:
    crash_cycles(tmp_path / "data", 10)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_kill_9_loses_nothing_in_many_rounds(tmp_path: Path) -> None:
    crash_cycles(tmp_path / "data", 300)


def test_kill_9_during_creation_leaves_a_usable_directory(tmp_path: Path) -> None:
    """The next start creates or opens the log, whatever the moment of the kill."""
    code = (
        "import sys; from qcore.storage.sqlite.sqlite_storage import SqliteStorage\n"
        "print('ready', flush=True); SqliteStorage.open(sys.argv[1], 1, wal_bytes=0)"
    )
    choose = random.Random(5)
    for attempt in range(6):
        directory = tmp_path / str(attempt)
        process = start("-c", code, str(directory))
        assert read_line(process) == "ready\n"
        # This waits for no event: the kill may come at any moment of the creation.
        with suppress(subprocess.TimeoutExpired):
            process.wait(choose.uniform(0, 0.004))
        assert kill(process) == ""
        SqliteStorage.open(directory, 1, wal_bytes=0).close()


def test_second_process_is_refused_by_name(tmp_path: Path) -> None:
    directory = tmp_path / "data"
    process = start_writer(directory, seed=1)
    try:
        assert read_line(process)
        with pytest.raises(DataDirLocked) as caught:
            SqliteStorage.open(directory, NODE_ID)
        assert f"process {process.pid}" in str(caught.value)
        assert str(directory) in str(caught.value)
    finally:
        kill(process)
    # The owner's death releases the lock.
    SqliteStorage.open(directory, NODE_ID).close()


def test_second_storage_of_this_process_is_refused(tmp_path: Path) -> None:
    storage = SqliteStorage.open(tmp_path, NODE_ID)
    with pytest.raises(DataDirLocked, match=f"process {os.getpid()}"):
        SqliteStorage.open(tmp_path, NODE_ID)
    storage.close()
    SqliteStorage.open(tmp_path, NODE_ID).close()


def test_refused_open_releases_the_lock(tmp_path: Path) -> None:
    SqliteStorage.open(tmp_path, NODE_ID).close()
    with pytest.raises(StorageError, match="belongs to node"):
        SqliteStorage.open(tmp_path, NODE_ID + 1)
    lock = DirectoryLock(tmp_path)
    lock.release()
    lock.release()


def test_unusable_directory_is_refused_by_name(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("in the way")
    for path in (file, file / "below"):
        with pytest.raises(StorageError, match=str(path)):
            SqliteStorage.open(path, NODE_ID)


@pytest.fixture
def read_only() -> Iterator[list[Path]]:
    """A used, an empty and an absent directory that an ordinary user may read but not write."""
    with tempfile.TemporaryDirectory(prefix="qcore-read-only-") as name:
        used, empty = Path(name, "used"), Path(name, "empty")
        SqliteStorage.open(used, NODE_ID).close()
        empty.mkdir()
        for path in used.iterdir():
            path.chmod(0o444)
        for path, mode in ((used, 0o555), (empty, 0o555), (Path(name), 0o755)):
            path.chmod(mode)
        yield [used, empty, empty / "absent"]
        for path in (used, empty):
            path.chmod(0o755)


def test_read_only_directory_is_refused_by_name(read_only: list[Path]) -> None:
    code = (
        "import os, sys; from qcore.storage.sqlite.sqlite_storage import SqliteStorage\n"
        "from qcore.errors import StorageError\n"
        "if os.geteuid() == 0: os.setuid(65534)  # root may write everywhere\n"
        "for path in sys.argv[1:]:\n"
        "    try: SqliteStorage.open(path, 1)\n"
        "    except StorageError as error: print(error)\n"
        "    else: print('opened')\n"
        "sys.stderr = open(os.devnull, 'w')  # this user cannot save what `make coverage` measured\n"
    )
    output, _ = start("-c", code, *map(str, read_only)).communicate(timeout=60)
    lines = output.splitlines()
    assert len(lines) == len(read_only), output
    for path, line in zip(read_only, lines, strict=True):
        assert str(path) in line
        assert "Permission denied" in line
