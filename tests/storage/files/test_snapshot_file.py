"""A snapshot file is exactly what was written, or it is refused by name. A target is whole or unchanged."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qcore.core.entry import Membership
from qcore.core.version import FIRST_VERSION, ClusterVersion
from qcore.errors import ConfigError, SnapshotFileError
from qcore.storage.files import snapshot_file
from qcore.storage.files.snapshot_file import (
    SnapshotFileWriter,
    SnapshotHeader,
    verify,
)

MEMBERSHIP = Membership(
    voters=(1, 2), learners=(3,), addresses=((1, "a:1"), (2, "b:1"), (3, "c:1")), cluster_id="north"
)


def header_of(text: str, index: int = 7) -> SnapshotHeader:
    data = text.encode()
    digest = hashlib.sha256(data).hexdigest()
    time_us = 1_700_000_000_000_000
    version = ClusterVersion(2, "register", 1)
    return SnapshotHeader("north", index, 2, time_us, MEMBERSHIP, len(data), digest, 9, version)


def write(path: Path, text: str, *, force: bool = False) -> SnapshotHeader:
    header = header_of(text)
    with SnapshotFileWriter(path, header, force=force) as writer:
        for start in range(0, len(text), 5):
            writer.write(text[start : start + 5])
        writer.finish()
    return header


def refusal(path: Path) -> str:
    """The reason why the file is refused. It must be refused, and by its name."""
    with pytest.raises(SnapshotFileError) as caught:
        verify(path)
    text = str(caught.value)
    assert str(path) in text
    assert "\n" not in text
    return text


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.snapshot"


@pytest.fixture(scope="module")
def scratch() -> Iterator[Path]:
    """One file for all examples of a property."""
    with TemporaryDirectory() as directory:
        yield Path(directory) / "state.snapshot"


TEXTS = st.text(st.characters(codec="utf-8"), max_size=60)


# -- what was written ----------------------------------------------------------------------------


@settings(max_examples=40)
@given(TEXTS, st.integers(1, 2**62))
def test_written_file_verifies(scratch: Path, text: str, index: int) -> None:
    header = replace(header_of(text), last_included_index=index)
    with SnapshotFileWriter(scratch, header, force=True) as writer:
        writer.write(text)
        writer.finish()
    assert verify(scratch) == header
    assert scratch.read_bytes().partition(b"\n")[2] == text.encode()


def test_ordinary_tools_read_the_snapshot_file(path: Path) -> None:
    """The format is documented in terms of `head`, `tail` and `sha256sum`."""
    header = write(path, '[]\n{"quoted": "é"}\n')
    (first, body) = path.read_bytes().split(b"\n", 1)
    shown = json.loads(first)
    assert list(shown)[:2] == ["format", "version"]
    assert shown["membership"]["addresses"] == [[1, "a:1"], [2, "b:1"], [3, "c:1"]]
    digest = subprocess.run(
        "tail -n +2 state.snapshot | sha256sum",
        shell=True,
        cwd=path.parent,
        capture_output=True,
        check=True,
    ).stdout.split()[0]
    assert digest.decode() == header.sha256 == hashlib.sha256(body).hexdigest()


def test_only_the_owner_may_read_a_snapshot_file(path: Path) -> None:
    write(path, "secrets")
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_large_file_is_read_in_parts(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot_file, "READ_BYTES", 10)
    header = write(path, "0123456789" * 50 + "x")
    assert verify(path) == header


# -- damage --------------------------------------------------------------------------------------


def test_every_flipped_bit_is_detected(path: Path) -> None:
    write(path, '[]\n{"key": "value", "é": 1}\n')
    sound = path.read_bytes()
    with path.open("r+b", buffering=0) as file:
        for position, byte in enumerate(sound):
            for bit in range(8):
                os.pwrite(file.fileno(), bytes([byte ^ 1 << bit]), position)
                refusal(path)
            os.pwrite(file.fileno(), bytes([byte]), position)
    verify(path)


def test_a_truncated_file_is_detected(path: Path) -> None:
    write(path, '[]\n{"key": "value"}\n')
    sound = path.read_bytes()
    for length in reversed(range(len(sound))):
        os.truncate(path, length)
        refusal(path)


@settings(max_examples=100)
@given(st.data(), TEXTS)
def test_any_changed_content_is_detected(scratch: Path, data: st.DataObject, text: str) -> None:
    """Bytes are replaced, removed or inserted anywhere."""
    write(scratch, text, force=True)
    sound = scratch.read_bytes()
    start = data.draw(st.integers(0, len(sound)))
    end = data.draw(st.integers(start, min(len(sound), start + 8)))
    changed = sound[:start] + data.draw(st.binary(max_size=8)) + sound[end:]
    scratch.write_bytes(changed)
    if changed == sound:
        verify(scratch)
    else:
        refusal(scratch)


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (lambda sound: b"", "is empty"),
        (lambda sound: sound[:-3], "cut short: 24 of 27 bytes of the state"),
        (lambda sound: sound + b"more", "4 bytes follow the 27 bytes of the state"),
        (lambda sound: sound.replace(b"value", b"VALUE"), "the state was changed: its sha256 is"),
        (lambda sound: sound.replace(b"north", b"south"), "the header was changed"),
        (lambda sound: sound[:100], "the header was cut short"),
        (lambda sound: b"SQLite format 3\0" + sound, "the header was cut short or changed"),
        (lambda sound: b"SQLite format 3\0\n" * 9, "is not a snapshot file"),
        (lambda sound: b"[" * 100_000, "is not a snapshot file"),
        (lambda sound: b'{"format": "other"}\n', "is not a snapshot file"),
        (lambda sound: sound.replace(b'"version":2', b'"version": 2'), "the header was changed"),
    ],
)  # fmt: skip
def test_refusal_names_what_is_wrong(path: Path, damage: object, named: str) -> None:
    write(path, '[]\n{"key": "value", "a": 1}')
    assert callable(damage)
    path.write_bytes(damage(path.read_bytes()))
    assert named in refusal(path)


def rewritten(path: Path, **changes: object) -> None:
    """Give the file another header with a correct checksum, as another program could write it."""
    first, body = path.read_bytes().split(b"\n", 1)
    fields = {**json.loads(first), **changes}
    del fields["header_sha256"]
    compact = json.dumps(fields, separators=(",", ":")).encode()
    fields["header_sha256"] = hashlib.sha256(compact).hexdigest()
    path.write_bytes(json.dumps(fields, separators=(",", ":")).encode() + b"\n" + body)


def test_newer_format_is_refused_by_name(path: Path) -> None:
    write(path, "text")
    rewritten(path, version=3, something="new")
    assert "format 3, this program reads up to 2" in refusal(path)


def test_invalid_header_is_refused_naming_the_field(path: Path) -> None:
    for field, value in {"size": "many", "membership": {"voters": "all"}, "extra": 1}.items():
        write(path, "text", force=True)
        rewritten(path, **{field: value})
        assert field in refusal(path)


def test_absent_file_is_an_error(tmp_path: Path) -> None:
    assert "No such file" in refusal(tmp_path / "nothing")
    assert "directory" in refusal(tmp_path)


def test_non_regular_file_is_refused_without_waiting(path: Path) -> None:
    os.mkfifo(path)
    assert "it is a FIFO, not a regular file" in refusal(path)
    path.unlink()
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))
        assert "it is a socket, not a regular file" in refusal(path)
    assert "it is a device, not a regular file" in refusal(Path("/dev/zero"))


def test_endless_file_is_refused_immediately(path: Path) -> None:
    """The size is wrong, or the first line is too long. Neither needs a read of the file."""
    write(path, "text")
    with path.open("r+b") as file:
        file.truncate(1 << 43)
    assert "bytes follow the 4 bytes of the state" in refusal(path)
    path.write_bytes(b"")
    with path.open("r+b") as file:
        file.truncate(1 << 43)
    assert "is not a snapshot file" in refusal(path)
    rewritten_as(path, b"text", size=1 << 50)
    assert "cut short: 4 of 1125899906842624 bytes" in refusal(path)
    rewritten_as(path, b"text", size=-4)
    assert "8 bytes follow the -4 bytes" in refusal(path)


def rewritten_as(path: Path, body: bytes, **changes: object) -> None:
    write(path, body.decode(), force=True)
    rewritten(path, **changes)


def test_growing_file_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other writer adds more than each read takes, so reading to the end would never end."""
    write(path, "0123456789" * 10)
    monkeypatch.setattr(snapshot_file, "READ_BYTES", 10)
    sound = hashlib.sha256

    def growing(data: bytes = b"") -> Any:
        digest = sound(data)
        if data:
            return digest

        class Growing:
            def update(self, part: bytes) -> None:
                digest.update(part)
                with path.open("ab") as file:
                    file.write(b"x" * 20)

            def hexdigest(self) -> str:
                return digest.hexdigest()

        return Growing()

    monkeypatch.setattr(hashlib, "sha256", growing)
    assert "200 bytes follow the 100 bytes of the state" in refusal(path)


