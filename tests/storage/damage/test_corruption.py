"""Damage to real files: it is refused with the file and the reason, or it has no effect."""

from __future__ import annotations

import random
import sqlite3
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from qcore.errors import LogCorrupt, StorageError
from qcore.storage.sqlite import database
from qcore.storage.sqlite.high_water_mark import MarkFile
from qcore.storage.sqlite.log_rows import entry_rows
from qcore.storage.sqlite.migrations import MIGRATIONS
from qcore.storage.sqlite.sqlite_storage import SqliteStorage
from tests.storage.support.directories import (
    FILES,
    NODE_ID,
    Directory,
    command,
    crashed,
    flip,
    open_storage,
    outcome,
    stopped,
)

Make = Callable[[Path], Directory]
DATABASE, WAL, MARK = FILES


@pytest.fixture(scope="module")
def after_stop(memory_root: Path) -> Directory:
    return stopped(memory_root / "stopped")


@pytest.fixture(scope="module")
def after_crash(memory_root: Path) -> Directory:
    return crashed(memory_root / "crashed")


def edit(directory: Directory, *statements: str) -> None:
    """Change the database with SQLite: valid pages with wrong content."""
    with closing(sqlite3.connect(directory.path / DATABASE)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


def refusal(directory: Directory) -> str:
    """Open and load, which must raise `LogCorrupt`. Returns its text."""
    with pytest.raises(LogCorrupt) as caught:  # noqa: PT012  # either of the two may refuse
        storage = open_storage(directory.path)
        try:
            storage.load()
        finally:
            storage.close()
    return str(caught.value)


def flip_sample(directory: Directory, scratch: Path, name: str, samples: int) -> Counter[str]:
    """Flip one bit at a time, in the whole header and at sampled places. Returns how often each outcome occurred."""
    choose = random.Random(f"{name} {samples}")
    size = (directory.path / name).stat().st_size
    places = [*range(100), *(choose.randrange(size) for _ in range(samples))]
    seen: Counter[str] = Counter()
    for place in places:
        copy = directory.copy(scratch / "copy")
        flip(copy.path / name, place, choose.randrange(8))
        seen[outcome(copy).split(":")[0]] += 1
    return seen


def test_untouched_directories_are_accepted(
    after_stop: Directory, after_crash: Directory, scratch: Path
) -> None:
    for directory in (after_stop, after_crash):
        assert outcome(directory.copy(scratch / "copy")) == "same"


@pytest.mark.parametrize("name", FILES)
def test_flipped_bit_after_a_crash_is_refused_or_harmless(
    after_crash: Directory, scratch: Path, name: str
) -> None:
    seen = flip_sample(after_crash, scratch, name, 300)
    if name != MARK:  # the mark has a second slot, so one flip must never stop a sound node
        assert seen["refused"] > 100, seen
    assert seen["same"] > 0, seen


def test_flipped_bit_after_a_stop_is_refused_or_harmless(
    after_stop: Directory, scratch: Path
) -> None:
    seen = flip_sample(after_stop, scratch, DATABASE, 300)
    assert seen["refused"] > 100, seen


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", FILES)
def test_many_flipped_bits_are_refused_or_harmless(
    after_crash: Directory, scratch: Path, name: str
) -> None:
    flip_sample(after_crash, scratch, name, 20_000)


# Found in an exhaustive run: SQLite quotes the damaged text, or returns it as bytes.
@pytest.mark.parametrize(("place", "bit"), [(3591, 7), (3163, 0), (3918, 0)])
def test_damaged_schema_text_is_refused_without_a_traceback(
    after_stop: Directory, after_crash: Directory, scratch: Path, place: int, bit: int
) -> None:
    for directory in (after_stop, after_crash):
        copy = directory.copy(scratch / "copy")
        flip(copy.path / DATABASE, place, bit)
        assert outcome(copy).startswith("refused")


@pytest.mark.parametrize("kind", ["stop", "crash"])
def test_truncated_database_is_refused(
    kind: str, after_stop: Directory, after_crash: Directory, scratch: Path
) -> None:
    directory = after_stop if kind == "stop" else after_crash
    size = (directory.path / DATABASE).stat().st_size
    for length in (0, 1, 50, 99, 100, 512, 4095, 4096, size // 2, size - 4096, size - 1):
        copy = directory.copy(scratch / "copy")
        with (copy.path / DATABASE).open("r+b") as file:
            file.truncate(length)
        seen = outcome(copy)
        # After a crash the write-ahead file may still hold a missing page.
        assert kind == "crash" or seen.startswith("refused"), (length, seen)
        assert length >= 100 or DATABASE in seen


def test_truncated_write_ahead_file_is_refused(after_crash: Directory, scratch: Path) -> None:
    """Every length that cuts a committed frame is refused. The zeros after the frames do not matter."""
    frame = 24 + database.PAGE_SIZE
    content = (after_crash.path / WAL).read_bytes()
    used = 32 + frame * sum(
        content[at + 8 : at + 16] == content[16:24] for at in range(32, len(content), frame)
    )
    for length in (0, 31, 32, 33, frame, used // 2, used - frame, used - 1, used, used + 5):
        copy = after_crash.copy(scratch / "copy")
        with (copy.path / WAL).open("r+b") as file:
            file.truncate(length)
        assert outcome(copy).startswith("refused" if length < used else "same"), length


@pytest.mark.parametrize("name", FILES)
def test_missing_file_is_refused_by_name(after_crash: Directory, scratch: Path, name: str) -> None:
    copy = after_crash.copy(scratch / "copy")
    (copy.path / name).unlink()
    seen = outcome(copy)
    assert seen.startswith("refused")
    assert name in seen


def test_mark_without_a_log_is_refused(after_stop: Directory, scratch: Path) -> None:
    copy = after_stop.copy(scratch / "copy")
    (copy.path / DATABASE).unlink()
    assert "traces of acknowledged writes" in refusal(copy)


def test_damage_with_an_old_mark_is_refused(after_crash: Directory, scratch: Path) -> None:
    """After a power loss the mark may be old. Then the write-ahead file itself must reveal the damage."""
    frame = 24 + database.PAGE_SIZE
    for number in range(6):  # three transactions of two frames; seven more follow
        copy = after_crash.copy(scratch / "copy")
        MarkFile.create(copy.path / MARK)
        flip(copy.path / WAL, 32 + number * frame + 1000, 3)
        assert f"frame {number // 2 * 2 + 1} " in refusal(copy)
    copy = after_crash.copy(scratch / "copy")
    MarkFile.create(copy.path / MARK)
    flip(copy.path / WAL, 17, 3)
    assert "the header is damaged" in refusal(copy)


def test_torn_last_transaction_is_dropped(after_crash: Directory, scratch: Path) -> None:
    """It was never acknowledged, and the mark does not know it. The rest is there."""
    copy = after_crash.copy(scratch / "copy")
    mark = MarkFile.read(copy.path / MARK)
    MarkFile.create(copy.path / MARK)
    frame = 24 + database.PAGE_SIZE
    flip(copy.path / WAL, 32 + 19 * frame + 1000, 3)
    storage = open_storage(copy.path)
    assert storage.load().entries == copy.content.entries[:-1]
    storage.close()
    assert MarkFile.read(copy.path / MARK).sequence == mark.sequence - 1


def test_a_torn_mark_falls_back_to_the_one_before(after_crash: Directory, scratch: Path) -> None:
    copy = after_crash.copy(scratch / "copy")
    path = copy.path / MARK
    newest = MarkFile.read(path).sequence
    flip(path, 512 * (newest & 1) + 9, 0)
    assert MarkFile.read(path).sequence == newest - 1
    assert outcome(copy) == "same"


def test_damaged_mark_is_refused(after_crash: Directory, scratch: Path) -> None:
    for content in (b"", bytes(1024), b"qcoremk1".ljust(1024, b"x")):
        copy = after_crash.copy(scratch / "copy")
        (copy.path / MARK).write_bytes(content)
        assert str(copy.path / MARK) in refusal(copy)


def test_older_copy_of_the_database_is_refused(
    after_stop: Directory, after_crash: Directory, scratch: Path
) -> None:
    copy = after_crash.copy(scratch / "copy")
    (copy.path / WAL).unlink()
    (copy.path / DATABASE).write_bytes((after_stop.path / DATABASE).read_bytes())
    assert "entry 100" in refusal(copy)


ROW_EDITS = [
    ("UPDATE log SET data = CAST('x' AS BLOB) WHERE idx = 57", "entry 57"),
    ("UPDATE log SET term = term + 1 WHERE idx = 58", "entry 58"),
    ("UPDATE log SET kind = 1 WHERE idx = 59", "entry 59"),
    ("UPDATE log SET time_us = 0 WHERE idx = 60", "entry 60"),
    ("UPDATE log SET data = 'text' WHERE idx = 61", "entry 61"),
    ("DELETE FROM log WHERE idx = 62", "entry 62: missing, entry 63 comes instead"),
    ("DELETE FROM log WHERE idx < 45", "entry 31"),
    ("DELETE FROM log WHERE idx > 80", "entry 81"),
    ("DELETE FROM log", "entry 31"),
    ("UPDATE log SET idx = 200 WHERE idx = 90", "entry 90"),
    ("UPDATE state SET term = 1", "hard state"),
    ("UPDATE state SET voted_for = 1", "hard state"),
    ("UPDATE state SET last_index = 80", "hard state"),
    ("UPDATE state SET sequence = sequence + 1", "hard state"),
    ("UPDATE state SET term = 'two'", "hard state"),
    ("DELETE FROM state", "state"),
    ("UPDATE snapshot SET data = CAST('y' AS BLOB)", "snapshot through entry 40"),
    ("UPDATE snapshot SET last_index = 41", "snapshot through entry 41"),
    ("DELETE FROM snapshot", "snapshot"),
    ("UPDATE meta SET cluster_id = 'south'", "identity"),
    ("DELETE FROM meta", "meta"),
    ("DROP TABLE snapshot", "snapshot"),
    ("CREATE INDEX extra ON log (term)", "extra"),
]


@pytest.mark.parametrize(("statement", "named"), ROW_EDITS)
def test_changed_row_is_refused_by_name(
    after_stop: Directory, scratch: Path, statement: str, named: str
) -> None:
    copy = after_stop.copy(scratch / "copy")
    edit(copy, statement)
    text = refusal(copy)
    assert named in text
    assert str(copy.path / DATABASE) in text


def test_swapped_rows_are_refused(after_stop: Directory, scratch: Path) -> None:
    copy = after_stop.copy(scratch / "copy")
    edit(
        copy,
        "UPDATE log SET idx = -1 WHERE idx = 50",
        "UPDATE log SET idx = 50 WHERE idx = 51",
        "UPDATE log SET idx = 51 WHERE idx = -1",
    )
    assert "entry 50" in refusal(copy)


def test_replaced_tail_with_valid_checksums_is_refused(
    after_stop: Directory, scratch: Path
) -> None:
    """As if pages of a discarded tail had come back: each row is correct, but the end does not fit."""
    copy = after_stop.copy(scratch / "copy")
    with closing(sqlite3.connect(copy.path / DATABASE)) as connection:
        (before,) = connection.execute("SELECT checksum FROM log WHERE idx = 80").fetchone()
        rows, _ = entry_rows([command(index, size=70) for index in range(81, 91)], before)
        connection.execute("DELETE FROM log WHERE idx > 80")
        connection.executemany("INSERT INTO log VALUES (?, ?, ?, ?, ?, ?)", rows)
        connection.commit()
    assert "entry 90" in refusal(copy)


def test_newer_schema_is_refused_by_name(after_stop: Directory, scratch: Path) -> None:
    copy = after_stop.copy(scratch / "copy")
    edit(copy, f"PRAGMA user_version = {database.SCHEMA_VERSION + 1}")
    with pytest.raises(StorageError, match="format 4, this program reads up to 3"):
        open_storage(copy.path)


def test_migrations_run_once_and_all_or_nothing(
    after_stop: Directory, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = after_stop.copy(scratch / "copy")
    ran: list[int] = []

    def failing(_path: Path, connection: sqlite3.Connection) -> None:
        connection.execute("UPDATE log SET kind = 2 WHERE idx = 50")
        raise sqlite3.OperationalError("injected failure")

    def working(_path: Path, connection: sqlite3.Connection) -> None:
        ran.append(connection.execute("SELECT count(*) FROM log").fetchone()[0])

    monkeypatch.setattr(database, "SCHEMA_VERSION", 4)
    monkeypatch.setattr(database, "FIRST_WRITTEN_VERSION", 4)
    monkeypatch.setitem(MIGRATIONS, 3, failing)
    with pytest.raises(StorageError, match="injected failure"):
        open_storage(copy.path)
    monkeypatch.setitem(MIGRATIONS, 3, working)
    assert outcome(copy) == "same"
    storage = open_storage(copy.path)
    storage.close()
    assert ran == [60]


def test_file_that_is_not_a_database_is_refused(after_stop: Directory, scratch: Path) -> None:
    for content in (b"not a database at all. " * 400, bytes(8192)):
        copy = after_stop.copy(scratch / "copy")
        (copy.path / DATABASE).write_bytes(content)
        assert "is not a SQLite database" in refusal(copy)


def test_directory_of_another_node_is_refused(after_stop: Directory, scratch: Path) -> None:
    copy = after_stop.copy(scratch / "copy")
    with pytest.raises(StorageError, match=f"belongs to node {NODE_ID}, not to node 9"):
        SqliteStorage.open(copy.path, 9)
    assert outcome(copy) == "same"


def test_refused_directory_is_left_unchanged(after_crash: Directory, scratch: Path) -> None:
    """Evidence must survive: a refusal that recovers or removes files would destroy it."""
    last_page = 32 + 19 * (24 + database.PAGE_SIZE) + 2000
    for name, place in ((WAL, 5000), (WAL, last_page), (DATABASE, 4096)):
        copy = after_crash.copy(scratch / "copy")
        flip(copy.path / name, place, 1)
        before = {name: (copy.path / name).read_bytes() for name in FILES}
        assert refusal(copy) == refusal(copy)
        assert {path.name for path in copy.path.iterdir()} == {*FILES, "qcore.lock"}
        assert {name: (copy.path / name).read_bytes() for name in FILES} == before
