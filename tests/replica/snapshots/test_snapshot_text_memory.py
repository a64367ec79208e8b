"""A replica keeps the newest snapshot in a fraction of its text, also while it captures the next one."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterable

from qcore.machines import RegisterMachine
from qcore.replica.events import TriggerSnapshot
from tests.driver.replicas import ReplicaCluster

MB = 1_000_000


class LargeState(RegisterMachine):
    """A state of 25 MB that takes no memory."""

    def snapshot(self) -> Iterable[str]:
        lines = "".join(f'["Sensor-{at}",{at},"value",{at * 7}]\n' for at in range(25_000))
        for _ in range(25 * MB // len(lines) + 1):
            yield lines


def test_a_large_snapshot_takes_little_memory() -> None:
    driver = ReplicaCluster(1, LargeState).elect(1)
    tracemalloc.start()
    try:
        for number in (1, 2):
            driver.request(number, '{"op":"set","key":"k","value":"v"}')
            driver.step(TriggerSnapshot(keep_entries=0))
            driver.disk.snapshots.clear()  # the test's disk records all of them
        held, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    snapshot = driver.replica.core.snapshot
    assert snapshot is not None
    assert snapshot.meta.last_included_index == driver.replica.applied_index
    assert len(snapshot.data) > 25 * MB
    assert held < 10 * MB
    assert most < 20 * MB, "two compressed texts, and a few parts"
