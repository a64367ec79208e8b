"""Files of scheduled backups: names, space, verification, and which are removed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from qcore.core.entry import Membership, Snapshot, SnapshotMeta
from qcore.core.log.growing_text import TextBuilder
from qcore.errors import DiskFull, SnapshotFileError
from qcore.node.backups import backup_files
from qcore.node.backups.backup_files import backups_in, require_writable, write_backup
from qcore.storage.files.snapshot_file import read_snapshot, verify

NOW = 1_700_000_000.0


def snapshot(index: int, cluster_id: str = "c1", text: str = '{"sessions":0}\nstate') -> Snapshot:
    membership = Membership((1,), addresses=((1, "a:1"),), cluster_id=cluster_id)
    return Snapshot(SnapshotMeta(index, 2, 5, membership), text)


def write(directory: Path, index: int, keep: int = 3, cluster_id: str = "c1") -> Path:
    written = write_backup(
        directory, snapshot(index, cluster_id), NOW + index % 10**12, keep, spare_bytes=0
    )
    return written.file.path


def test_backup_is_private_and_holds_the_state(tmp_path: Path) -> None:
    text = TextBuilder()
    text.add('{"sessions":0}\n' + "ü€" * 300_000)
    whole = text.build()
    written = write_backup(tmp_path, snapshot(7, text=whole), NOW, 1, spare_bytes=0)  # type: ignore[arg-type]  # a large text
    path = written.file.path
    assert path.name == "c1-00000000000000000007-20231114T221320Z.snapshot"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.stat().st_size == written.size
    header, found = read_snapshot(path)
    assert (header.last_included_index, str(found)) == (7, str(whole))


def test_oldest_backups_of_the_cluster_are_removed(tmp_path: Path) -> None:
    others = [write(tmp_path, 1, cluster_id="other"), tmp_path / "notes.txt"]
    others[1].write_text("mine")
    paths = [write(tmp_path, index) for index in (5, 90, 10**12 + 5)]
    assert [each.path for each in backups_in(tmp_path, "c1")] == paths
    newest = write(tmp_path, 10**12 + 6)
    assert sorted(tmp_path.iterdir()) == sorted([*others, *paths[1:], newest])


def test_new_backup_stays_even_if_its_position_is_lower(tmp_path: Path) -> None:
    write(tmp_path, 90, keep=1)
    newest = write(tmp_path, 5, keep=1)
    assert [*tmp_path.iterdir()] == [newest]


def test_backup_that_would_fill_the_disk_is_not_written(tmp_path: Path) -> None:
    before = write(tmp_path, 1)
    with pytest.raises(DiskFull, match="bytes free"):
        write_backup(tmp_path, snapshot(2), NOW, 1, spare_bytes=1 << 62)
    assert [*tmp_path.iterdir()] == [before]


def test_file_that_reads_back_wrong_is_dropped_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = write(tmp_path, 1, keep=1)

    def damaged(path: Path) -> object:
        os.truncate(path, path.stat().st_size - 1)
        return verify(path)

    monkeypatch.setattr(backup_files, "verify", damaged)
    with pytest.raises(SnapshotFileError, match="cut short"):
        write(tmp_path, 2, keep=1)
    assert [*tmp_path.iterdir()] == [before]


def test_node_that_stops_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(SnapshotFileError, match="the node stops"):
        write_backup(tmp_path, snapshot(1), NOW, 1, spare_bytes=0, stopping=lambda: True)
    asked = iter([False, True])
    with pytest.raises(SnapshotFileError, match="the node stops"):
        write_backup(tmp_path, snapshot(1), NOW, 1, spare_bytes=0, stopping=lambda: next(asked))
    assert [*tmp_path.iterdir()] == []


def test_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(SnapshotFileError, match=r"backup_dir .*missing"):
        write(tmp_path / "missing", 1)
    with pytest.raises(SnapshotFileError, match=r"backup_dir .*missing"):
        backups_in(tmp_path / "missing", "c1")


def test_directory_in_which_the_node_may_not_write_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root may write everywhere, so the answer of the system is replaced."""
    require_writable(tmp_path)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(SnapshotFileError, match="cannot be written: let the node write there"):
        require_writable(tmp_path)
