"""Faults of disks: real storage and the simulated disk report the same errors, and keep the same writes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.storage.both_disks.rows import BATCH, BEFORE, ROWS, Outcome, Row, run_row
from tests.storage.both_disks.simulated_disk import SimulatedDisk
from tests.storage.faults import ROOT, build, environment, unavailable_reason

LEFT = list(BEFORE[1:])  # the snapshot has replaced the first entry


def check(row: Row, outcome: Outcome) -> None:
    assert outcome.events == list(row.events)
    assert outcome.start == row.start
    assert row.named in outcome.text
    assert not outcome.changed, "a start must find what was written"
    kept: dict[str, list[list[int] | None]] = {
        "all": [[*LEFT, *BATCH]],
        "before": [LEFT],
        "either": [LEFT, [*LEFT, *BATCH]],
        "nothing": [None],
    }
    assert outcome.entries in kept[row.kept]


@pytest.fixture(scope="module")
def real_outcomes(
    tmp_path_factory: pytest.TempPathFactory, memory_root: Path
) -> Mapping[str, Outcome]:
    """The outcome of every row with real storage."""
    if unavailable_reason() is not None:
        pytest.skip(unavailable_reason() or "")
    library = build(tmp_path_factory.mktemp("layer"))
    work = memory_root / "both_disks"
    work.mkdir(parents=True)
    done = subprocess.run(
        [sys.executable, "-m", "tests.storage.both_disks.real_disk", str(work)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment(library),
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert all(len(pair) == 2 for pair in found), done.stderr
    return {name: Outcome(**outcome) for name, outcome in found}


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_real_storage_follows_the_table(row: Row, real_outcomes: Mapping[str, Outcome]) -> None:
    check(row, real_outcomes[str(row)])


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_the_simulated_disk_follows_the_table(row: Row) -> None:
    for seed in range(4):
        disk = SimulatedDisk(seed)
        check(row, run_row(row, disk))
        assert (disk.fault.acted > 0) == (row.when != "power" and row.fault != "nothing")


def test_writes_of_a_failed_sync_survive_on_some_seeds_only() -> None:
    (row,) = [row for row in ROWS if row.fault == "sync"]
    kept = {tuple(run_row(row, SimulatedDisk(seed)).entries or ()) for seed in range(8)}
    assert kept == {tuple(LEFT), (*LEFT, *BATCH)}
