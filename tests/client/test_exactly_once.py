"""Writes take effect once: the client repeats them in sessions, or reports an unknown outcome."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve

from qcore.client.client import Client
from qcore.client.sessions.session import WINDOW
from qcore.client.sessions.session_pool import LIFETIME_S, Place, SessionPool
from qcore.errors import (
    DeadlineExceeded,
    NotLeader,
    OutcomeUnknown,
    QcoreError,
    QuotaExceeded,
    RemoteProtocolError,
    SessionExpired,
)
from qcore.runtime.interface import Runtime
from qcore.runtime.real import REAL, AsyncioRuntime

#: Takes the number of the write (from 0); returns an error, None to answer, or "lost" to abort the connection.
Script = Callable[[int], QcoreError | str | None]


class SessionServer:
    """A node that applies each command of a session once, and loses or rejects what its script says."""

    def __init__(self, script: Script = lambda _: None) -> None:
        self.script = script
        self.opened = 0
        self.closed: list[int] = []
        self.seen: list[dict[str, int]] = []
        self.applied: list[tuple[int, int]] = []
        self.open_error: QcoreError | None = None
        self.held: asyncio.Event | None = None

    async def handle(self, connection: ServerConnection) -> None:
        async for frame in connection:
            decoded = json.loads(frame)
            for message in decoded if isinstance(decoded, list) else [decoded]:
                ((name, fields),) = message.items()
                body = await self.answer(name, fields)
                if body is None:
                    connection.transport.abort()
                    return
                response = {f"{name}Response": {"id": fields["id"], **body}}
                await connection.send(json.dumps(response))

    async def answer(self, name: str, fields: dict[str, Any]) -> dict[str, Any] | None:
        if name == "OpenSession":
            await asyncio.sleep(0)
            if self.open_error is not None:
                return rejected(self.open_error)
            self.opened += 1
            return {"response": {"Ok": self.opened}}
        if name == "CloseSession":
            self.closed.append(fields["session"])
            return {"response": {"Ok": None}}
        assert name == "StoreDeleteEntity", name
        if self.held is not None:
            await self.held.wait()
        use = fields["session"]
        self.seen.append(use)
        outcome = self.script(len(self.seen) - 1)
        if isinstance(outcome, QcoreError):
            return rejected(outcome)
        once = (use["id"], use["sequence"])
        if once not in self.applied:
            self.applied.append(once)
        return None if outcome == "lost" else {"response": {"Ok": None}}


def rejected(error: QcoreError) -> dict[str, Any]:
    return {"response": {"Err": str(error)}, "detail": error.detail()}


@asynccontextmanager
async def serving(
    server: SessionServer, timeout_s: float = 5.0, runtime: Runtime = REAL
) -> AsyncIterator[Client]:
    async with serve(server.handle, "127.0.0.1", 0) as listening:
        address = f"127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        async with Client([address], timeout_s=timeout_s, runtime=runtime) as client:
            yield client


async def delete(client: Client, **options: Any) -> None:
    await client.delete_entity("Item$1", **options)


def test_a_write_whose_answer_is_lost_is_applied_once() -> None:
    async def scenario() -> None:
        server = SessionServer(lambda number: "lost" if number < 3 else None)
        async with serving(server) as client:
            await delete(client)
        assert len(server.seen) == 4
        assert server.applied == [(1, 1)]
        assert server.closed == [1], "close ends the session"

    asyncio.run(scenario())


def test_an_expired_session_is_replaced_without_an_error() -> None:
    async def scenario() -> None:
        server = SessionServer(lambda number: SessionExpired("idle") if number == 1 else None)
        async with serving(server) as client:
            await delete(client)
            await delete(client)
        assert server.applied == [(1, 1), (2, 1)]

    asyncio.run(scenario())


def test_a_session_that_expires_under_a_lost_write_is_reported() -> None:
    """The cluster has forgotten whether it applied the write. A repetition in another session could apply it twice."""

    async def scenario() -> None:
        server = SessionServer(lambda number: "lost" if number == 0 else SessionExpired("gone"))
        async with serving(server) as client:
            with pytest.raises(OutcomeUnknown, match="read before you write again"):
                await delete(client)
        assert server.opened == 1

    asyncio.run(scenario())


class StoppedRuntime(AsyncioRuntime):
    """The runtime of a process that was stopped for a while."""

    stopped_us = 0

    def monotonic_us(self) -> int:
        return REAL.monotonic_us() + self.stopped_us


def test_a_session_is_not_used_after_a_long_stop() -> None:
    """The process was stopped: its session has expired, and its connection loses what is sent first."""

    async def scenario() -> None:
        def script(number: int) -> QcoreError | str | None:
            if number == 1:
                return "lost"
            return SessionExpired("idle") if number and server.seen[-1]["id"] == 1 else None

        server, runtime = SessionServer(script), StoppedRuntime()
        async with serving(server, runtime=runtime) as client:
            await delete(client)
            runtime.stopped_us = int(LIFETIME_S * 1e6)
            await delete(client)
            await delete(client)
        assert server.applied == [(1, 1), (2, 1), (2, 2)]

    asyncio.run(scenario())


def test_a_write_without_an_answer_ends_as_unknown() -> None:
    async def scenario() -> None:
        server = SessionServer(lambda _: "lost")
        async with serving(server) as client:
            with pytest.raises(OutcomeUnknown):
                await delete(client, timeout_s=0.3)
        assert len(server.applied) == 1

    asyncio.run(scenario())


def test_an_unknown_outcome_names_why_the_last_attempt_failed() -> None:
    """The reason of the first attempt has passed; that of the last one is what an operator has to mend."""

    async def scenario() -> None:
        full = QuotaExceeded("only 999 bytes are free on the disk", "disk", 1_000, 999, 50)
        server = SessionServer(lambda number: full if number else "lost")
        async with serving(server) as client:
            with pytest.raises(OutcomeUnknown, match=r"the last attempt: only 999 bytes are free"):
                await delete(client, timeout_s=0.3)

    asyncio.run(scenario())


def test_a_rejected_write_and_a_rejected_session_had_no_effect() -> None:
    async def scenario() -> None:
        server = SessionServer(lambda _: NotLeader(None))
        async with serving(server) as client:
            with pytest.raises(NotLeader):
                await delete(client, timeout_s=0.3)
            assert server.applied == []
            server.script, server.open_error = lambda _: None, NotLeader(None)
            server.opened = 0
        async with serving(server) as client:
            with pytest.raises(NotLeader):
                await delete(client, timeout_s=0.3)
            server.open_error = RemoteProtocolError("no such message")
            with pytest.raises(RemoteProtocolError):
                await asyncio.wait_for(delete(client), 3)
            server.open_error = None
            await delete(client)
        assert len(server.applied) == 1

    asyncio.run(scenario())


def test_many_writes_share_few_sessions() -> None:
    """No session is asked to record more results than a cluster keeps."""

    async def scenario() -> None:
        server = SessionServer()
        async with serving(server) as client:
            await asyncio.gather(*(delete(client) for _ in range(5 * WINDOW)))
        assert 2 <= server.opened <= 5
        assert len(server.applied) == 5 * WINDOW
        assert all(use["sequence"] - use["acknowledged"] <= 256 for use in server.seen)

    asyncio.run(scenario())


def test_writes_wait_for_their_sessions_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is woken once. A session that opens must not wake thousands of writes for a few hundred places."""
    asked = 0
    place_of = SessionPool._place

    def counting(pool: SessionPool) -> Place | None:
        nonlocal asked
        asked += 1
        return place_of(pool)

    monkeypatch.setattr(SessionPool, "_place", counting)

    async def scenario() -> None:
        server = SessionServer()
        order: list[int] = []

        async def one(number: int) -> None:
            await delete(client)
            order.append(number)

        async with serving(server, timeout_s=60) as client:
            await asyncio.gather(*(one(number) for number in range(20 * WINDOW)))
        assert order == sorted(order)
        assert asked < 2.2 * 20 * WINDOW

    asyncio.run(scenario())


