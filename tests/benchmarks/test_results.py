"""What the benchmarks measured becomes a table, a picture and a line of the history."""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib.image
import pytest

from benchmarks.record.history import HISTORY, Run, append, read
from benchmarks.record.results import lines_of, report, table, this_run
from benchmarks.support.results import VARIABLE, load, save

ROW = {
    "case": "writes, 1 in flight",
    "errors": 0,
    "per_s": 900.0,
    "p50_ms": 1.1,
    "p99_ms": 2.2,
    "client_us": 90.0,
    "leader_us": 700.0,
    "follower_us": 400.0,
}
PEER = {
    "peer": "PySyncObj",
    "what": "writes, 1 in flight",
    "unit": "writes/s",
    "qcore": 800.0,
    "other": 1600.0,
    "ratio": 0.5,
    "differs": "much",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    save("core", {"one_at_a_time": {"operations_per_s": 28_000}})
    save("sim", [{"nodes": 5, "writes_per_s": 50, "simulated_s_per_s": 63.0}])
    etcd = {**ROW, "per_s": 1200.0, "system": "etcd", "qcore_ratio": 0.76}
    save("cluster", [{**ROW, "system": "qcore"}, etcd])
    save("peers", [PEER])
    return tmp_path


def test_a_benchmark_that_runs_alone_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    save("core", {})
    assert load(tmp_path, "core") is None


def test_the_table_has_each_figure_beside_its_peer(folder: Path) -> None:
    assert table(lines_of(folder)).splitlines()[2:] == [
        "| core: one_at_a_time | operations/s | 28,000 | | | |",
        "| sim: 5 nodes, 50 writes/s | simulated s per s | 63 | | | |",
        "| cluster: writes, 1 in flight | per s | 900 | etcd | 1,200 | 0.76 |",
        "| cluster: writes, 1 in flight | writes/s | 800 | PySyncObj | 1,600 | 0.50 |",
    ]


def test_the_history_keeps_figures_ratios_and_the_build(folder: Path) -> None:
    run = this_run(lines_of(folder), folder)
    assert run.figures == {
        "core: one_at_a_time": 28_000,
        "sim: 5 nodes, 50 writes/s": 63.0,
        "cluster: writes, 1 in flight": 900.0,
        "cluster: writes, 1 in flight ÷ etcd": 0.76,
        "cluster: writes, 1 in flight ÷ PySyncObj": 0.5,
        "cluster: writes, 1 in flight, p50_ms": 1.1,
        "cluster: writes, 1 in flight, p99_ms": 2.2,
    }
    path = folder / "history.jsonl"
    append(path, run)
    append(path, run)
    assert read(path) == [run, run]


def test_a_report_writes_a_table_and_a_picture(folder: Path) -> None:
    report(folder)
    assert "| 0.76 |" in (folder / "results.md").read_text()
    height, width, _ = matplotlib.image.imread(folder / "results.png").shape
    assert width > 800
    assert height > 200


def test_the_recorded_history_can_be_read() -> None:
    for line, run in zip(HISTORY.read_text().splitlines(), read(HISTORY), strict=True):
        assert isinstance(run, Run)
        assert run.figures
        assert json.loads(line)["commit"] == run.commit
