"""Clusters with short histories, and watchers that note what they receive."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import ClassVar

from qcore.core import RaftConfig
from qcore.errors import QcoreError, WatchCompacted
from qcore.replica import ReplicaConfig
from qcore.replica.events import BeginWatch, EndWatch, Notice, Reply, WatchEnded
from qcore.replica.watches.change_history import Position
from tests.driver.replicas import ReplicaCluster, ReplicaDriver


def put(key: str, value: object) -> str:
    """A command that sets a register."""
    return json.dumps({"op": "set", "key": key, "value": value})


class WatchedCluster(ReplicaCluster):
    """A cluster of registers whose nodes have these bounds.

    Args:
        changes, size_bytes: the bounds of the history.
        watches: the most watches at a node.
        snapshot_entries: the policy of snapshots.
        size: how many nodes.
    """

    _raft: ClassVar[RaftConfig] = RaftConfig(1)

    def __init__(
        self,
        *,
        changes: int = 1000,
        size_bytes: int = 1 << 20,
        watches: int = 1000,
        snapshot_entries: int = 0,
        size: int = 3,
    ) -> None:
        self._bounds = (changes, size_bytes, watches)
        super().__init__(size, snapshot_entries=snapshot_entries, raft=self._raft)

    def _config(self, node_id: int) -> ReplicaConfig:
        changes, size_bytes, watches = self._bounds
        return replace(
            super()._config(node_id),
            watch_history_changes=changes,
            watch_history_bytes=size_bytes,
            max_watches=watches,
        )

    def write(self, driver: ReplicaDriver, key: str, *values: object) -> int:
        """Set a register to each value, and return the index of the last command."""
        for value in values:
            driver.request(9_000_000, put(key, value))
            self.settle()
            reply = driver.replies.pop()
            assert reply.error is None, reply
        self.pass_time(60)
        return reply.index


class Watcher:
    """One watch at one node.

    Args:
        driver: the node.
        number: the number of the watch and of its request.
        topic: the register.
        after: see `BeginWatch`.
    """

    def __init__(
        self,
        driver: ReplicaDriver,
        number: int,
        topic: str = "x",
        after: Position | None = None,
        timeout_ms: int = 1000,
    ) -> None:
        self.driver = driver
        self.number = number
        driver.step(BeginWatch(number, number, topic, after, timeout_ms))

    def end(self) -> None:
        """End the watch."""
        self.driver.step(EndWatch(self.number))

    @property
    def replies(self) -> list[Reply]:
        """The outcomes of the request: one at most, unless there is a fault."""
        return [reply for reply in self.driver.replies if reply.request_id == self.number]

    @property
    def begun_at(self) -> Position:
        """The position in the reply."""
        (reply,) = self.replies
        assert reply.error is None, reply.error
        assert reply.result is not None
        index, sequence = json.loads(reply.result)
        return index, sequence

    @property
    def rejection(self) -> QcoreError:
        """The error in the reply."""
        (reply,) = self.replies
        assert reply.error is not None, reply
        return reply.error

    @property
    def notices(self) -> list[Notice]:
        found = self.driver.notices
        return [n for n in found if isinstance(n, Notice) and n.watch_id == self.number]

    @property
    def places(self) -> list[Position]:
        """Where the changes are that it received."""
        return [(notice.index, notice.sequence) for notice in self.notices]

    @property
    def values(self) -> list[object]:
        """The values that it received."""
        return [json.loads(notice.body)["value"] for notice in self.notices]

    @property
    def ended(self) -> list[QcoreError]:
        """The errors that ended it: one at most, unless there is a fault."""
        found = self.driver.notices
        return [e.error for e in found if isinstance(e, WatchEnded) and e.watch_id == self.number]

    @property
    def compacted(self) -> bool:
        """Whether the node no longer had the changes that it needed."""
        errors = [*self.ended, *(reply.error for reply in self.replies if reply.error)]
        return any(isinstance(error, WatchCompacted) for error in errors)
