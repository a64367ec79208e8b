"""The collector is kept from looking at a large state again and again, and cycles do not pile up for ever."""

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


class Knot:
    """Refers to itself: only the collector frees it."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture(autouse=True)
def collector_as_before() -> Iterator[None]:
    """Each test leaves the collector of the process as it was."""
    yield
    gc.unfreeze()
    gc.collect()


def test_survivors_of_a_long_collection_are_not_scanned_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scenario() -> None:
        metrics, thresholds = NodeMetrics(), gc.get_threshold()
        keeper = CollectorControl(metrics, lambda: 0, lambda: True)
        keeper.start()
        monkeypatch.setattr(garbage_collection, "FREEZE_AFTER_S", 1000.0)
        state = [[number] for number in range(10_000)]
        before = gc.get_freeze_count()
        gc.collect()
        assert gc.get_freeze_count() == before, "a short collection puts nothing aside"
        monkeypatch.setattr(garbage_collection, "FREEZE_AFTER_S", 0.0)
        gc.collect()
        assert gc.get_freeze_count() >= before + len(state)
        assert sum(metrics.gc_pause_seconds.counts) >= 2
        keeper.stop()
        assert gc.get_threshold() == thresholds
        assert gc.get_freeze_count() == 0
        gc.collect()
        assert not [item for item in gc.callbacks if getattr(item, "__self__", None) is keeper]

    asyncio.run(scenario())


def test_frozen_objects_are_collected_after_many_connections(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scenario() -> None:
        monkeypatch.setattr(garbage_collection, "_LOOK_INTERVAL_S", 0.001)
        connections, may_pause = 0, False
        keeper = CollectorControl(NodeMetrics(), lambda: connections, lambda: may_pause)
        knot = Knot()
        seen = weakref.ref(knot)
        keeper.start()  # puts the knot aside
        del knot
        gc.collect()
        assert seen() is not None, "put aside: an ordinary collection does not find it"
        connections = garbage_collection.THOROUGH_AFTER_CONNECTIONS
        await asyncio.sleep(0.05)
        assert seen() is not None, "not while the node must not pause"
        may_pause = True
        async with asyncio.timeout(20):
            while seen() is not None:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.002)
        keeper.stop()

    asyncio.run(scenario())


def test_each_collection_scans_only_new_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    """While a state grows, the collections do not grow with it: each looks at what came since the last."""
    monkeypatch.setattr(garbage_collection, "FREEZE_AFTER_S", 0.0)

    async def scenario() -> None:
        keeper = CollectorControl(NodeMetrics(), lambda: 0, lambda: True)
        keeper.start()
        looked_at: list[int] = []

        def count(phase: str, info: dict[str, int]) -> None:
            if phase == "start" and info["generation"] == 2:
                looked_at.append(sum(len(gc.get_objects(number)) for number in range(3)))

        gc.callbacks.append(count)
        state = [[[number]] for number in range(400_000)]
        gc.callbacks.remove(count)
        keeper.stop()
        assert len(looked_at) >= 3
        assert max(looked_at) < len(state) // 8

    asyncio.run(scenario())


def test_a_node_announces_that_it_takes_a_snapshot(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path) as world:
            begun = asyncio.Event()
            world.node.on_busy = begun.set
            await world.client.set_schema(string_schema("Item", "Name"))
            for number in range(300):  # more than one chunk: it is captured over several steps
                await world.client.create_entity("Item", "x" * 1000 + str(number))
            assert not begun.is_set()
            await world.client.save_snapshot(tmp_path / "copy")
            assert begun.is_set()

    asyncio.run(scenario())