# -- writing -------------------------------------------------------------------------------------


def left_over(path: Path) -> list[str]:
    return sorted(entry.name for entry in path.parent.iterdir())


def test_non_regular_file_is_never_replaced(path: Path) -> None:
    """Above all a device: `--force /dev/null`, run by root, would remove it from the machine."""
    os.mkfifo(path)
    with pytest.raises(SnapshotFileError, match="is not a regular file"):
        write(path, "some state", force=True)
    assert path.is_fifo()


def test_a_file_that_exists_is_replaced_only_if_allowed(path: Path) -> None:
    write(path, "first")
    with pytest.raises(ConfigError, match=r"exists: give another name, or .*--force"):
        write(path, "second")
    assert verify(path) == header_of("first")
    write(path, "second", force=True)
    assert verify(path) == header_of("second")
    assert left_over(path) == [path.name]


def test_a_file_that_appeared_meanwhile_is_not_replaced(path: Path) -> None:
    with SnapshotFileWriter(path, header_of("late")) as writer:
        writer.write("late")
        write(path, "early")
        with pytest.raises(ConfigError, match="exists"):
            writer.finish()
    assert verify(path) == header_of("early")
    assert left_over(path) == [path.name]


@pytest.fixture(params=["unnamed", "named", "no proc", "no links", "no locks"])
def file_system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """File systems that lack a feature for new files, one each."""
    kind: str = request.param
    real_open, real_link = os.open, os.link

    def open_without(path: str | Path, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, "Operation not supported")
        return real_open(path, flags, mode)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    def link_no_unnamed(source: str | Path, target: str | Path, **options: Any) -> None:
        if str(source).startswith("/proc"):
            refuse()
        real_link(source, target, **options)

    if kind in ("named", "no links", "no locks"):
        monkeypatch.setattr(os, "open", open_without)
    if kind == "no proc":
        monkeypatch.setattr(os, "link", link_no_unnamed)
    if kind == "no links":
        monkeypatch.setattr(os, "link", refuse)
    if kind == "no locks":
        monkeypatch.setattr(fcntl, "flock", refuse)
    return kind


