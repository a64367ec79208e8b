"""A snapshot file is what was written, or it is refused by name; a target is whole, or as it was."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qcore.core.entry import Membership
from qcore.core.version import FIRST_VERSION, ClusterVersion
from qcore.errors import ConfigError, SnapshotFileError
from qcore.storage import snapshot_file
from qcore.storage.snapshot_file import (
    SnapshotFileWriter,
    SnapshotHeader,
    read_header,
    verify,
)

MEMBERSHIP = Membership(
    voters=(1, 2), learners=(3,), addresses=((1, "a:1"), (2, "b:1"), (3, "c:1")), cluster_id="north"
)


def header_of(text: str, index: int = 7) -> SnapshotHeader:
    data = text.encode()
    digest = hashlib.sha256(data).hexdigest()
    time_us = 1_700_000_000_000_000
    version = ClusterVersion(2, "kv", 1)
    return SnapshotHeader("north", index, 2, time_us, MEMBERSHIP, len(data), digest, 9, version)


def write(path: Path, text: str, *, force: bool = False) -> SnapshotHeader:
    header = header_of(text)
    with SnapshotFileWriter(path, header, force=force) as writer:
        for start in range(0, len(text), 5):
            writer.write(text[start : start + 5])
        writer.finish()
    return header


def refusal(path: Path) -> str:
    """Why the file is refused; it must be, and by its name."""
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
    """One directory for all examples of a property."""
    with TemporaryDirectory() as directory:
        yield Path(directory) / "state.snapshot"


TEXTS = st.text(st.characters(codec="utf-8"), max_size=60)


# -- what was written ----------------------------------------------------------------------------


@settings(max_examples=40)
@given(TEXTS, st.integers(1, 2**62))
def test_what_was_written_is_found(scratch: Path, text: str, index: int) -> None:
    header = replace(header_of(text), last_included_index=index)
    with SnapshotFileWriter(scratch, header, force=True) as writer:
        writer.write(text)
        writer.finish()
    assert verify(scratch) == header == read_header(scratch)
    assert scratch.read_bytes().partition(b"\n")[2] == text.encode()


def test_ordinary_tools_read_it(path: Path) -> None:
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


def test_only_its_owner_may_read_it(path: Path) -> None:
    write(path, "secrets")
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_large_file_is_read_in_parts(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot_file, "READ_BYTES", 10)
    header = write(path, "0123456789" * 50 + "x")
    assert verify(path) == header


# -- damage --------------------------------------------------------------------------------------


def test_every_flipped_bit_is_noticed(path: Path) -> None:
    write(path, '[]\n{"key": "value", "é": 1}\n')
    sound = path.read_bytes()
    with path.open("r+b", buffering=0) as file:
        for position, byte in enumerate(sound):
            for bit in range(8):
                os.pwrite(file.fileno(), bytes([byte ^ 1 << bit]), position)
                refusal(path)
            os.pwrite(file.fileno(), bytes([byte]), position)
    verify(path)


def test_a_file_that_was_cut_short_anywhere_is_noticed(path: Path) -> None:
    write(path, '[]\n{"key": "value"}\n')
    sound = path.read_bytes()
    for length in reversed(range(len(sound))):
        os.truncate(path, length)
        refusal(path)


@settings(max_examples=100)
@given(st.data(), TEXTS)
def test_any_other_content_is_noticed(scratch: Path, data: st.DataObject, text: str) -> None:
    """Bytes replaced, removed or put in, anywhere."""
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
def test_a_refusal_says_what_is_wrong(path: Path, damage: object, named: str) -> None:
    write(path, '[]\n{"key": "value", "a": 1}')
    assert callable(damage)
    path.write_bytes(damage(path.read_bytes()))
    assert named in refusal(path)


def rewritten(path: Path, **changes: object) -> None:
    """The file with another header that has a sound checksum, as another program could write it."""
    first, body = path.read_bytes().split(b"\n", 1)
    fields = {**json.loads(first), **changes}
    del fields["header_sha256"]
    compact = json.dumps(fields, separators=(",", ":")).encode()
    fields["header_sha256"] = hashlib.sha256(compact).hexdigest()
    path.write_bytes(json.dumps(fields, separators=(",", ":")).encode() + b"\n" + body)


def test_a_newer_format_is_refused_by_name(path: Path) -> None:
    write(path, "text")
    rewritten(path, version=3, something="new")
    assert "format version 3, this qcore reads versions 1 to 2" in refusal(path)


def test_a_sound_header_that_makes_no_sense_is_refused_by_field(path: Path) -> None:
    for field, value in {"size": "many", "membership": {"voters": "all"}, "extra": 1}.items():
        write(path, "text", force=True)
        rewritten(path, **{field: value})
        assert field in refusal(path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert "No such file" in refusal(tmp_path / "nothing")
    assert "directory" in refusal(tmp_path)


# -- writing -------------------------------------------------------------------------------------


def left_over(path: Path) -> list[str]:
    return sorted(entry.name for entry in path.parent.iterdir())


def test_what_is_no_regular_file_is_never_replaced(path: Path) -> None:
    """A device above all: `--force /dev/null`, run by root, would take it from the whole machine."""
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


def test_without_hard_links_it_works_too(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "no hard links here")

    monkeypatch.setattr(os, "link", refuse)
    write(path, "first")
    with pytest.raises(ConfigError):
        write(path, "second")
    assert verify(path) == header_of("first")


@pytest.mark.parametrize("text", ["too short", "text of another content", ""])
def test_a_text_that_is_not_the_promised_one_leaves_no_file(path: Path, text: str) -> None:
    with SnapshotFileWriter(path, header_of("text of the right length")) as writer:
        writer.write(text.ljust(24) if len(text) > 20 else text)
        with pytest.raises(SnapshotFileError, match="promised"):
            writer.finish()
    assert left_over(path) == []


def test_what_is_given_up_in_the_middle_leaves_no_file_and_the_old_one(path: Path) -> None:
    write(path, "old")
    writer = SnapshotFileWriter(path, header_of("new"), force=True)
    with contextlib.suppress(KeyboardInterrupt), writer:
        writer.write("n")
        raise KeyboardInterrupt
    assert verify(path) == header_of("old")
    assert left_over(path) == [path.name]


def test_a_target_that_cannot_be_written_is_refused_at_once(tmp_path: Path) -> None:
    for target, named in {
        tmp_path: "is a directory",
        tmp_path / "missing" / "file": "is not a directory: make it first",
    }.items():
        with pytest.raises(SnapshotFileError, match=named):
            SnapshotFileWriter(target, header_of("text"))


def test_a_full_disk_is_one_clear_error_and_leaves_nothing(path: Path) -> None:
    """`/dev/full` refuses every byte, as a full disk does."""
    writer = SnapshotFileWriter(path, header_of("text"))
    with writer:
        writer._file = open("/dev/full", "wb")  # noqa: SIM115 - closed by the writer
        writer.write("text")
        with pytest.raises(SnapshotFileError, match=f"cannot write {path}: No space left"):
            writer.finish()
    assert left_over(path) == []


def test_a_copy_of_a_cluster_of_0_1_0_is_written_as_it_wrote_it(path: Path) -> None:
    header = replace(header_of("state"), last_included_clock_us=0, cluster_version=FIRST_VERSION)
    with SnapshotFileWriter(path, header) as writer:
        writer.write("state")
        writer.finish()
    first = json.loads(path.read_text().partition("\n")[0])
    assert first["version"] == 1
    assert not {"last_included_clock_us", "cluster_version"} & first.keys()
    assert verify(path) == header
