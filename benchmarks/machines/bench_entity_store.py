"""What the entity store costs a node per request: processor time in µs, the best of several runs.

    python -m benchmarks.machines.bench_entity_store [ENTITIES]

The requests are those of `benchmarks.cluster`: one field of 60 bytes. `apply` is what a follower pays, and the way of
the leader's request is what lies between the parsed envelope and the text of its answer, without log and network.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

from qcore import BUILD
from qcore.machines.entity.entity_store import EntityStore
from qcore.machines.interface import ApplyContext
from qcore.node.application import EntityApplication, EntityPerform
from qcore.store_api.quick_perform import read_perform

Json = dict[str, Any]

_ROUNDS = 9
_CALLS = 3000
_VALUE = "v" * 60
#: A field of another entity each time: a prime, so that all of them have their turn.
_STRIDE = 7919


def schema() -> Json:
    """The type of all entities."""
    rest = {"rank": 0, "read_permission": None, "write_permission": None}
    fields = {
        name: {"String": {"field_type": name, "default_value": "", **rest}}
        for name in ("Name", "Text")
    }
    body = {"entity_type": "Item", "inherit": None, "fields": fields}
    return {"SetSchema": {"entity_schema": body}}


def request(kind: str, number: int, value: object = None) -> Json:
    """An `UpdateEntity` with one read or write."""
    fields: Json = {
        "entity_id": {"typ": "Item", "id": number},
        "field_type": "Text",
        "value": value,
    }
    if kind == "Write":
        fields |= {"push_condition": "Always", "adjust_behavior": "Set"}
    fields |= {"write_time": None, "writer_id": None}
    return {"UpdateEntity": {"request": [{kind: fields}]}}


class Measured:
    """A store with entities, whose requests are measured."""

    def __init__(self, entities: int) -> None:
        self.store = EntityStore()
        self.application = EntityApplication(self.store)
        self.index = 1
        self.apply(json.dumps(schema()))
        self.numbers = [self._created(n) for n in range(entities)]
        for number in self.numbers:
            self.apply(self.command(request("Write", number, {"String": _VALUE})))
        self.store.state_hash()

    def _created(self, n: int) -> int:
        create = {"entity_type": "Item", "parent_id": None, "name": f"item {n}"}
        answer = json.loads(self.apply(self.command({"CreateEntity": create})))
        number: int = answer["CreateEntity"]["response"]["id"]
        return number

    def apply(self, command: str) -> str:
        """Apply the command of one entry."""
        self.index += 1
        return self.store.apply(command, ApplyContext(self.index, 1_000_000 + self.index))

    def command(self, body: Json) -> str:
        """The command of a request."""
        return json.dumps(body, separators=(",", ":"))

    def leader(self, envelope: Json) -> str:
        """The leader's way of a request, without log and network."""
        read = read_perform(EntityPerform, envelope)
        assert read is not None, "a frequent message is read without pydantic"
        message: Any = read[0]
        operation = self.application.operation(message.request)
        execute = self.store.query if operation.kind == "read" else self.apply
        result = execute(operation.payload)
        return self.application.success(operation.name, result)

    def figures(self) -> dict[str, float]:
        """What is measured -> µs."""
        one, two = self.numbers[len(self.numbers) // 2 :][:2]
        write, read = request("Write", one, {"String": _VALUE}), request("Read", one)
        command, query = self.command(write), self.command(read)
        count = len(self.numbers)
        others = [
            self.command(
                request("Write", self.numbers[n * _STRIDE % count], {"String": f"{n:060}"})
            )
            for n in range(_CALLS)
        ]
        thousand = self.command(request("Write", two, {"String": "v" * 1000}))
        large = self.command(request("Write", two, {"String": "v" * (1 << 19)}))
        asked = {"id": "1", "request": write}
        asked_read = {"id": "1", "request": read}
        return {
            "apply a write": best_us(lambda _: self.apply(command)),
            "apply a write, other entity each time": best_us(lambda n: self.apply(others[n])),
            "apply a write of 1,000 bytes": best_us(lambda _: self.apply(thousand)),
            "apply a write of 0.5 MiB": best_us(lambda _: self.apply(large), calls=20),
            "query a field": best_us(lambda _: self.store.query(query)),
            "a write at the leader": best_us(lambda _: self.leader(asked)),
            "a read at the leader": best_us(lambda _: self.leader(asked_read)),
        }


def best_us(step: Callable[[int], object], calls: int = _CALLS) -> float:
    """The least processor time of a call, µs."""
    best = float("inf")
    for _ in range(_ROUNDS):
        begun = time.process_time()
        for n in range(calls):
            step(n)
        best = min(best, time.process_time() - begun)
    return best / calls * 1e6


def main() -> None:
    """Print the figures as a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("entities", type=int, nargs="?", default=1000, help="in the store")
    entities = parser.parse_args().entities
    print(f"{BUILD} Python, {entities} entities\n")
    print("| | µs |\n|---|---|")
    for what, cost in Measured(entities).figures().items():
        print(f"| {what} | {cost:.2f} |")


if __name__ == "__main__":
    main()
