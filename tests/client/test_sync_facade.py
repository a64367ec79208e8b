"""`SyncFacade`: the synchronous version of a class that is not of qcore, made as a recipe makes one."""

from __future__ import annotations

import inspect
import threading
from collections.abc import AsyncIterator, Iterator
from types import TracebackType
from typing import Self

import pytest

from qcore.client import SyncClient
from qcore.client.synchronous.sync_facade import (
    SyncFacade,
    SyncIterator,
    sync_iterator,
    sync_method,
    sync_object,
)
from qcore.errors import ConfigError


class Ticks:
    """Counts down. Notes how its context ended."""

    def __init__(self, left: int) -> None:
        self.left = left
        self.ended_by: list[type[BaseException] | None] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.ended_by.append(kind)
        await self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> int:
        if self.left == 0:
            raise StopAsyncIteration
        self.left -= 1
        return self.left

    async def close(self) -> None:
        """End it."""
        self.left = 0


class Places:
    """The asynchronous class."""

    async def thread(self) -> str:
        """The name of the thread that runs this."""
        return threading.current_thread().name

    async def divide(self, number: int, *, by: int = 1) -> float:
        """A quotient."""
        return number / by

    async def squares(self, below: int) -> AsyncIterator[int]:
        """Some squares."""
        for number in range(below):
            yield number * number

    def ticks(self, left: int) -> Ticks:
        """Count down."""
        return Ticks(left)


class MorePlaces(Places):
    """It inherits every method."""


class SyncTicks(SyncIterator[Ticks]):
    """`Ticks` without asyncio."""

    @property
    def ended_by(self) -> list[type[BaseException] | None]:
        """How its context ended."""
        return self._wrapped.ended_by


class SyncPlaces(SyncFacade[MorePlaces]):
    """`MorePlaces` without asyncio."""

    thread = sync_method(MorePlaces.thread)
    divide = sync_method(MorePlaces.divide)
    squares = sync_iterator(MorePlaces.squares)
    ticks = sync_object(MorePlaces.ticks, SyncTicks)


@pytest.fixture
def places() -> Iterator[SyncPlaces]:
    with SyncClient(["127.0.0.1:1"]) as client:
        yield SyncPlaces(MorePlaces(), client)


def test_methods_run_in_the_thread_of_the_client(places: SyncPlaces) -> None:
    assert places.thread() == "qcore-client"
    quotient: float = places.divide(3, by=2)
    assert quotient == 1.5
    with pytest.raises(ZeroDivisionError):
        places.divide(3, by=0)
    squares: list[int] = list(places.squares(4))
    assert squares == [0, 1, 4, 9]


@pytest.mark.parametrize("name", ["thread", "divide", "squares", "ticks"])
def test_names_signatures_and_docstrings_stay(name: str) -> None:
    mine, theirs = getattr(SyncPlaces, name), getattr(Places, name)
    expected = inspect.signature(theirs)
    returned = {"squares": "Iterator[int]", "ticks": SyncTicks}.get(
        name, expected.return_annotation
    )
    assert inspect.signature(mine) == expected.replace(return_annotation=returned)
    assert mine.__annotations__ == {**theirs.__annotations__, "return": returned}
    assert (mine.__name__, mine.__doc__) == (name, theirs.__doc__)


def test_an_iterator_is_a_context_manager(places: SyncPlaces) -> None:
    with places.ticks(3) as ticks:
        first: int = next(ticks)
        assert (first, list(ticks), list(ticks)) == (2, [1, 0], [])
    assert ticks.ended_by == [None]
    with pytest.raises(KeyError), places.ticks(3) as ticks:
        raise KeyError
    assert ticks.ended_by == [KeyError]
    assert list(ticks) == []


def test_an_iterator_needs_no_context(places: SyncPlaces) -> None:
    ticks = places.ticks(3)
    assert next(ticks) == 2
    ticks.close()
    assert list(ticks) == []


def test_a_facade_of_a_closed_client_says_so() -> None:
    with SyncClient(["127.0.0.1:1"]) as client:
        places = SyncPlaces(MorePlaces(), client)
        ticks = places.ticks(3)
    for use in (places.thread, ticks.__enter__, lambda: next(ticks), ticks.close):
        with pytest.raises(ConfigError, match="this SyncClient is closed"):
            use()
