"""`time_limit`: a timeout for a task that was cancelled before, and for one that is closed."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from qcore.errors import ConfigError
from qcore.time_limit import time_limit
from tests.transport.support.endpoints import async_test


@async_test
async def test_a_block_that_takes_too_long_is_cancelled() -> None:
    async with time_limit(None), time_limit(20) as limit:
        await asyncio.sleep(0)
    assert not limit.expired()
    with pytest.raises(TimeoutError):
        async with time_limit(0.01) as limit:
            await asyncio.sleep(20)
    assert limit.expired()


@async_test
async def test_it_works_in_a_task_that_kept_a_cancellation() -> None:
    async def work() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(20)
        with pytest.raises(TimeoutError):
            async with time_limit(0.01):
                await asyncio.sleep(20)

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    await task


@async_test
async def test_a_cancellation_by_another_one_goes_on() -> None:
    async def work() -> None:
        async with time_limit(20):
            await asyncio.sleep(20)

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@async_test
async def test_outside_a_task_it_raises_as_asyncio_does() -> None:
    """The simulator closes programs whose `finally` blocks wait. It expects this error."""
    errors: list[RuntimeError] = []

    def enter() -> None:
        try:
            time_limit(1).__aenter__().send(None)
        except RuntimeError as error:
            errors.append(error)

    asyncio.get_running_loop().call_soon(enter)
    await asyncio.sleep(0)
    assert [str(each) for each in errors] == ["a time limit is for code that runs in a task"]


@pytest.mark.parametrize("seconds", [-1.0, float("nan")])
def test_a_time_that_is_none_is_refused(seconds: float) -> None:
    with pytest.raises(ConfigError, match="is no number of seconds from 0 on"):
        time_limit(seconds)
