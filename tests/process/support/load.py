"""Concurrent clients in a background thread, and the history of their operations.

There are two kinds. Plain clients write, read and add to registers. Their history must be linearizable, which implies
that no acknowledged write is lost. Clients with a session only increment one counter, and repeat each increment until
its reply arrives. All their replies together must be 1, 2, 3, ...: a gap means that an increment was applied twice, and
a repetition means that one was lost or got a wrong reply.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, cast

from qcore.client.client import Client
from qcore.client.sessions.session import ClientSession
from qcore.errors import OutcomeUnknown, QcoreError
from qcore.machines.entity.state.entity_id import EntityId
from qcore.security.tls import TlsFiles
from qcore.sim.linearizability import Operation, check_history
from qcore.sim.linearizability.operation import OperationKind, Value
from tests.process.support.wire_client import read_field, string_schema, write_field

#: The timeout of an operation, longer than any outage in a test.
OPERATION_TIMEOUT_S = 20.0
#: How long an increment in a session is repeated. Without a response by then, the test fails.
INCREMENT_TIMEOUT_S = 60.0
_ATTEMPT_TIMEOUT_S = 2.0


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


def increment(entity: Mapping[str, str | int]) -> list[dict[str, Any]]:
    """The requests of an `UpdateEntity` that adds one to the counter and reads the result."""
    write = write_field(dict(entity), "Count", {"Int": 1})
    write["Write"]["adjust_behavior"] = "Add"
    return [write, read_field(dict(entity), "Count")]


def check_counts(counted: Sequence[Sequence[int]], final: int) -> None:
    """Fail unless every increment was applied exactly once.

    Args:
        counted: by client, the replies to its increments: the counter after each.
        final: the counter after the last increment. Every increment must have a reply.
    """
    for number, counts in enumerate(counted):
        assert list(counts) == sorted(counts), f"client {number} saw the counter fall: {counts}"
    replies = Counter(count for counts in counted for count in counts)
    twice = [count for count, times in sorted(replies.items()) if times > 1]
    assert not twice, f"increments were lost: several replies were {twice[:10]}"
    missing = sorted(set(range(1, final + 1)) - set(replies))
    assert not missing, f"increments were applied twice: no reply was {missing[:10]}"
    assert len(replies) == final, (
        f"{len(replies)} increments were acknowledged, but the counter is {final}"
    )


async def _create_item(client: Client, name: str) -> EntityId:
    """Create an entity with `Perform`, which 0.1.0 knows too."""
    fields = {"entity_type": "Item", "parent_id": None, "name": name}
    created = (await client.perform({"CreateEntity": fields}))["CreateEntity"]
    assert created["error"] is None, created
    return EntityId(**created["response"])


class Load:
    """Clients that write, read and add to a few registers until they are stopped.

    As a context manager, it creates the entities and starts the clients on entry, and stops the clients on exit.

    Args:
        endpoints: the addresses of all nodes.
        clients: the number of concurrent plain clients, each with separate connections.
        items: the number of entities, each with a text register and a counter.
        pause_s: the pause between two operations of a client.
        sessions: the number of clients that increment, each in a separate session.
        tls: the files with which the clients connect.
    """

    def __init__(
        self,
        endpoints: Sequence[str],
        clients: int = 6,
        items: int = 3,
        pause_s: float = 0.004,
        sessions: int = 2,
        tls: TlsFiles | None = None,
    ) -> None:
        self._endpoints = list(endpoints)
        self._tls = tls
        self._clients = clients
        self._sessions = sessions
        #: The responses to the increments, in order, by client.
        self.counted: list[list[int]] = [[] for _ in range(sessions)]
        self._counter = EntityId("Item", 0)
        self._final_count: int | None = None
        self._items = items
        self._pause_s = pause_s
        self._entities: list[EntityId] = []
        #: The history of the plain clients. An operation without `return_us` has an unknown outcome.
        self.operations: list[Operation] = []
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
        """Let every client finish its operation, then stop it. Re-raise the error of a client."""
        self._stop.set()
        self._thread.join(OPERATION_TIMEOUT_S + 10)
        assert not self._thread.is_alive(), "the clients did not stop"
        if self._failure is not None:
            raise self._failure

    @property
    def counter(self) -> EntityId:
        """The entity whose field `Count` the sessions increment."""
        return self._counter

    @property
    def final_count(self) -> int | None:
        """The counter as `read_all` has read it."""
        return self._final_count

    def final_values(self) -> dict[tuple[EntityId, str], Value]:
        """What `read_all` has read, by entity and field, as a client reads it."""
        values: dict[tuple[EntityId, str], Value] = {(self._counter, "Count"): self._final_count}
        for read in self.operations:
            if read.client == self._clients:
                item, field = read.key.split(".")
                default = 0 if field == "Count" else ""
                value = default if read.output is None else read.output
                values[self._entities[int(item)], field] = value
        return values

    @property
    def increments(self) -> int:
        """The number of acknowledged increments in sessions."""
        return sum(map(len, self.counted))

    def wait_acknowledged(self, number: int, timeout_s: float = 60.0) -> None:
        """Wait until this many more operations are acknowledged, and also some increments in sessions."""
        goal = self.outcomes["ok"] + number
        increments = self.increments + (1 + number // 10 if self._sessions else 0)
        deadline = time.monotonic() + timeout_s
        while self.outcomes["ok"] < goal or self.increments < increments:
            if self._failure is not None:
                raise self._failure
            assert time.monotonic() < deadline, (
                f"only {dict(self.outcomes)} and {self.increments} increments within {timeout_s} s"
            )
            time.sleep(0.01)

    def read_all(self) -> None:
        """Read everything once more, as a further client. Every read must succeed."""
        asyncio.run(self._read_all())

    def check(self) -> None:
        """Fail unless the history is linearizable and every increment was applied exactly once.

        Call `read_all` first: without final reads, a history proves nothing about its last writes.
        """
        assert self._final_count is not None, "call read_all first"
        verdict = check_history(self.operations)
        assert verdict.ok, f"{verdict.result} at {verdict.key}: {verdict.explanation}"
        check_counts(self.counted, self._final_count)

    # -- implementation --------------------------------------------------------------------------

    def _guard(self, target: Callable[[], None]) -> Callable[[], None]:
        def run() -> None:
            try:
                target()
            except BaseException as error:  # noqa: BLE001 - `stop` raises it in the thread of the test
                self._failure = error

        return run

    def _client_of(self, endpoints: Sequence[str]) -> Client:
        return Client(endpoints, timeout_s=OPERATION_TIMEOUT_S, tls=self._tls)

    async def _create(self) -> None:
        async with self._client_of(self._endpoints) as client:
            schema = await client.perform({"SetSchema": {"entity_schema": schema_of_item()}})
            assert schema["SetSchema"]["error"] is None, schema
            for number in range(self._items):
                self._entities.append(await _create_item(client, f"item{number}"))
            self._counter = await _create_item(client, "counter")

    def _run(self) -> None:
        async def all_clients() -> None:
            await asyncio.gather(
                *(self._client(number) for number in range(self._clients)),
                *(self._count(number) for number in range(self._sessions)),
            )

        asyncio.run(all_clients())

    async def _client(self, number: int) -> None:
        rng = random.Random(number)
        turned = self._endpoints[number % len(self._endpoints) :] + self._endpoints
        endpoints = list(dict.fromkeys(turned))
        async with self._client_of(endpoints) as client:
            op_id = 0
            while not self._stop.is_set():
                op_id += 1
                item = rng.randrange(self._items)
                kind: OperationKind = rng.choice(("write", "write", "read", "add", "read"))
                counter = kind == "add" or (kind == "read" and rng.random() < 0.5)
                await self._one(client, number, op_id, item, kind, counter)
                await asyncio.sleep(self._pause_s)

    async def _count(self, number: int) -> None:
        """Increment until the clients are stopped. Each response is the counter after the increment."""
        turned = self._endpoints[number % len(self._endpoints) :] + self._endpoints
        endpoints = list(dict.fromkeys(turned))
        request = {"UpdateEntity": {"request": increment(self._counter._asdict())}}
        async with (
            Client(
                endpoints,
                timeout_s=INCREMENT_TIMEOUT_S,
                attempt_timeout_s=_ATTEMPT_TIMEOUT_S,
                tls=self._tls,
            ) as client,
            await ClientSession.open(client) as session,
        ):
            while not self._stop.is_set():
                body = (await session.perform(request))["UpdateEntity"]
                assert body["error"] is None, body
                self.counted[number].append(body["response"][-1]["Read"]["value"]["Int"])
                await asyncio.sleep(self._pause_s)

    async def _read_all(self) -> None:
        async with self._client_of(self._endpoints) as client:
            op_id = 0
            acknowledged = self.outcomes["ok"]
            for item in range(self._items):
                for counter in (False, True):
                    op_id += 1
                    await self._one(client, self._clients, op_id, item, "read", counter)
            assert self.outcomes["ok"] == acknowledged + op_id, (
                f"a last read failed: {self.outcomes}"
            )
            self._final_count = cast("int", await client.read(self._counter, "Count"))

    async def _one(
        self,
        client: Client,
        number: int,
        op_id: int,
        item: int,
        kind: OperationKind,
        counter: bool,
    ) -> None:
        """Execute one operation and add it to the history."""
        entity = self._entities[item]._asdict()
        field = "Count" if counter else "Text"
        argument: Value = 1 if kind == "add" else f"{number}.{op_id}" if kind == "write" else None
        read = read_field(entity, field)
        if kind == "write":
            requests = [write_field(entity, field, {"String": argument})]
        elif kind == "add":
            requests = increment(entity)
        else:
            requests = [read]
        invoke_us = time.monotonic_ns() // 1000
        output: Value = None
        return_us: int | None = None
        try:
            performed = await client.perform({"UpdateEntity": {"request": requests}})
            response = performed["UpdateEntity"]["response"]
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
                # The checker's registers begin with None, but the fields with their default.
                output = None if output in ("", 0) and kind == "read" else output
        self.outcomes[outcome] += 1
        key = f"{item}.{field}"
        self.operations.append(
            Operation(number, op_id, key, kind, argument, output, invoke_us, return_us)
        )
