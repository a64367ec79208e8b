"""Concurrent clients in a background thread, and the history of what they saw."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from qcore.errors import OutcomeUnknown, QcoreError
from qcore.node.client import EntityId, QcoreClient
from qcore.sim.linearizability import Operation, check_history
from qcore.sim.linearizability.operation import OperationKind, Value
from tests.process.wire import read_field, string_schema, write_field

#: One operation is given up after this long; longer than any outage that a test makes.
OPERATION_TIMEOUT_S = 20.0


def schema_of_item() -> dict[str, object]:
    """A type with a text register and a counter."""
    schema = string_schema("Item", "Name", "Text")
    schema["fields"]["Count"] = {
        "Int": {
            "field_type": "Count",
            "default_value": 0,
            "rank": 9,
            "read_permission": None,
            "write_permission": None,
        }
    }
    return schema


class Load:
    """Clients that write, read and add to a few registers until told to stop.

    A context manager: entering creates the entities and starts the clients, leaving stops them.

    Args:
        endpoints: of all nodes.
        clients: how many run at once, each with its own connections.
        items: how many entities, each with a text register and a counter.
        pause_s: between two operations of a client.
    """

    def __init__(
        self, endpoints: Sequence[str], clients: int = 6, items: int = 3, pause_s: float = 0.004
    ) -> None:
        self._endpoints = list(endpoints)
        self._clients = clients
        self._items = items
        self._pause_s = pause_s
        self._entities: list[EntityId] = []
        self._operations: list[Operation] = []
        self._stop = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._guard(self._run), daemon=True)
        self.outcomes: Counter[str] = Counter()

    def __enter__(self) -> Self:
        asyncio.run(self._create())
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Let every client finish its operation, then end. Raises what a client raised."""
        self._stop.set()
        self._thread.join(OPERATION_TIMEOUT_S + 10)
        assert not self._thread.is_alive(), "the clients did not stop"
        if self._failure is not None:
            raise self._failure

    def wait_acknowledged(self, number: int, timeout_s: float = 60.0) -> None:
        """Wait until this many more operations were acknowledged."""
        goal = self.outcomes["ok"] + number
        deadline = time.monotonic() + timeout_s
        while self.outcomes["ok"] < goal:
            if self._failure is not None:
                raise self._failure
            assert time.monotonic() < deadline, f"only {dict(self.outcomes)} within {timeout_s} s"
            time.sleep(0.01)

    def read_all(self) -> None:
        """Read every register once more, as one last client, for the history."""
        asyncio.run(self._read_all())

    def check(self) -> None:
        """Fails unless the history is linearizable (which implies that no acknowledged write was lost)."""
        verdict = check_history(self._operations)
        assert verdict.ok, f"{verdict.result} at {verdict.key}: {verdict.explanation}"

    # -- inside ----------------------------------------------------------------------------------

    def _guard(self, target: Callable[[], None]) -> Callable[[], None]:
        def run() -> None:
            try:
                target()
            except BaseException as error:  # noqa: BLE001 - handed to the test's own thread by `stop`
                self._failure = error

        return run

    async def _create(self) -> None:
        async with QcoreClient(self._endpoints, timeout_s=OPERATION_TIMEOUT_S) as client:
            await client.set_schema(schema_of_item())
            for number in range(self._items):
                self._entities.append(await client.create_entity("Item", f"item{number}"))

    def _run(self) -> None:
        async def all_clients() -> None:
            await asyncio.gather(*(self._client(number) for number in range(self._clients)))

        asyncio.run(all_clients())

    async def _client(self, number: int) -> None:
        rng = random.Random(number)
        turned = self._endpoints[number % len(self._endpoints) :] + self._endpoints
        endpoints = list(dict.fromkeys(turned))
        async with QcoreClient(endpoints, timeout_s=OPERATION_TIMEOUT_S) as client:
            op_id = 0
            while not self._stop.is_set():
                op_id += 1
                item = rng.randrange(self._items)
                kind: OperationKind = rng.choice(("write", "write", "read", "add", "read"))
                counter = kind == "add" or (kind == "read" and rng.random() < 0.5)
                await self._one(client, number, op_id, item, kind, counter)
                await asyncio.sleep(self._pause_s)

    async def _read_all(self) -> None:
        async with QcoreClient(self._endpoints, timeout_s=OPERATION_TIMEOUT_S) as client:
            op_id = 0
            for item in range(self._items):
                for counter in (False, True):
                    op_id += 1
                    await self._one(client, self._clients, op_id, item, "read", counter)

    async def _one(
        self,
        client: QcoreClient,
        number: int,
        op_id: int,
        item: int,
        kind: OperationKind,
        counter: bool,
    ) -> None:
        """Carry out one operation and put it into the history."""
        entity = dict(self._entities[item])
        field = "Count" if counter else "Text"
        argument: Value = 1 if kind == "add" else f"{number}.{op_id}" if kind == "write" else None
        read = read_field(entity, field)
        if kind == "write":
            requests = [write_field(entity, field, {"String": argument})]
        elif kind == "add":
            write = write_field(entity, field, {"Int": 1})
            write["Write"]["adjust_behavior"] = "Add"
            requests = [write, read]
        else:
            requests = [read]
        invoke_us = time.monotonic_ns() // 1000
        output: Value = None
        return_us: int | None = None
        try:
            response = await client.update(requests)
        except OutcomeUnknown:
            outcome = "unknown"
        except QcoreError as error:
            self.outcomes[f"refused: {error.code}"] += 1
            return
        else:
            outcome = "ok"
            return_us = time.monotonic_ns() // 1000
            if kind != "write":
                ((_, output),) = response[-1]["Read"]["value"].items()
                # The checker's registers begin with None, the fields with their default.
                output = None if output in ("", 0) and kind == "read" else output
        self.outcomes[outcome] += 1
        key = f"{item}.{field}"
        self._operations.append(
            Operation(number, op_id, key, kind, argument, output, invoke_us, return_us)
        )