def test_existing_file_is_replaced_only_by_force(path: Path, file_system: str) -> None:
    del file_system
    write(path, "first")
    with pytest.raises(ConfigError, match="exists"):
        write(path, "second")
    with SnapshotFileWriter(path.with_name("late"), header_of("late")) as writer:
        writer.write("late")
        write(path.with_name("late"), "early")
        with pytest.raises(ConfigError, match="exists"):
            writer.finish()
    assert verify(path.with_name("late")) == header_of("early")
    assert verify(path) == header_of("first")
    write(path, "second", force=True)
    assert verify(path) == header_of("second")
    assert path.stat().st_mode & 0o777 == 0o600
    assert left_over(path) == ["late", path.name]


def test_a_writer_that_is_killed_leaves_nothing(path: Path, file_system: str) -> None:
    """Or only files that the next writer of the same target removes."""
    killed_while_writing(path, file_system == "unnamed" or file_system == "no proc")
    write(path, "text")
    expected = [path.name] if file_system != "no locks" else left_over(path)
    assert left_over(path) == expected
    assert verify(path) == header_of("text")


def killed_while_writing(path: Path, is_unnamed: bool) -> None:
    """Fork a writer and kill it in the middle."""
    child = os.fork()
    if child == 0:
        try:
            writer = SnapshotFileWriter(path, header_of("text of a dead writer"))
            writer.write("text of")
            writer._new.file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
    assert bool(left_over(path)) != is_unnamed


def test_file_of_a_live_writer_is_not_removed(path: Path, file_system: str) -> None:
    del file_system
    with SnapshotFileWriter(path, header_of("late"), force=True) as writer:
        writer.write("late")
        write(path, "early")
        writer.finish()
    assert verify(path) == header_of("late")
    assert left_over(path) == [path.name]


