"""Clusters of the key-value machine."""

from __future__ import annotations

import json
from typing import Any  # JSON objects

from qcore.core.version import LATEST_RULES
from qcore.machines.kv.kv_machine import KeyValueMachine
from tests.driver.replicas import ReplicaCluster, ReplicaDriver


class KeyValueCluster(ReplicaCluster):
    """Three nodes; the first one leads.

    Args:
        rules: the apply rules.
        snapshot_entries: the policy of snapshots.
    """

    def __init__(self, rules: int = LATEST_RULES, snapshot_entries: int = 0) -> None:
        super().__init__(machine=KeyValueMachine, rules=rules, snapshot_entries=snapshot_entries)
        self.elect(1)

    def send(self, driver: ReplicaDriver, **command: object) -> dict[str, Any]:
        """Send a command to a node, and return its result."""
        number = 1_000_000 + len(driver.replies)
        driver.request(number, json.dumps(command))
        self.settle()
        (reply,) = (reply for reply in driver.replies if reply.request_id == number)
        assert reply.result is not None, reply
        result: dict[str, Any] = json.loads(reply.result)
        return result

    def put(self, *keys: str, driver: ReplicaDriver | None = None) -> int:
        """Set each key, and return the newest revision."""
        revision = 0
        for key in keys:
            result = self.send(driver or self.drivers[1], op="put", key=key, value="x")
            revision = result["revision"]
        self.pass_time(60)
        return revision


def keys(driver: ReplicaDriver) -> list[str]:
    """The keys in the state of a node."""
    answer = json.loads(driver.replica.machine.query('{"op":"range","prefix":""}'))
    return [kv["key"] for kv in answer["kvs"]]
