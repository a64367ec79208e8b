"""The simulated disk as a `LogStorage`, for the storage conformance suite."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from qcore.core.effects import Write
from qcore.core.entry import DurableState
from qcore.errors import StorageError
from qcore.sim.scenario.distributions import uniform
from qcore.sim.world.clock.engine import Engine
from qcore.sim.world.node.disk import SimDisk
from qcore.storage.interface import Identity
from qcore.storage.log_outline import LogOutline


class SimDiskStorage:
    """A synchronous storage: `write` lets simulated time pass until the disk has synced.

    `close` is a power loss, so everything that the suite finds after `reopen` was durable.
    """

    def __init__(self, node_id: int) -> None:
        self._engine = Engine()
        self._disk = SimDisk(
            self._engine, uniform(0.3, 0.6).sampler(Random(node_id)), DurableState()
        )
        self._identity = Identity(node_id, None)
        self._closed = False

    def identity(self) -> Identity:
        return self._identity

    def join_cluster(self, cluster_id: str) -> None:
        self._require_open()
        self._identity.require_can_join(cluster_id, "this simulated disk")
        self._identity = Identity(self._identity.node_id, cluster_id)

    def load(self) -> DurableState:
        self._require_open()
        return self._disk.load()

    def write(self, writes: Sequence[Write], commit: int | None = None) -> None:
        self._require_open()
        # Rejects writes that do not fit, before any is submitted.
        LogOutline.of(self._disk.load()).after(writes)
        for write in writes:
            self._disk.submit(write)
        if commit is not None:
            self._disk.save_commit(commit)
        self._disk.start_sync(commit_alone=commit is not None)
        while not self._disk.is_idle:
            self._engine.env.step()

    def close(self) -> None:
        self._disk.crash(power_loss=True)
        self._closed = True

    def reopen(self) -> SimDiskStorage:
        if not self._closed:
            raise StorageError("this simulated disk is still open: close it before reopening it")
        self._closed = False
        return self

    def _require_open(self) -> None:
        if self._closed:
            raise StorageError("this simulated disk is closed: call reopen() first")
