"""A file gets its name whole, even if other writers of the same target clean up at the worst moment."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from qcore.storage.files.atomic_file import AtomicFile

Meddler = Callable[[Path], object]


def save(target: Path, content: bytes) -> None:
    file = AtomicFile(target)
    try:
        file.file.write(content)
        file.publish(replace=False)
    finally:
        file.discard()


@pytest.fixture
def only_named_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """A system without files that have no name, such as macOS."""
    monkeypatch.delattr(os, "O_TMPFILE", raising=False)


@pytest.mark.usefixtures("only_named_files")
def test_system_without_unnamed_files_writes_beside_the_target(tmp_path: Path) -> None:
    file = AtomicFile(tmp_path / "target")
    (beside,) = tmp_path.iterdir()
    assert beside.name.startswith(".target.")
    file.file.write(b"content")
    file.publish(replace=False)
    file.discard()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"target": b"content"}


def meddle(monkeypatch: pytest.MonkeyPatch, act: Meddler, times: int) -> list[int]:
    """Let another process act on each of the first new files. Returns the list of their descriptors."""
    real, opened = os.open, list[int]()

    def open_and_meddle(path: str | Path, flags: int, mode: int = 0o777) -> int:
        file = real(path, flags, mode)
        if flags & os.O_EXCL and len(opened) < times:
            opened.append(file)
            act(Path(path))
        return file

    monkeypatch.setattr(os, "open", open_and_meddle)
    return opened


def check_closed(files: list[int]) -> None:
    assert files
    for file in files:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(file)


@pytest.mark.usefixtures("only_named_files")
def test_file_removed_before_its_lock_is_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the content would be in a file that no longer has a name."""
    meddle(monkeypatch, Path.unlink, times=2)
    save(tmp_path / "target", b"content")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"target": b"content"}


@pytest.mark.usefixtures("only_named_files")
def test_file_that_another_writer_locks_is_abandoned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other writer is about to remove it: the content goes into a file of another name."""
    held: list[int] = []

    def lock(path: Path) -> None:
        held.append(os.open(path, os.O_RDONLY))
        fcntl.flock(held[0], fcntl.LOCK_EX)

    opened = meddle(monkeypatch, lock, times=1)
    file = AtomicFile(tmp_path / "target")
    for path in tmp_path.iterdir():
        if path.stat().st_ino == os.fstat(held[0]).st_ino:
            path.unlink()  # what the other writer does next
    os.close(held[0])
    file.file.write(b"content")
    file.publish(replace=False)
    file.discard()
    check_closed(opened)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"target": b"content"}


@pytest.mark.usefixtures("only_named_files")
def test_file_that_is_always_removed_ends_with_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = meddle(monkeypatch, Path.unlink, times=1000)
    with pytest.raises(OSError, match="other processes keep removing") as caught:
        AtomicFile(tmp_path / "target")
    assert caught.value.errno == errno.EBUSY
    check_closed(opened)