def test_a_cancelled_write_frees_its_place() -> None:
    async def scenario() -> None:
        server = SessionServer()
        async with serving(server) as client:
            await delete(client)
            server.held = asyncio.Event()
            stuck = [asyncio.ensure_future(delete(client)) for _ in range(50)]
            await asyncio.sleep(0.05)
            for task in stuck:
                task.cancel()
            assert all(
                isinstance(outcome, asyncio.CancelledError)
                for outcome in await asyncio.gather(*stuck, return_exceptions=True)
            )
            server.held.set()
            server.held = None
            await delete(client)
            last = server.seen[-1]
            assert last["acknowledged"] == last["sequence"] - 1

    asyncio.run(scenario())


def test_a_given_session_is_used_and_its_expiry_is_raised() -> None:
    async def scenario() -> None:
        server = SessionServer(lambda number: SessionExpired("gone") if number == 1 else None)
        async with serving(server) as client, await client.open_session() as session:
            await delete(client, session=session)
            with pytest.raises(SessionExpired):
                await delete(client, session=session)
            assert {use["id"] for use in server.seen} == {session.id}

    asyncio.run(scenario())


def test_writes_wait_for_room_and_end_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qcore.client.sessions.session_pool._MAX_SESSIONS", 1)

    async def scenario() -> None:
        server = SessionServer()
        async with serving(server) as client:
            await delete(client)
            server.held = held = asyncio.Event()
            first = [asyncio.ensure_future(delete(client)) for _ in range(WINDOW)]
            await asyncio.sleep(0.05)
            with pytest.raises(QcoreError) as raised:
                await delete(client, timeout_s=0.1)
            assert raised.value.retryable, "it was never sent"
            waiting = asyncio.ensure_future(delete(client))
            held.set()
            await asyncio.gather(*first, waiting)
        assert server.opened == 1

    asyncio.run(scenario())


def test_a_response_of_another_form_is_reported() -> None:
    class Odd(SessionServer):
        async def answer(self, name: str, fields: dict[str, Any]) -> dict[str, Any] | None:
            return {"response": {"Ok": {"items": 5}}}

    async def scenario() -> None:
        async with serving(Odd()) as client:
            with pytest.raises(RemoteProtocolError, match="the response to StoreGetChildren"):
                await client.get_children(None)

    asyncio.run(scenario())


def test_a_bare_response_reports_an_error_of_the_cluster() -> None:
    class Bare(SessionServer):
        async def handle(self, connection: ServerConnection) -> None:
            async for frame in connection:
                ((_, fields),) = json.loads(frame).items()
                error = {"code": "DeadlineExceeded", "retryable": True}
                body = {"id": fields["id"], "error": "too slow", "detail": error}
                await connection.send(json.dumps({"Error": body}))

    async def scenario() -> None:
        async with serving(Bare()) as client:
            with pytest.raises(DeadlineExceeded, match="too slow"):
                await client.entity_exists("Item$1", timeout_s=0.2)

    asyncio.run(scenario())
