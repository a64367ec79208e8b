"""The watch over the event loop: a stall is noticed, and whether this process computed or waited."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from qcore.node.logs import NodeLog
from qcore.node.loop_lag import PROBE_INTERVAL_S, LoopLag
from qcore.node.metrics import NodeMetrics
from tests.node.test_node import running

STALL_S = 0.1


def sleep() -> None:
    """Hold the loop without computing, as a blocking system call does."""
    time.sleep(STALL_S)


def compute() -> None:
    """Hold the loop by computing, however long other processes hold the processor."""
    end = time.process_time() + STALL_S
    while time.process_time() < end:
        pass


def watched(stall: Callable[[], None], warn_after_s: float = 10.0) -> NodeMetrics:
    """What the watch counts when a loop that does nothing else is stalled once."""

    async def scenario() -> NodeMetrics:
        metrics = NodeMetrics()
        lag = LoopLag(metrics, NodeLog(1), warn_after_s)
        lag.start()
        before = sum(metrics.stall_seconds.counts)
        asyncio.get_running_loop().call_soon(stall)
        while sum(metrics.stall_seconds.counts) == before:  # noqa: ASYNC110 - the watch tells nobody
            await asyncio.sleep(0.001)
        lag.stop()
        return metrics

    return asyncio.run(scenario())


def test_a_loop_that_computes_is_seen_as_stalled_and_as_computing() -> None:
    metrics = watched(compute)
    assert metrics.stall_seconds.largest >= STALL_S - PROBE_INTERVAL_S
    assert metrics.stall_cpu_seconds.largest >= STALL_S - PROBE_INTERVAL_S


def test_a_loop_that_waits_is_seen_as_stalled_and_not_as_computing() -> None:
    metrics = watched(sleep)
    assert metrics.stall_seconds.largest >= STALL_S - PROBE_INTERVAL_S
    assert metrics.stall_cpu_seconds.largest < STALL_S - PROBE_INTERVAL_S


def test_a_long_stall_gets_a_line_that_tells_both(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="qcore.node"):
        watched(sleep, warn_after_s=STALL_S / 2)
        (record,) = [item for item in caplog.records if item.getMessage() == "event loop stalled"]
    fields = record.__dict__["qcore_fields"]
    assert fields["seconds"] >= STALL_S - PROBE_INTERVAL_S
    assert fields["cpu_seconds"] < fields["seconds"]


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
            for name in ("qcore_event_loop_stall_cpu_seconds", "qcore_raft_leader_gap_seconds"):
                assert f"# TYPE {name} histogram" in page
                assert f"# TYPE {name}_max gauge" in page

    asyncio.run(scenario())
