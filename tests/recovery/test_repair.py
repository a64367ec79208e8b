"""`qcore repair`: it does only what cannot lose anything, keeps a copy, and refuses the rest."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qcore.core.entry import DurableState
from qcore.errors import StorageError
from qcore.node.watches.divergence import DivergenceMarkFile
from qcore.recovery.checks.data_dir_check import check_data_dir
from qcore.recovery.recovery_refused import RecoveryRefused
from qcore.recovery.repairs.data_dir_repair import carry_out, plan_repair
from tests.process.support.commands import run_here
from tests.recovery.directories import Sample, make, open_storage, unchanged


@pytest.fixture(scope="module")
def whole(module_path: Path) -> Sample:
    """A snapshot through 40, and a log with every entry from 1 to 60."""
    return make(module_path / "whole", keep_all=True)


@pytest.fixture(scope="module")
def compacted(module_path: Path) -> Sample:
    """A snapshot through 40, and a log with the entries 31 to 60."""
    return make(module_path / "compacted")


def change_row(path: Path, statement: str, *values: object) -> None:
    """Change a row of the database, but not its checksum."""
    with closing(sqlite3.connect(path / "log.db")) as connection:
        connection.execute(statement, values)
        connection.commit()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def break_entry(path: Path, index: int) -> None:
    change_row(path, "UPDATE log SET data = ? WHERE idx = ?", b"changed", index)


def break_snapshot(path: Path) -> None:
    change_row(path, "UPDATE snapshot SET data = ?", b"changed")


def loaded(path: Path) -> DurableState:
    storage = open_storage(path)
    try:
        return storage.load()
    finally:
        storage.close()


def test_damaged_snapshot_is_dropped_if_the_log_has_everything(
    whole: Sample, tmp_path: Path
) -> None:
    path = whole.copy(tmp_path / "n")
    break_snapshot(path)
    with unchanged(path):
        plan = plan_repair(path)
    assert plan.steps == ("drop_snapshot",)
    carry_out(plan)
    found = loaded(path)
    assert (found.snapshot, found.entries) == (None, whole.content.entries)
    assert found.hard_state == whole.content.hard_state


@pytest.mark.parametrize("damaged", [(31,), (40,), (33, 35, 36)])
def test_damaged_entries_are_dropped_if_the_snapshot_covers_them(
    compacted: Sample, tmp_path: Path, damaged: tuple[int, ...]
) -> None:
    path = compacted.copy(tmp_path / "n")
    for index in damaged:
        break_entry(path, index)
    plan = plan_repair(path)
    assert plan.steps == ("drop_covered",)
    carry_out(plan)
    found = loaded(path)
    assert [entry.index for entry in found.entries] == [*range(41, 61)]
    assert found.entries == compacted.content.entries[10:]
    assert (found.snapshot, found.hard_state) == (
        compacted.content.snapshot,
        compacted.content.hard_state,
    )


def test_log_that_a_snapshot_covers_whole_is_dropped(module_path: Path, tmp_path: Path) -> None:
    path = make(tmp_path / "n", last=40).path
    break_entry(path, 38)
    carry_out(plan_repair(path))
    found = loaded(path)
    assert found.entries == []
    assert found.snapshot is not None
    assert found.snapshot.meta.last_included_index == 40


def _break_both(path: Path) -> None:
    break_snapshot(path)
    break_entry(path, 33)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda path: break_entry(path, 41), "entry 41"),
        (break_snapshot, "the snapshot through entry 40"),
        (_break_both, "snapshot"),
        (lambda path: (path / "log.mark").unlink(), "log.mark"),
        (lambda path: (path / "node.key").unlink(), "node.key"),
        (lambda path: DivergenceMarkFile(path).save(5), "reinstall"),
    ],
)
def test_everything_else_is_refused_with_a_way_out(
    compacted: Sample, tmp_path: Path, change: Callable[[Path], object], text: str
) -> None:
    path = compacted.copy(tmp_path / "n")
    change(path)
    with unchanged(path), pytest.raises(RecoveryRefused, match=text) as refused:
        plan_repair(path)
    assert "add the node again" in str(refused.value) or "reinstall" in str(refused.value)


def test_leftovers_and_modes_are_repaired_and_copied(compacted: Sample, tmp_path: Path) -> None:
    path = compacted.copy(tmp_path / "n")
    (path / "log.db.new").write_bytes(b"half")
    (path / "node.key").chmod(0o644)
    assert run_here("repair", str(path)).stdout.splitlines()[-1].endswith("nothing was changed")
    assert (path / "log.db.new").exists()
    done = run_here("repair", str(path), "--yes")
    assert done.code == 0
    (backup,) = path.glob("before-repair-*")
    assert str(backup) in done.stdout
    assert (backup / "log.db.new").read_bytes() == b"half"
    assert not (path / "log.db.new").exists()
    assert (path / "node.key").stat().st_mode & 0o777 == 0o600
    assert check_data_dir(path).findings == []
    again = run_here("repair", str(path))
    assert (again.code, again.stdout) == (0, f"{path} is sound: nothing to repair\n")


def test_running_node_is_refused(compacted: Sample, tmp_path: Path) -> None:
    path = compacted.copy(tmp_path / "n")
    storage = open_storage(path)
    with pytest.raises(RecoveryRefused, match="a node runs on"):
        plan_repair(path)
    storage.close()


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    keep_all=st.booleans(),
    entries=st.frozensets(st.integers(1, 60), max_size=3),
    removed=st.frozensets(st.integers(1, 60), max_size=2),
    snapshot=st.booleans(),
)
def test_repair_never_loses_what_was_acknowledged(
    whole: Sample,
    compacted: Sample,
    tmp_path: Path,
    keep_all: bool,
    entries: frozenset[int],
    removed: frozenset[int],
    snapshot: bool,
) -> None:
    sample = whole if keep_all else compacted
    path = sample.copy(tmp_path / "n")
    first = sample.content.entries[0].index
    hit = {index for index in entries | removed if index >= first}
    for index in sorted(entries & hit):
        break_entry(path, index)
    for index in sorted(removed & hit):
        change_row(path, "DELETE FROM log WHERE idx = ?", index)
    if snapshot:
        break_snapshot(path)
    try:
        plan = plan_repair(path)
    except RecoveryRefused:
        assert hit or not keep_all
        with pytest.raises(StorageError):
            loaded(path)
        return
    if plan.steps:
        carry_out(plan)
    found, was = loaded(path), sample.content
    assert found.hard_state == was.hard_state
    covered = 0 if found.snapshot is None else found.snapshot.meta.last_included_index
    assert found.snapshot in (None, was.snapshot)
    assert [entry for entry in was.entries if entry.index > covered] == [
        entry for entry in found.entries if entry.index > covered
    ]
    assert covered > 0 or found.entries[0].index == 1