def test_file_that_only_looks_like_a_leftover_stays(path: Path) -> None:
    others = [
        ".other.snapshot.0123abcd.partial",
        f".{path.name}.partial",
        f"{path.name}.0123abcd.partial",
    ]
    for name in others:
        (path.parent / name).write_text("another user's")
    fifo = path.parent / f".{path.name}.0123abcd.partial"
    os.mkfifo(fifo)
    write(path, "text")
    assert left_over(path) == sorted([*others, fifo.name, path.name])


def test_force_replaces_the_target_of_a_link(path: Path, tmp_path: Path) -> None:
    place = tmp_path / "elsewhere"
    place.mkdir()
    write(place / "real.snapshot", "first")
    (place / "second.link").symlink_to("real.snapshot")
    path.symlink_to(Path("elsewhere") / "second.link")
    with pytest.raises(ConfigError, match="exists"):
        write(path, "second")
    write(path, "second", force=True)
    assert path.is_symlink()
    assert verify(place / "real.snapshot") == verify(path) == header_of("second")
    assert sorted(entry.name for entry in place.iterdir()) == ["real.snapshot", "second.link"]


@pytest.mark.parametrize("force", [False, True])
def test_dangling_link_is_refused_by_name(path: Path, force: bool) -> None:
    for leads_to, shown in (
        ("nothing.snapshot", "nothing.snapshot, which is not there"),
        (path.name, "itself"),
        ("nowhere/file", "nowhere/file, which is not there"),
    ):
        path.symlink_to(leads_to)
        with pytest.raises(SnapshotFileError, match=f"is a symbolic link to {shown}: remove it"):
            write(path, "text", force=force)
        assert os.readlink(path) == leads_to
        path.unlink()
    path.symlink_to(path.parent)
    with pytest.raises(SnapshotFileError, match="is a directory"):
        write(path, "text", force=force)
    assert left_over(path) == [path.name]


def test_impossible_file_name_is_refused(path: Path) -> None:
    with pytest.raises(SnapshotFileError, match="File name too long"):
        write(path.with_name("x" * 300), "text")
    os.mkfifo(path)
    with pytest.raises(SnapshotFileError, match="is not a directory"):
        write(path / "file", "text")


@pytest.mark.parametrize("text", ["too short", "text of another content", ""])
def test_text_that_differs_from_its_header_leaves_no_file(path: Path, text: str) -> None:
    with SnapshotFileWriter(path, header_of("text of the right length")) as writer:
        writer.write(text.ljust(24) if len(text) > 20 else text)
        with pytest.raises(SnapshotFileError, match="promised"):
            writer.finish()
    assert left_over(path) == []


def test_aborted_write_keeps_the_old_file(path: Path) -> None:
    write(path, "old")
    writer = SnapshotFileWriter(path, header_of("new"), force=True)
    with contextlib.suppress(KeyboardInterrupt), writer:
        writer.write("n")
        raise KeyboardInterrupt
    assert verify(path) == header_of("old")
    assert left_over(path) == [path.name]


def test_unwritable_target_is_refused_immediately(tmp_path: Path) -> None:
    for target, named in {
        tmp_path: "is a directory",
        tmp_path / "missing" / "file": "is not a directory: make it first",
    }.items():
        with pytest.raises(SnapshotFileError, match=named):
            SnapshotFileWriter(target, header_of("text"))


def test_a_full_disk_is_one_clear_error_and_leaves_nothing(path: Path) -> None:
    """`/dev/full` accepts no byte, like a full disk."""
    writer = SnapshotFileWriter(path, header_of("text"))
    with writer:
        writer._new.file = open("/dev/full", "wb")  # noqa: SIM115 - closed by the writer
        writer.write("text")
        with pytest.raises(SnapshotFileError, match=f"cannot write {path}: No space left"):
            writer.finish()
    assert left_over(path) == []


def test_backup_of_a_0_1_0_cluster_keeps_its_format(path: Path) -> None:
    header = replace(header_of("state"), last_included_clock_us=0, cluster_version=FIRST_VERSION)
    with SnapshotFileWriter(path, header) as writer:
        writer.write("state")
        writer.finish()
    first = json.loads(path.read_text().partition("\n")[0])
    assert first["version"] == 1
    assert not {"last_included_clock_us", "cluster_version"} & first.keys()
    assert verify(path) == header
