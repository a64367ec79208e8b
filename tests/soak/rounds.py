"""One round of a soak: load and faults for a while, then quiet, then every check."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from qcore.client.client import Client
from qcore.errors import WatchCompacted
from qcore.processes import wait_for
from tests.process.support.load import Load
from tests.soak.availability import longest_pause_s, outage_s
from tests.soak.faults import Fault, Scene
from tests.soak.kept_values import KeptValues

#: The longest time without an acknowledged write. No fault takes the majority away for so long; only restarts of all
#: nodes on a busy machine come near it.
PAUSE_LIMIT_S: Final = 45.0


class CounterWatch:
    """Watches the counter of a load: every value must come once, in order.

    A watcher that was away for too long learns that changes were compacted, and begins again.
    """

    def __init__(self, scene: Scene, load: Load) -> None:
        self._scene, self._load = scene, load
        #: The values since each start.
        self.runs: list[list[int]] = []
        self.compacted = 0
        self._failure: BaseException | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()
        wait_for(lambda: bool(self.runs) or self._failure is not None, 30, "the watch to begin")

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._watch())
        except asyncio.CancelledError:
            return
        except BaseException as error:  # noqa: BLE001 - `finish` raises it in the thread of the soak
            self._failure = error

    async def _watch(self) -> None:
        self._task = asyncio.current_task()
        cluster = self._scene.cluster
        async with Client(cluster.cluster.endpoints, tls=cluster.tls) as client:
            while True:
                entity = self._load.counter
                async with client.watch(entity=entity, field_type="Count") as changes:
                    self.runs.append([])
                    try:
                        async for change in changes:
                            assert isinstance(change.current_value, int)
                            self.runs[-1].append(change.current_value)
                    except WatchCompacted:
                        self.compacted += 1

    def finish(self, last: int) -> None:
        """Wait for the last value, and check all that came.

        Raises:
            AssertionError: a change was lost, came twice or in another order.
        """
        wait_for(
            lambda: self._failure is not None or (self.runs[-1] and self.runs[-1][-1] == last),
            60,
            f"the watcher to see the counter at {last}",
        )
        if self._failure is not None:
            raise self._failure
        task = self._task
        assert task is not None
        self._loop.call_soon_threadsafe(task.cancel)
        self._thread.join(30)
        for values in self.runs:
            expected = list(range(values[0], values[-1] + 1)) if values else []
            assert values == expected, f"a watch lost, repeated or reordered changes: {values}"

    _task: asyncio.Task[None] | None = None


@dataclass
class Totals:
    """What all rounds did and found."""

    rounds: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    increments: int = 0
    changes_seen: int = 0
    watches_compacted: int = 0
    converge_s: list[float] = field(default_factory=list)
    #: From the kill of a leader to the response to the first write that began after it, seconds.
    outages_s: list[float] = field(default_factory=list)
    #: The longest time without an acknowledged write, by round, seconds.
    pauses_s: list[float] = field(default_factory=list)
    kept: KeptValues = field(default_factory=KeptValues)


def run_round(
    scene: Scene,
    totals: Totals,
    next_fault: Callable[[], Fault],
    seconds: float,
    report: Callable[[str], None],
) -> None:
    """Run one round.

    Raises:
        AssertionError: a check failed.
        QcoreError: the cluster did not recover.
    """
    cluster = scene.cluster
    end = time.monotonic() + seconds
    with Load(cluster.cluster.endpoints, clients=scene.clients, tls=cluster.tls) as load:
        watch = CounterWatch(scene, load)
        watch.start()
        while time.monotonic() < end:
            fault = next_fault()
            report(fault.__name__)
            fault(scene)
            totals.faults[fault.__name__] += 1
            scene.wait(0, 1)
        cluster.heal()
        cluster.remove_spare()
        load.wait_acknowledged(20)
        stopped_us = time.monotonic_ns() // 1000
    check_availability(scene, totals, load, stopped_us)
    began = time.monotonic()
    load.read_all()
    load.check()
    assert load.final_count is not None
    watch.finish(load.final_count)
    cluster.cluster.wait_converged(120)
    totals.converge_s.append(time.monotonic() - began)
    check_nodes(scene)
    totals.rounds += 1
    totals.outcomes.update(load.outcomes)
    totals.increments += load.increments
    totals.changes_seen += sum(map(len, watch.runs))
    totals.watches_compacted += watch.compacted
    totals.kept.add(load.final_values())


def check_availability(scene: Scene, totals: Totals, load: Load, stopped_us: int) -> None:
    """Note how long the cluster took no writes.

    Raises:
        AssertionError: it was too long.
    """
    outages = [outage_s(load.operations, killed_us) for killed_us in scene.leader_killed_us]
    scene.leader_killed_us.clear()
    totals.outages_s += [outage for outage in outages if outage is not None]
    pause_s = longest_pause_s(load.operations, stopped_us)
    assert pause_s < PAUSE_LIMIT_S, f"no write was acknowledged for {pause_s:.1f} s"
    totals.pauses_s.append(pause_s)


def check_nodes(scene: Scene) -> None:
    """Compare the states of the members, and search their logs for what must never be there.

    Raises:
        AssertionError: the states differ, a term had two leaders, or a node logged a traceback.
    """
    scene.cluster.command("cluster", "hash")
    leaders: dict[int, set[int]] = {}
    for node in scene.cluster.nodes.values():
        text = node.log_text()
        assert "Traceback" not in text, f"node {node.node_id} logged a traceback"
        for term in re.findall(r"term=(\d+) role=leader role changed", text):
            leaders.setdefault(int(term), set()).add(node.node_id)
    double = {term: nodes for term, nodes in leaders.items() if len(nodes) > 1}
    assert not double, f"terms with two leaders: {double}"
