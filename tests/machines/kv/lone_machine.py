"""One key-value machine without a cluster."""

from __future__ import annotations

import json
from typing import Any  # JSON objects

from qcore.machines.interface import ApplyContext
from qcore.machines.kv.kv_machine import KeyValueMachine


class LoneMachine:
    """A machine that gets each command in the next log entry.

    Attributes:
        machine: the machine.
        index: the log index of the last command.
        clock_us: the cluster clock of the commands.
    """

    def __init__(self) -> None:
        self.machine = KeyValueMachine()
        self.index = 0
        self.clock_us = 1

    def send(self, **command: object) -> dict[str, Any]:
        """Apply a command, and return its result. A command that fails changes nothing."""
        self.index += 1
        before = self.machine.state_hash(), self.machine.state_bytes
        context = ApplyContext(self.index, 0, clock_us=self.clock_us)
        result: dict[str, Any] = json.loads(self.machine.apply(json.dumps(command), context))
        if not result["ok"]:
            assert (self.machine.state_hash(), self.machine.state_bytes) == before
            assert self.machine.last_changes() == ()
        return result

    def put(self, key: object, value: object = "x", **more: object) -> int:
        """Set a key, and return the revision."""
        return int(self.send(op="put", key=key, value=value, **more)["revision"])

    def ask(self, **query: object) -> dict[str, Any]:
        """The answer to a query."""
        answer: dict[str, Any] = json.loads(self.machine.query(json.dumps(query)))
        return answer

    def keys(self, **query: object) -> list[Any]:
        """The keys of a range; without arguments, all."""
        return [kv["key"] for kv in self.ask(op="range", **(query or {"prefix": ""}))["kvs"]]
