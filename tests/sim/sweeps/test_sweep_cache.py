"""The cache of a sweep: known outcomes take no run, and a change of anything that matters makes them unknown."""

from __future__ import annotations

from pathlib import Path

import pytest

from qcore.errors import ConfigError
from qcore.sim import sweep
from qcore.sim.sweeps import outcome_cache
from qcore.sim.sweeps.executors.run_jobs import Executor, Job, Report
from tests.sim.sweeps.planted_machines import planted
from tests.sim.sweeps.test_sweeps import facts


class NoExecutor:
    """Fails the test if a run is wanted."""

    chunk_s = 1.0
    workers = 1
    wants_more = True

    def submit(self, job: Job) -> None:
        raise AssertionError(f"seeds {job.seeds} are not in the cache")

    def wait(self, timeout_s: float) -> list[Report]:
        raise AssertionError("nothing runs")

    def cancel(self) -> None:
        """There is nothing to end."""

    def close(self) -> None:
        """As above."""


def test_a_repeated_sweep_runs_nothing(tmp_path: Path, worker: Executor) -> None:
    file = planted(tmp_path / "mine", ["fine", "fine", "wrong"])
    out, cache = tmp_path / "out", tmp_path / "cache"
    first = sweep(file, range(10), executor=worker, artifacts=out, cache=cache)
    again = sweep(file, range(10), executor=NoExecutor(), artifacts=out, cache=cache)
    assert facts(again) == facts(first)
    assert first.failures[0].artifacts
    assert [row.cached for row in again.rows] == [10]
    assert again.rows[0].seeds_per_s is None
    longer = sweep(file, range(12), executor=worker, artifacts=out, cache=cache)
    assert (longer.rows[0].runs, longer.rows[0].cached) == (12, 10)


def test_a_changed_file_of_the_user_is_run_again(tmp_path: Path, worker: Executor) -> None:
    file = planted(tmp_path / "mine", ["fine"])
    cache = tmp_path / "cache"
    assert sweep(file, range(3), executor=worker, cache=cache, artifacts=None).ok
    planted(tmp_path / "mine", ["wrong"])
    changed = sweep(file, range(3), executor=worker, cache=cache, artifacts=None)
    assert (changed.rows[0].cached, changed.rows[0].failures) == (0, 3)


def test_a_changed_qcore_is_run_again(
    tmp_path: Path, worker: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = planted(tmp_path / "mine", ["fine"])
    cache = tmp_path / "cache"
    sweep(file, range(3), executor=worker, cache=cache, artifacts=None)
    monkeypatch.setattr(outcome_cache, "source_digest", lambda: "another")
    assert sweep(file, range(3), executor=worker, cache=cache, artifacts=None).rows[0].cached == 0


def test_a_cut_line_of_the_cache_is_run_again(tmp_path: Path, worker: Executor) -> None:
    file = planted(tmp_path / "mine", ["fine", "wrong"])
    cache = tmp_path / "cache"
    first = sweep(file, range(4), executor=worker, cache=cache, artifacts=None)
    (stored,) = cache.iterdir()
    stored.write_text(stored.read_text()[:-20])
    again = sweep(file, range(4), executor=worker, cache=cache, artifacts=None)
    assert again.rows[0].cached == 3
    assert facts(again) == facts(first)


def test_a_cache_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("")
    with pytest.raises(ConfigError, match="cannot use the cache"):
        sweep("figure_8", [1], jobs=1, cache=tmp_path / "cache")
