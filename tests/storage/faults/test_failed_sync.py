"""After a failed sync nothing more is written, not even by `close` or when the process ends."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from qcore.storage.sqlite.sqlite_storage import SqliteStorage
from tests.storage.faults import ROOT, build, environment, unavailable_reason
from tests.storage.support.directories import NODE_ID, command, crashed, fill

pytestmark = pytest.mark.skipif(unavailable_reason() is not None, reason=unavailable_reason() or "")

FILES = ("log.db", "log.db-wal")

#: Arguments: directory; which sync fails (later ones succeed); when the count begins: "open" or "write".
CHILD = """
import ctypes, json, pathlib, sys
from qcore.core.effects import AppendLog
from qcore.errors import StorageError
from tests.storage.support.directories import command, open_storage
directory, nth, phase = pathlib.Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
plan = ctypes.CDLL(None).fault_plan
arm = lambda: plan(str(directory).encode(), b"sync", 5, nth, 1)
storage = None
try:
    if phase == "open":
        arm()
    storage = open_storage(directory)
    last = storage.load().entries[-1].index
    if phase == "write":
        arm()
    storage.write([AppendLog(1, [command(last + 1)])])
    outcome = "done"
except StorageError as error:
    outcome = str(error)
plan(b"", b"", 0, 0, 0)
files = {name: (directory / name).read_bytes().hex() for name in ("log.db", "log.db-wal")}
if storage is not None:
    storage.close()
again = ""
try:
    open_storage(directory).close() if len(sys.argv) > 4 else None
except StorageError as error:
    again = str(error)
print(json.dumps([outcome, files, again]))
"""


def run(library: Path, directory: Path, *arguments: str) -> tuple[str, dict[str, str], str]:
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(directory), *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment(library),
        check=False,
        timeout=60,
    )
    assert done.stderr == ""
    outcome, files, again = json.loads(done.stdout)
    return outcome, files, again


def content_of(directory: Path) -> dict[str, str]:
    return {name: (directory / name).read_bytes().hex() for name in FILES}


def check_content(directory: Path, last: int) -> None:
    storage = SqliteStorage.open(directory, NODE_ID)
    entries = storage.load().entries
    storage.close()
    assert [e for e in entries if e.index > 90] == [
        command(i) for i in range(91, len(entries) + 31)
    ]
    assert entries[-1].index >= last


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("layer"))


def test_closing_after_a_failed_write_changes_no_file(library: Path, scratch: Path) -> None:
    """SQLite would move the write-ahead file's content into the database and remove the file."""
    directory = scratch / "data"
    fill(directory).close()
    outcome, files, _ = run(library, directory, "1", "write")
    assert "I/O error" in outcome
    assert content_of(directory) == files
    assert files["log.db-wal"]
    check_content(directory, 90)


@pytest.mark.parametrize("nth", [2, 4])
def test_a_start_changes_no_file_after_a_failed_sync(
    library: Path, scratch: Path, nth: int
) -> None:
    """The first sync is qcore's, of the directory. Then come SQLite's: of the write-ahead file, of the directory again
    (SQLite ignores a failure of this one), and of the database.
    """
    directory = crashed(scratch / "data").path
    wal_before = (directory / "log.db-wal").read_bytes()
    outcome, files, _ = run(library, directory, str(nth), "open")
    assert "I/O error" in outcome
    assert content_of(directory) == files
    assert (directory / "log.db-wal").read_bytes().startswith(wal_before)
    check_content(directory, 100)


def test_same_process_reopens_or_explains_why_not(library: Path, scratch: Path) -> None:
    directory = scratch / "data"
    fill(directory).close()
    _, _, again = run(library, directory, "1", "write", "again")
    if sys.version_info >= (3, 12):
        assert again == ""
    else:
        assert "end the process, and start it again" in again


def test_another_process_opens_it_while_the_first_lives(library: Path, scratch: Path) -> None:
    """`close` releases the locks, even though Python 3.11 keeps the connection open."""
    directory = scratch / "data"
    fill(directory).close()
    opener = (
        "import sys; from tests.storage.support.directories import open_storage\n"
        "open_storage(sys.argv[1]).close(); print('opened')"
    )
    # Reading the files would also drop the locks.
    code = CHILD.replace("(directory / name).read_bytes().hex()", "''") + (
        "import subprocess\n"
        f"print(subprocess.check_output([sys.executable, '-c', {opener!r}, str(directory)], text=True))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(directory), "1", "write"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment(library),
        check=False,
        timeout=60,
    )
    assert done.stdout.splitlines()[1:2] == ["opened"], done.stderr
