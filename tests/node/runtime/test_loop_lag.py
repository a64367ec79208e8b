"""Stalls of the event loop are measured, and attributed to the node or to the machine."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from qcore.node.observability.logs import NodeLog
from qcore.node.observability.metrics import NodeMetrics
from qcore.node.runtime import loop_lag
from qcore.node.runtime.loop_lag import PROBE_INTERVAL_S, LoopLag, RunQueue
from tests.node.test_node import running

STALL_S = 0.1


def sleep() -> None:
    """Block the loop without computing, as a blocking system call does."""
    time.sleep(STALL_S)


def compute() -> None:
    """Block the loop by computing this long, whatever time other processes take the processor for."""
    end = time.thread_time() + STALL_S
    while time.thread_time() < end:
        pass


def watched(stall: Callable[[], None], warn_after_s: float = 10.0) -> NodeMetrics:
    """The metrics of a loop that stalls once and does nothing else."""

    async def scenario() -> NodeMetrics:
        metrics = NodeMetrics()
        lag = LoopLag(metrics, NodeLog(1), warn_after_s)
        lag.start()
        before = sum(metrics.stall_seconds.counts)
        asyncio.get_running_loop().call_soon(stall)
        while sum(metrics.stall_seconds.counts) == before:  # noqa: ASYNC110 - the watch has no event for it
            await asyncio.sleep(0.001)
        lag.stop()
        return metrics

    return asyncio.run(scenario())


@pytest.mark.parametrize("stall", [sleep, compute])
def test_a_stall_is_measured_and_attributed_to_the_node(stall: Callable[[], None]) -> None:
    metrics = watched(stall)
    assert metrics.stall_seconds.largest >= STALL_S - PROBE_INTERVAL_S
    assert metrics.stall_own_seconds.largest > 0


def test_waiting_for_a_cpu_is_not_attributed_to_the_node(monkeypatch: pytest.MonkeyPatch) -> None:
    began = time.monotonic()
    monkeypatch.setattr(RunQueue, "waited_s", lambda _queue: time.monotonic() - began)
    metrics = watched(sleep)
    assert metrics.stall_seconds.largest >= STALL_S - PROBE_INTERVAL_S
    assert metrics.stall_own_seconds.largest < STALL_S - PROBE_INTERVAL_S


def test_a_stopped_process_is_not_blamed_for_its_stall() -> None:
    def stopped() -> None:
        time.sleep(STALL_S)
        os.kill(os.getpid(), signal.SIGCONT)  # this ends a SIGSTOP

    metrics = watched(stopped)
    assert metrics.stall_seconds.largest >= STALL_S - PROBE_INTERVAL_S
    assert metrics.stall_own_seconds.largest < STALL_S - PROBE_INTERVAL_S


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux reports it")
def test_the_kernel_reports_time_spent_waiting_for_a_cpu() -> None:
    """Two processes on one processor: each waits while the other uses it."""
    rival = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(rival.pid, {min(allowed)})
        os.sched_setaffinity(0, {min(allowed)})
        queue = RunQueue()
        before, deadline = queue.waited_s(), time.monotonic() + 20
        while queue.waited_s() - before < 0.05:
            assert time.monotonic() < deadline
        queue.close()
    finally:
        os.sched_setaffinity(0, allowed)
        rival.kill()
        rival.wait()


def test_without_kernel_statistics_the_node_is_blamed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(loop_lag, "_SCHEDULER_STATISTICS", tmp_path / "missing")
    metrics = watched(sleep)
    assert metrics.stall_own_seconds.largest == metrics.stall_seconds.largest


def test_a_long_stall_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="qcore.node"):
        watched(sleep, warn_after_s=STALL_S / 2)
    (record,) = [item for item in caplog.records if item.getMessage() == "event loop stalled"]
    fields = record.__dict__["qcore_fields"]
    assert fields["seconds"] >= STALL_S - PROBE_INTERVAL_S
    assert fields["computed_seconds"] < STALL_S


def test_a_node_shows_its_stalls_on_both_pages(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path) as world:
            seen = world.node.metrics_object()["qcore"]["event_loop_stall_seconds_max"]  # type: ignore[index,call-overload]  # JSON
            time.sleep(STALL_S)  # noqa: ASYNC251 - the stall
            await asyncio.sleep(2 * PROBE_INTERVAL_S)
            page = world.node.exposition()
            after = world.node.metrics_object()["qcore"]["event_loop_stall_seconds_max"]  # type: ignore[index,call-overload]  # JSON
            assert after >= max(seen, STALL_S - PROBE_INTERVAL_S)  # type: ignore[type-var,operator]  # JSON
            assert (
                f"qcore_event_loop_stall_seconds_max {world.node.metrics.stall_seconds.largest!r}"
                in page
            )
            for name in ("qcore_event_loop_stall_own_seconds", "qcore_raft_leader_gap_seconds"):
                assert f"# TYPE {name} histogram" in page
                assert f"# TYPE {name}_max gauge" in page

    asyncio.run(scenario())
