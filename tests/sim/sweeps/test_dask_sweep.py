"""A sweep on a Dask cluster: a real scheduler and two workers, each in a process that has none of the user's files."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from qcore.errors import ConfigError
from qcore.sim import sweep
from qcore.sim.sweeps.executors import dask_executor
from qcore.sim.sweeps.executors.run_jobs import Executor
from tests.sim.sweeps.planted_machines import planted
from tests.sim.sweeps.test_sweeps import facts

_START_S = 60.0


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a scheduler with two workers."""
    folder = tmp_path_factory.mktemp("dask")
    file = folder / "scheduler.json"
    options = ["--host", "127.0.0.1", "--no-dashboard"]
    processes: list[subprocess.Popen[bytes]] = []

    def start(program: str, *arguments: str) -> None:
        command = [sys.executable, "-m", f"distributed.cli.{program}", *options, *arguments]
        with (folder / f"{len(processes)}.log").open("wb") as log:
            processes.append(subprocess.Popen(command, cwd=folder, stdout=log, stderr=log))

    start("dask_scheduler", "--port", "0", "--scheduler-file", str(file))
    until = time.monotonic() + _START_S
    try:
        while not file.exists() or not file.read_text():
            assert time.monotonic() < until, (folder / "0.log").read_text()
            time.sleep(0.05)
        address = json.loads(file.read_text())["address"]
        for _ in range(2):
            start("dask_worker", address, "--nthreads", "1", "--no-nanny")
        yield address
    finally:
        for process in reversed(processes):  # the scheduler last: workers take leave of it
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@pytest.mark.long
def test_a_dask_cluster_gives_the_same_result(
    tmp_path: Path, scheduler: str, worker: Executor
) -> None:
    """User code ends its process and hangs there; no Dask worker is lost, and the files travel."""
    kinds = [*["fine"] * 60, "wrong", "die"]
    file = planted(tmp_path, kinds)
    here = sweep(file, range(20), executor=worker, artifacts=tmp_path / "out")
    there = sweep(
        file, range(20), executor="dask", scheduler=scheduler, artifacts=tmp_path / "out_of_dask"
    )
    assert there.workers == 2
    rows, groups = facts(there)
    assert rows == facts(here)[0]
    assert {"check", "error:ProcessDied"} == {group["cause"] for group in groups}
    for mine, its in zip(here.failures, there.failures, strict=True):
        for one, other in zip(mine.artifacts, its.artifacts, strict=True):
            assert one.name == other.name
            for name in ("planted.py", "helper_of_machine.py", "scenario.yaml"):
                assert (one / name).read_bytes() == (other / name).read_bytes()
            traces = [path / "trace.qtrace" for path in (one, other)]
            assert [path.exists() for path in traces] == [mine.cause.key == "check"] * 2


@pytest.mark.long
def test_a_run_that_hangs_on_a_cluster_is_reported(tmp_path: Path, scheduler: str) -> None:
    file = planted(tmp_path, ["hang"])
    result = sweep(
        file, [1], executor="dask", scheduler=scheduler, timeout_s=2, artifacts=tmp_path / "out"
    )
    assert [group.cause.key for group in result.failures] == ["error:Timeout"]
    assert "planted.py" in result.failures[0].cause.text


@pytest.mark.long
def test_a_cluster_with_another_qcore_is_refused(
    scheduler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dask_executor, "source_digest", lambda: "another")
    with pytest.raises(ConfigError, match="has another qcore"):
        sweep("figure_8", [1], executor="dask", scheduler=scheduler, artifacts=None)


@pytest.mark.long
def test_a_scheduler_that_does_not_answer_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dask_executor, "_CONNECT_S", 0.5)
    with pytest.raises(ConfigError, match="does not answer"):
        sweep("figure_8", [1], executor="dask", scheduler="tcp://127.0.0.1:1", artifacts=None)


def test_without_dask_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ConfigError, match=r"pip install 'qcore-raft\[dask\]'"):
        sweep("figure_8", [1], executor="dask", scheduler="tcp://127.0.0.1:1", artifacts=None)
