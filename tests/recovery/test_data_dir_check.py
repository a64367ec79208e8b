"""`check_data_dir`: it finds every damage that matters, raises nothing else, and changes nothing."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from qcore.core.effects import AppendLog, SaveHardState
from qcore.core.entry import HardState
from qcore.errors import ConfigError
from qcore.node.watches.divergence import DivergenceMarkFile
from qcore.recovery.checks.data_dir_check import check_data_dir
from tests.process.support.commands import run_here
from tests.recovery.directories import (
    VERSION,
    Sample,
    entry,
    make,
    open_storage,
    starts_with,
    unchanged,
)

FILES = ("log.db", "log.db-wal", "log.mark", "node.key", "peers.json")


@pytest.fixture(scope="module")
def samples(module_path: Path) -> dict[bool, Sample]:
    """A directory after a clean stop, and one after a crash."""
    return {crashed: make(module_path / f"{crashed}", crashed=crashed) for crashed in (False, True)}


@pytest.mark.parametrize("crashed", [False, True])
def test_sound_directory_is_sound_and_stays_as_it_is(
    samples: dict[bool, Sample], crashed: bool
) -> None:
    sample = samples[crashed]
    with unchanged(sample.path):
        report = check_data_dir(sample.path)
    assert (report.findings, report.process, report.entries) == ([], None, 30)
    assert report.log is not None
    assert report.log.state.last_index == 60
    assert (report.layout, report.version) == (3, VERSION)


@st.composite
def damages(draw: st.DrawFn) -> tuple[bool, str, str, int, int]:
    """A kind of stop, a file, and what happens to it: how, at which part of the file, and a number."""
    kind = draw(st.sampled_from(["flip", "flip", "flip", "zero", "cut", "remove", "random"]))
    place = draw(st.integers(0, 10_000))
    return draw(st.booleans()), draw(st.sampled_from(FILES)), kind, place, draw(st.integers(0, 255))


def damage(path: Path, kind: str, place: int, number: int) -> None:
    """Damage one file."""
    content = bytearray(path.read_bytes())
    at = min(len(content) - 1, len(content) * place // 10_000)
    if kind == "remove":
        path.unlink()
        return
    if kind == "flip":
        content[at] ^= 1 << number % 8
    elif kind == "zero":
        content[at : at + 1 + number] = bytes(len(content[at : at + 1 + number]))
    elif kind == "random":
        part = content[at : at + 64]
        content[at : at + 64] = bytes((byte * 7 + number) % 256 for byte in part)
    else:
        del content[at:]
    path.write_bytes(bytes(content))


def assert_damage_is_found(
    samples: dict[bool, Sample], path: Path, found: tuple[bool, str, str, int, int]
) -> None:
    """Damage a directory. If the check calls it sound, a node starts and finds all that was there."""
    crashed, name, kind, place, number = found
    sample = samples[crashed]
    sample.copy(path)
    if not (path / name).exists():
        return
    damage(path / name, kind, place, number)
    with unchanged(path):
        report = check_data_dir(path)
    if not report.faults:
        for side in ("node.key", "peers.json"):
            if (path / side).exists():
                assert (path / side).read_bytes() == (sample.path / side).read_bytes()
            else:
                assert side == "peers.json"  # a note
                assert report.findings
        assert starts_with(path, sample.content)


_WITH_FIXTURES = [HealthCheck.function_scoped_fixture]


@settings(max_examples=15, suppress_health_check=_WITH_FIXTURES)
@given(found=damages())
@example(found=(True, "log.db-wal", "remove", 0, 0))
@example(found=(True, "log.db-wal", "flip", 5502, 0))
@example(found=(True, "log.mark", "remove", 0, 0))
@example(found=(False, "log.db", "cut", 0, 0))
@example(found=(False, "log.db", "flip", 25, 0))
def test_no_damage_that_matters_is_called_sound(
    samples: dict[bool, Sample], tmp_path: Path, found: tuple[bool, str, str, int, int]
) -> None:
    assert_damage_is_found(samples, tmp_path / "damaged", found)


@pytest.mark.long
@settings(max_examples=3000, suppress_health_check=_WITH_FIXTURES)
@given(found=damages())
def test_no_damage_of_many_is_called_sound(
    samples: dict[bool, Sample], tmp_path: Path, found: tuple[bool, str, str, int, int]
) -> None:
    assert_damage_is_found(samples, tmp_path / "damaged", found)


@pytest.mark.parametrize("crashed", [False, True])
def test_every_changed_entry_is_named(
    samples: dict[bool, Sample], tmp_path: Path, crashed: bool
) -> None:
    path = samples[crashed].copy(tmp_path / "damaged")
    for file in (path / "log.db", path / "log.db-wal"):
        if file.exists():
            file.write_bytes(file.read_bytes().replace(b"key 45", b"kEy 45"))
    report = check_data_dir(path)
    text = " ".join(found.what for found in report.faults)
    # A wrong frame of the write-ahead file is found by its own checksum.
    assert ("entry 45" in text) != crashed or "write" in text or "frame" in text
    assert report.faults


def test_running_node_is_named_and_its_files_are_read(
    samples: dict[bool, Sample], tmp_path: Path
) -> None:
    path = samples[False].copy(tmp_path / "live")
    storage = open_storage(path)
    try:
        storage.load()
        storage.write([AppendLog(1, [entry(61)])], commit=60)
        with unchanged(path):
            report = check_data_dir(path)
    finally:
        storage.close()
    assert (report.process, report.faults) == (str(os.getpid()), [])
    assert report.log is not None
    assert report.log.state.last_index == 61


def _open_to_others(path: Path) -> None:
    (path / "node.key").chmod(0o640)


def _diverge(path: Path) -> None:
    DivergenceMarkFile(path).save(42)


def _leave_partial(path: Path) -> None:
    (path / ".node.key.0123abcd.partial").write_bytes(b"half")


def _link(path: Path) -> None:
    (path / "log.mark").rename(path / "elsewhere")
    (path / "log.mark").symlink_to("elsewhere")


@pytest.mark.parametrize(
    ("change", "severity", "where", "what"),
    [
        (_open_to_others, "fault", "node.key", "its mode is 0640"),
        (_diverge, "fault", "diverged.json", "at entry 42"),
        (_leave_partial, "note", ".node.key.0123abcd.partial", "never read"),
        (_link, "fault", "log.mark", "a symbolic link"),
        (lambda path: (path / "node.key").unlink(), "fault", "node.key", "missing"),
        (lambda path: (path / "peers.json").unlink(), "note", "peers.json", "forgotten"),
        (lambda path: (path / "log.db").unlink(), "fault", "log.db", "traces of acknowledged"),
    ],
)
def test_each_finding_names_its_file(
    samples: dict[bool, Sample],
    tmp_path: Path,
    change: Callable[[Path], object],
    severity: str,
    where: str,
    what: str,
) -> None:
    path = samples[False].copy(tmp_path / "changed")
    change(path)
    with unchanged(path):
        (found,) = check_data_dir(path).findings
    assert (found.severity, found.where) == (severity, where)
    assert what in found.what
    assert found.advice


def test_term_beyond_the_current_term_is_a_fault(tmp_path: Path) -> None:
    storage = open_storage(tmp_path / "n")
    storage.write([SaveHardState(1, HardState(2)), AppendLog(2, [entry(1), entry(2)])])
    storage._stored.term = 1  # a bug, or a checksum that was made to fit
    storage._connection.execute(storage._stored.update, storage._stored.row())
    storage.close()
    report = check_data_dir(tmp_path / "n")
    assert [found.what for found in report.faults] == [
        f"entry {index}: its term is 2, and the current term only 1" for index in (1, 2)
    ]


@pytest.mark.parametrize("name", ["missing", "empty", "file"])
def test_other_paths_are_wrong_usage(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="data"):
        check_data_dir(tmp_path / name)


def test_interrupted_creation_is_a_note(tmp_path: Path) -> None:
    (tmp_path / "log.db.new").write_bytes(b"")
    report = check_data_dir(tmp_path)
    assert [found.severity for found in report.findings] == ["note", "note"]


def test_command_prints_findings_and_exit_code(samples: dict[bool, Sample], tmp_path: Path) -> None:
    path = samples[False].copy(tmp_path / "n")
    sound = run_here("check", str(path))
    assert (sound.code, sound.stdout.splitlines()[-1]) == (0, f"{path} is sound")
    (path / "log.mark").write_bytes(b"")
    damaged = run_here("check", str(path))
    assert damaged.code == 1
    assert "fault: log.mark: is damaged" in damaged.stdout
    assert f"{path} is not sound: 1 fault" in damaged.stdout
    new = tmp_path / "new"
    open_storage(new).close()
    assert run_here("check", str(new)).stdout.splitlines()[:2] == [
        "node 1, which belongs to no cluster yet",
        "term 0, no entries, commit index at least 0, no snapshot",
    ]
    as_json = run_here("check", str(path), "-o", "json")
    assert '"sound": false' in as_json.stdout
