"""A snapshot file that cannot be written or read is one clear error, and leaves nothing."""

from __future__ import annotations

import errno
import io
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import IO

import pytest

from qcore.core.entry import Membership
from qcore.errors import SnapshotFileError
from qcore.files import open_regular
from qcore.storage.files import snapshot_file, synced_files
from qcore.storage.files.snapshot_file import SnapshotFileWriter, verify
from tests.storage.files.test_file_permissions import file_size_limit
from tests.storage.files.test_snapshot_file import header_of, write


def test_header_that_cannot_be_written_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "O_TMPFILE", raising=False)  # so that the unfinished file has a name
    members = range(1, 500)
    many = Membership(
        voters=tuple(members),
        addresses=tuple((node_id, f"node-{node_id}.example:8080") for node_id in members),
    )
    header = replace(header_of("text"), membership=many)  # larger than a buffer
    with (
        file_size_limit(1000),
        pytest.raises(SnapshotFileError, match=f"cannot write {tmp_path / 'copy'}: File too large"),
    ):
        SnapshotFileWriter(tmp_path / "copy", header)
    assert list(tmp_path.iterdir()) == []


def test_link_that_cannot_be_followed_is_refused_by_name(tmp_path: Path) -> None:
    link = tmp_path / "copy"
    link.symlink_to("x" * 300)
    with pytest.raises(SnapshotFileError, match=f"cannot write {link}: File name too long"):
        write(link, "text")


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_file_without_a_readable_first_line_is_an_error() -> None:
    """The first page of a process cannot be read: an I/O error."""
    path = Path("/proc/self/mem")
    with pytest.raises(SnapshotFileError, match=f"cannot read {path}: Input/output error"):
        verify(path)


def test_state_that_cannot_be_read_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, text = tmp_path / "copy", "text " * 100_000
    write(path, text)

    class Damaged(io.FileIO):
        def readinto(self, buffer: object, /) -> int:
            if self.tell() > len(text) // 2:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return super().readinto(buffer)  # type: ignore[arg-type]  # the type of a buffer needs Python 3.12

    def open_damaged(path: Path) -> IO[bytes]:
        open_regular(path).close()
        return io.BufferedReader(Damaged(path))

    monkeypatch.setattr(snapshot_file, "open_regular", open_damaged)
    with pytest.raises(SnapshotFileError, match=f"cannot read {path}: Input/output error"):
        verify(path)


def test_write_that_makes_no_progress_is_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise it would be tried for ever."""
    answers = [3, 0]
    monkeypatch.setattr(os, "pwrite", lambda *_: answers.pop(0))
    with pytest.raises(OSError, match="No space left") as caught:
        synced_files.write_all(0, b"content", 0)
    assert caught.value.errno == errno.ENOSPC
