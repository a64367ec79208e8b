"""`QcoreClient.init` against a scripted node: when it repeats the request, and what it says at the end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Literal

import pytest
from websockets.asyncio.server import ServerConnection, serve

from qcore.cli.cluster.cluster import initialise
from qcore.cli.cluster.member import ResultNotShown
from qcore.client.client import QcoreClient
from qcore.client.request_sender import Json
from qcore.errors import ChangeRefused, OutcomeUnknown

UNREACHABLE = ChangeRefused("unreachable", "the cluster was not begun. Nothing was written")


class Recording(QcoreClient):
    """Remembers how long each `Init` was given, s."""

    def __init__(self, address: str, timeout_s: float) -> None:
        super().__init__([address], timeout_s=timeout_s)
        self.endpoints = [address]
        self.given: list[float] = []

    async def request(
        self, endpoint: str, name: str, fields: Mapping[str, Json], timeout_s: float | None = None
    ) -> dict[str, Json]:
        if name == "Init":
            assert timeout_s is not None
            self.given.append(timeout_s)
        return await super().request(endpoint, name, fields, timeout_s)


@asynccontextmanager
async def asked(
    timeout_s: float,
    answer: Callable[[int], ChangeRefused | Literal["Ok"] | None],
    takes_s: float = 0,
) -> AsyncIterator[Recording]:
    """A client of a node that refuses the n-th `Init` (from 0) so, after a while, or takes it, or hangs up (None)."""
    seen = 0

    async def handle(connection: ServerConnection) -> None:
        nonlocal seen
        async for frame in connection:
            message = json.loads(frame).get("Init")
            if message is None:  # it is asked for something else
                connection.transport.abort()
                return
            refusal, seen = answer(seen), seen + 1
            await asyncio.sleep(takes_s)
            if refusal is None:
                connection.transport.abort()
                return
            reply: dict[str, Json] = {"id": message["id"], "response": {"Ok": "Success"}}
            if refusal != "Ok":
                reply["response"] = {"Err": str(refusal)}
                reply["detail"] = refusal.detail()
            await connection.send(json.dumps({"InitResponse": reply}))

    async with serve(handle, "127.0.0.1", 0) as listening:
        address = f"127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        async with Recording(address, timeout_s) as client:
            yield client


def test_a_retried_init_gets_the_remaining_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qcore.client.cluster_init._PAUSE_S", 0.1)

    async def scenario() -> None:
        async with asked(0.6, lambda _: UNREACHABLE) as client:
            with pytest.raises(ChangeRefused, match="Nothing was written"):
                await client.init()
            assert len(client.given) > 1
            assert all(later < sooner for sooner, later in pairwise(client.given))

    asyncio.run(scenario())


def test_an_init_is_not_retried_without_time_for_an_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Cut short, it would leave open whether the cluster begins, and the reason would be lost."""
    monkeypatch.setattr("qcore.client.cluster_init._PAUSE_S", 0.01)

    async def scenario() -> None:
        async with asked(0.6, lambda _: UNREACHABLE, takes_s=0.35) as client:
            with pytest.raises(ChangeRefused, match="Nothing was written"):
                await client.init()
            assert len(client.given) == 1

    asyncio.run(scenario())


def test_an_init_with_a_lost_answer_has_an_unknown_outcome() -> None:
    async def scenario() -> None:
        async with asked(1.0, lambda _: None) as client:
            with pytest.raises(OutcomeUnknown, match="the cluster may have begun"):
                await client.init()
            assert len(client.given) == 1

    asyncio.run(scenario())


def test_a_successful_init_is_not_reported_as_failed() -> None:
    async def scenario() -> None:
        async with asked(1.0, lambda _: "Ok") as client:
            (endpoint,) = client.endpoints
            with pytest.raises(ResultNotShown, match="the cluster has begun"):
                await initialise(client, [(1, endpoint)], endpoint, None)

    asyncio.run(scenario())
