"""`Client.init` against a scripted node: when it repeats the request, and which error it raises at the end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from random import Random
from types import SimpleNamespace
from typing import Literal

import pytest
from websockets.asyncio.server import ServerConnection, serve

from qcore.cli.cluster.cluster import initialise
from qcore.cli.exits import ResultNotShown
from qcore.client import cluster_init
from qcore.client.client import Client
from qcore.client.request_sender import Json
from qcore.errors import ChangeRefused, OutcomeUnknown
from qcore.runtime.interface import Runtime
from qcore.runtime.real import REAL, AsyncioRuntime
from qcore.transport.address import Address

UNREACHABLE = ChangeRefused("unreachable", "the cluster was not begun. Nothing was written")


class HalfSecondPauses(Random):
    """Draws 0.3."""

    def random(self) -> float:
        return 0.3


class Clock(AsyncioRuntime):
    """The time that the client sees. It passes only in `sleep`, and when a scripted node lets it pass."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def seconds(self) -> float:
        return self.now_s

    def new_rng(self) -> Random:
        return HalfSecondPauses()

    async def sleep(self, seconds: float) -> None:
        self.now_s += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock for the client, and pauses of half a second."""
    made = Clock()
    monkeypatch.setattr(cluster_init, "asyncio", SimpleNamespace(sleep=made.sleep))
    return made


class Recording(Client):
    """Remembers the timeout of each `Init`, seconds."""

    def __init__(self, address: str, timeout_s: float, runtime: Runtime) -> None:
        super().__init__([address], timeout_s=timeout_s, runtime=runtime)
        self.endpoints = [address]
        self.timeouts: list[float] = []

    async def request(
        self,
        endpoint: str | Address,
        name: str,
        fields: Mapping[str, Json],
        timeout_s: float | None = None,
    ) -> dict[str, Json]:
        if name == "Init":
            assert timeout_s is not None
            self.timeouts.append(timeout_s)
        return await super().request(endpoint, name, fields, timeout_s)


@asynccontextmanager
async def client_of_node(
    timeout_s: float,
    answer: Callable[[int], ChangeRefused | Literal["Ok"] | None],
    on_init: Callable[[], None] = lambda: None,
    runtime: Runtime = REAL,
) -> AsyncIterator[Recording]:
    """A client of a scripted node.

    Args:
        timeout_s: of the client.
        answer: takes the number of the `Init` (from 0); returns the rejection, "Ok", or None to abort the connection.
        on_init: called before each answer.
        runtime: of the client.
    """
    seen = 0

    async def handle(connection: ServerConnection) -> None:
        nonlocal seen
        async for frame in connection:
            message = json.loads(frame).get("Init")
            if message is None:  # another request
                connection.transport.abort()
                return
            outcome, seen = answer(seen), seen + 1
            on_init()
            if outcome is None:
                connection.transport.abort()
                return
            reply: dict[str, Json] = {"id": message["id"], "response": {"Ok": "Success"}}
            if outcome != "Ok":
                reply["response"] = {"Err": str(outcome)}
                reply["detail"] = outcome.detail()
            await connection.send(json.dumps({"InitResponse": reply}))

    async with serve(handle, "127.0.0.1", 0) as listening:
        address = f"127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        async with Recording(address, timeout_s, runtime) as client:
            yield client


def rejected_inits(clock: Clock, takes_s: float) -> list[float]:
    """The timeout of each `Init` of a client that has 60 s, if the node takes this long to reject each one."""

    def answer_takes_time() -> None:
        clock.now_s += takes_s

    async def scenario() -> list[float]:
        async with client_of_node(60.0, lambda _: UNREACHABLE, answer_takes_time, clock) as client:
            with pytest.raises(ChangeRefused, match="Nothing was written"):
                await client.init()
            return client.timeouts

    return asyncio.run(scenario())


def test_a_retried_init_gets_the_remaining_time(clock: Clock) -> None:
    # Every 6 s. After the one that begins at 54 s there is no time for another answer.
    assert rejected_inits(clock, 5.5) == pytest.approx([60 - 6 * number for number in range(10)])


def test_an_init_is_not_retried_without_time_for_an_answer(clock: Clock) -> None:
    """An `Init` with too little time would leave open whether the cluster begins, and hide the reason."""
    assert rejected_inits(clock, 35) == [60]
    assert rejected_inits(clock, 29) == pytest.approx([60, 30.5])


def test_an_init_with_a_lost_answer_has_an_unknown_outcome() -> None:
    async def scenario() -> None:
        async with client_of_node(20.0, lambda _: None) as client:
            with pytest.raises(OutcomeUnknown, match="the cluster may have begun"):
                await client.init()
            assert len(client.timeouts) == 1

    asyncio.run(scenario())


def test_a_successful_init_is_not_reported_as_failed() -> None:
    async def scenario() -> None:
        async with client_of_node(1.0, lambda _: "Ok") as client:
            (endpoint,) = client.endpoints
            with pytest.raises(ResultNotShown, match="the cluster has begun"):
                await initialise(client, [(1, endpoint)], endpoint, None)

    asyncio.run(scenario())
