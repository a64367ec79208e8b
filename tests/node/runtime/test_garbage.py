"""The collector does not visit a large state repeatedly, and garbage cycles do not accumulate."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest

from qcore.node.observability.metrics import NodeMetrics
from qcore.node.runtime import garbage_collection
from qcore.node.runtime.garbage_collection import CollectorControl
from tests.node.test_node import running
from tests.process.support.wire_client import string_schema


class Cycle:
    """Refers to itself: only the collector frees it."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture(autouse=True)
def restored_collector() -> Iterator[None]:
    """Restores the collector of the process after each test."""
    yield
    gc.unfreeze()
    gc.collect()


def test_survivors_of_a_long_collection_are_not_scanned_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scenario() -> None:
        metrics, thresholds = NodeMetrics(), gc.get_threshold()
        collector = CollectorControl(metrics, lambda: 0, lambda: True)
        collector.start()
        monkeypatch.setattr(garbage_collection, "FREEZE_AFTER_S", 1000.0)
        state = [[number] for number in range(10_000)]
        before = gc.get_freeze_count()
        gc.collect()
        assert gc.get_freeze_count() == before, "a short collection freezes nothing"
        monkeypatch.setattr(garbage_collection, "FREEZE_AFTER_S", 0.0)
        gc.collect()
        assert gc.get_freeze_count() >= before + len(state)
        assert sum(metrics.gc_pause_seconds.counts) >= 2
        collector.stop()
        assert gc.get_threshold() == thresholds
        assert gc.get_freeze_count() == 0
        gc.collect()
        assert not [item for item in gc.callbacks if getattr(item, "__self__", None) is collector]

    asyncio.run(scenario())


def test_frozen_objects_are_collected_after_many_connections(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scenario() -> None:
        monkeypatch.setattr(garbage_collection, "_LOOK_INTERVAL_S", 0.001)
        connections, may_pause = 0, False
        collector = CollectorControl(NodeMetrics(), lambda: connections, lambda: may_pause)
        cycle = Cycle()
        seen = weakref.ref(cycle)
        collector.start()  # freezes the cycle
        del cycle
        gc.collect()
        assert seen() is not None, "frozen: an ordinary collection does not find it"
        connections = garbage_collection.THOROUGH_AFTER_CONNECTIONS
        await asyncio.sleep(0.05)
        assert seen() is not None, "no thorough collection while the node must not pause"
        may_pause = True
        async with asyncio.timeout(20):
            while seen() is not None:  # noqa: ASYNC110 - there is no event for it
                await asyncio.sleep(0.002)
        collector.stop()

    asyncio.run(scenario())


def test_each_collection_scans_only_new_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    """While a state grows, collections do not take longer: each visits the objects made since the last one."""
    monkeypatch.setattr(garbage_collection, "FREEZE_AFTER_S", 0.0)

    async def scenario() -> None:
        collector = CollectorControl(NodeMetrics(), lambda: 0, lambda: True)
        collector.start()
        visited: list[int] = []

        def count(phase: str, info: dict[str, int]) -> None:
            if phase == "start" and info["generation"] == 2:
                visited.append(sum(len(gc.get_objects(number)) for number in range(3)))

        gc.callbacks.append(count)
        state = [[[number]] for number in range(400_000)]
        gc.callbacks.remove(count)
        collector.stop()
        assert len(visited) >= 3
        assert max(visited) < len(state) // 8

    asyncio.run(scenario())


def test_a_node_announces_that_it_takes_a_snapshot(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path) as world:
            begun = asyncio.Event()
            world.node.on_busy(begun.set)
            await world.client.set_schema(string_schema("Item", "Name"))
            for number in range(300):  # more than one chunk: it is captured over several steps
                await world.client.create_entity("Item", "x" * 1000 + str(number))
            assert not begun.is_set()
            await world.client.save_snapshot(tmp_path / "copy")
            assert begun.is_set()

    asyncio.run(scenario())
