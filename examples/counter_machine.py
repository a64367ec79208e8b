"""Bring your own state machine: counters that only grow, in five methods."""

from collections.abc import Iterable
from hashlib import sha256
from json import dumps, loads

from qcore.machines import ApplyContext


class CounterMachine:
    """`{"name": n, "by": k}` adds k to counter n; the query is a counter's name."""

    name = "counter"  # its name in the cluster's log
    versions = (1, 1)  # the first and the last version that this code can apply

    def __init__(self) -> None:
        self.counters: dict[str, int] = {}

    def apply(self, command: str, context: ApplyContext) -> str:
        try:
            request = loads(command)
            name, by = str(request["name"]), int(request["by"])
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
            return f"bad command: {error}"  # return errors, never raise: see StateMachine.apply
        self.counters[name] = self.counters.get(name, 0) + by
        return str(self.counters[name])

    def query(self, query: str) -> str:
        return str(self.counters.get(query, 0))

    def snapshot(self) -> Iterable[str]:
        return [dumps(self.counters, sort_keys=True)]

    def restore(self, chunks: Iterable[str]) -> None:
        self.counters = loads("".join(chunks))

    def state_hash(self) -> str:
        return sha256("".join(self.snapshot()).encode()).hexdigest()
