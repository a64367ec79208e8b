"""A client with thousands of requests suspects no node and loses no request when its event loop stalls."""

from __future__ import annotations

import asyncio
import time

from qcore.client.client import Client
from qcore.client.concurrency_limit import MAX_IN_FLIGHT, MIN_IN_FLIGHT, ConcurrencyLimit
from qcore.client.request_sender import RequestSender
from qcore.errors import NotLeader
from qcore.runtime.real import REAL
from qcore.transport.address import Address
from qcore.transport.connection.client_connection import ClientConnection
from qcore.transport.connection.running_time import RunningTime
from tests.client.test_silent_nodes import READ, node

#: Longer than a client waits for a connection if there is another node to send to.
STALL_S = 0.6


async def stall_in_the_third_turn() -> None:
    """Stall the event loop when the attempt to connect has begun and has not ended."""
    await asyncio.sleep(0)
    asyncio.get_running_loop().call_soon(time.sleep, STALL_S)


def test_a_client_that_stalls_while_connecting_suspects_no_node() -> None:
    async def scenario() -> None:
        async with (
            node() as first,
            node() as other,
            Client([first.address, other.address]) as client,
        ):
            stall = asyncio.ensure_future(stall_in_the_third_turn())
            await asyncio.gather(stall, *(client.perform(READ) for _ in range(2000)))
            assert first.seen == ["Perform"] * 2000
            assert other.seen == []

    asyncio.run(scenario())


def test_a_stalled_client_still_takes_an_answer_that_arrived() -> None:
    async def scenario() -> None:
        async with node(0.05) as slow:
            connection = await ClientConnection.connect(Address.parse(slow.address))
            asyncio.get_running_loop().call_soon(time.sleep, STALL_S)
            reply = await connection.request("GetMetrics", timeout_s=STALL_S - 0.1)
            assert reply["response"]
            await connection.close()

    asyncio.run(scenario())


def test_without_a_leader_the_limit_bounds_retries() -> None:
    async def scenario() -> None:
        sender = RequestSender(["a:1"], 20, 5, 1, runtime=REAL)
        attempts = 0
        leads = False

        async def operation() -> None:
            failures = 0

            async def ask(endpoint: Address, left_s: float) -> None:
                nonlocal attempts, failures, leads
                attempts += not leads
                await asyncio.sleep(0)
                if not leads:
                    failures += 1
                    leads = failures == 4
                    raise NotLeader

            await sender.send_with_retries(ask)

        await asyncio.gather(*(operation() for _ in range(2000)))
        assert attempts < 2 * 2000 + 4 * MIN_IN_FLIGHT, (
            "without the limit it would be three times as many"
        )

    asyncio.run(scenario())


def test_a_long_pause_adds_little_running_time() -> None:
    running = RunningTime(0.25)
    running.begin(100.0)
    assert running.look(100.25) == 0.25
    assert running.at(100.375) == 0.375
    assert running.look(200.25) == 0.5
    assert running.at(200.5) == 0.75
    running.begin(300.0)
    assert running.look(300.25) == 0.75


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_joint_failures_halve_the_limit_once_success_raises_it() -> None:
    async def scenario() -> None:
        limit = ConcurrencyLimit()
        deadline = limit.begin() + 60
        for _ in range(1000):
            assert await limit.acquire(deadline)
        assert not limit.is_over_limit()
        for _ in range(1000):
            limit.failed(0)
        assert limit.is_over_limit()
        later = [asyncio.ensure_future(limit.acquire(deadline)) for _ in range(3)]
        await turns()
        again = asyncio.ensure_future(limit.acquire(deadline, again=True))
        for _ in range(500):
            await turns()
            assert not again.done()
            limit.release()
        assert not limit.is_over_limit()
        limit.release()
        await turns()
        assert [each.done() for each in (again, *later)] == [True, False, False, False]
        limit.succeeded()
        limit.release()
        await turns()
        assert [each.done() for each in later] == [True, True, False], (
            "one for the release, one for the raised limit"
        )
        limit.end()
        later[2].cancel()

    asyncio.run(scenario())


def test_the_limit_has_bounds() -> None:
    async def scenario() -> None:
        limit = ConcurrencyLimit()
        deadline = limit.begin() + 60
        limit.succeeded()
        for _ in range(20):
            limit.failed(limit.generation)
        for _ in range(MIN_IN_FLIGHT):
            await limit.acquire(deadline)
        waits = asyncio.ensure_future(limit.acquire(deadline))
        await turns()
        assert not waits.done()
        for _ in range(2 * MAX_IN_FLIGHT):
            limit.succeeded()
        limit.release()
        for _ in range(MAX_IN_FLIGHT - MIN_IN_FLIGHT):
            await limit.acquire(deadline)
        over = asyncio.ensure_future(limit.acquire(deadline))
        await turns()
        assert (waits.done(), over.done()) == (True, False)
        limit.end()
        over.cancel()

    asyncio.run(scenario())


def test_a_cancelled_waiting_request_frees_its_slot() -> None:
    async def scenario() -> None:
        limit = ConcurrencyLimit()
        now = limit.begin()
        for _ in range(MAX_IN_FLIGHT):
            await limit.acquire(now + 60)
        early, gone, got, last = (
            asyncio.ensure_future(limit.acquire(now + s)) for s in (0.01, 60, 60, 60)
        )
        assert not await early
        gone.cancel()
        await turns()
        limit.release()  # `got` has a slot now, and is cancelled before it runs
        got.cancel()
        await turns()
        assert got.cancelled()
        assert await last
        limit.end()

    asyncio.run(scenario())
