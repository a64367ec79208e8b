"""`LeaderCallbacks`: the order of the calls, cancellation, and exceptions of callbacks."""

from __future__ import annotations

import asyncio
import logging

import pytest

from qcore.node.observability.program_log import ProgramLog
from qcore.node.runtime import leader_callbacks
from qcore.node.runtime.leader_callbacks import LeaderCallbacks
from tests.transport.support.endpoints import async_test, until


class Program:
    """Notes what is called. The work of a leader takes a moment to end after its cancellation."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.callbacks = LeaderCallbacks(self.lead, self.follow, ProgramLog(1))

    async def lead(self) -> None:
        self.seen.append("lead")
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.01)
            self.seen.append("end")

    async def follow(self) -> None:
        await asyncio.sleep(0)
        self.seen.append("follow")

    async def saw(self, *calls: str) -> None:
        await until(lambda: len(self.seen) >= len(calls), f"{calls}, but {self.seen}")
        assert self.seen == [*calls]


@async_test
async def test_the_work_ends_before_on_follower_and_the_next_work() -> None:
    program = Program()
    program.callbacks.start()
    program.callbacks.report(1)
    await program.saw("lead")
    program.callbacks.report(None)
    program.callbacks.report(2)
    await program.saw("lead", "end", "follow", "lead")
    await program.callbacks.stop()
    assert program.seen[4:] == ["end", "follow"]
    await program.callbacks.stop()
    program.callbacks.report(3)
    await asyncio.sleep(0)
    assert len(program.seen) == 6


@async_test
async def test_a_leadership_during_the_end_of_another_one_waits() -> None:
    """Leaderships that begin and end while the earlier work still ends are skipped, with both calls."""
    program = Program()
    program.callbacks.start()
    program.callbacks.report(1)
    await program.saw("lead")
    for term in (None, 2, None, 3):
        program.callbacks.report(term)
        await asyncio.sleep(0)
    await program.saw("lead", "end", "follow", "lead")
    await program.callbacks.stop()


@async_test
async def test_a_leadership_that_is_over_before_the_call_is_skipped() -> None:
    program = Program()
    program.callbacks.start()
    program.callbacks.report(1)
    program.callbacks.report(None)
    await asyncio.sleep(0.01)
    await program.callbacks.stop()
    assert program.seen == []


@async_test
async def test_exceptions_of_callbacks_are_logged_and_end_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    calls: list[str] = []

    def lead() -> object:
        calls.append("lead")
        if len(calls) == 1:
            raise ZeroDivisionError("plain")
        return work()

    async def work() -> None:
        raise ValueError("in the task")

    def follow() -> None:
        calls.append("follow")
        raise OSError("follow")

    callbacks = LeaderCallbacks(lead, follow, ProgramLog(4))
    with caplog.at_level(logging.ERROR, "qcore.node"):
        callbacks.start()
        for term in (1, None, 2):
            callbacks.report(term)
            await asyncio.sleep(0.01)
        await callbacks.stop()
    assert calls == ["lead", "follow"] * 2
    errors = [str(record.exc_info[1]) for record in caplog.records if record.exc_info]
    assert errors == ["plain", "follow", "in the task", "follow"]
    messages = [record.getMessage() for record in caplog.records]
    assert messages[0] == "node=4 term=0 role=starting on_leader raised"


@async_test
async def test_a_callback_that_does_not_end_is_reported(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leader_callbacks, "_WARN_AFTER_S", 0.01)
    may_end = asyncio.Event()

    async def stubborn() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await may_end.wait()

    followed: list[bool] = []
    callbacks = LeaderCallbacks(stubborn, lambda: followed.append(may_end.is_set()), ProgramLog(1))
    with caplog.at_level(logging.WARNING, "qcore.node"):
        callbacks.start()
        callbacks.report(1)
        await asyncio.sleep(0.01)
        callbacks.report(None)
        await until(lambda: "callback=on_leader" in caplog.text, "the warning")
        assert not followed, "on_follower was called while on_leader still ran"
        may_end.set()
        await callbacks.stop()
    assert followed == [True]
