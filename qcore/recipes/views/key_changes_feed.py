"""`KeysFeed`: gives the changes of a view to its readers, each of which takes them at its own pace."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple
from weakref import WeakKeyDictionary

from qcore.errors import ConfigError

if TYPE_CHECKING:
    from qcore.kv.key_values import KeyVersion

#: The most changes that wait for a reader, and the size of their values, bytes.
MAX_WAITING: Final = 1024
MAX_WAITING_BYTES: Final = 8 * 1024 * 1024


class KeyStep(NamedTuple):
    """A key before and after a change; None where it does not exist."""

    before: KeyVersion | None
    after: KeyVersion | None


@dataclass(frozen=True, slots=True)
class KeysChange:
    """A change of some keys.

    Attributes:
        revision: as of which revision the keys are like this.
        steps: what happened to each key.
        skipped: whether there may have been other states in between, which the view has not seen.
    """

    revision: int
    steps: Mapping[bytes, KeyStep]
    skipped: bool

    @property
    def size_bytes(self) -> int:
        """The size of its values."""
        return sum(len(step.after.value) for step in self.steps.values() if step.after is not None)


def merged(first: KeysChange, second: KeysChange) -> KeysChange:
    """Two changes, one after the other, as one."""
    steps = dict(first.steps)
    for key, step in second.steps.items():
        steps[key] = KeyStep(steps[key].before if key in steps else step.before, step.after)
    return KeysChange(second.revision, steps, skipped=True)


class KeysReader:
    """Takes the changes of a feed, each once and in order. Made by `KeysFeed.reader`.

    If more changes wait than are kept, the newest ones are merged, and what results has `skipped`.
    """

    def __init__(self) -> None:
        self._waiting: deque[KeysChange] = deque()
        self._waiting_bytes = 0
        self._waiter: asyncio.Future[None] | None = None
        self._is_ended = False
        self._failure: BaseException | None = None

    async def take(self) -> KeysChange:
        """The next change.

        Raises:
            StopAsyncIteration: the view was closed.
            ConfigError: another task waits for a change of this reader.
            QcoreError: the view has failed.
        """
        if self._waiter is not None:
            raise ConfigError(
                "another task waits for a change of this iterator: make one for each task"
            )
        while not self._waiting:
            if self._failure is not None:
                raise self._failure
            if self._is_ended:
                raise StopAsyncIteration
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        change = self._waiting.popleft()
        self._waiting_bytes -= change.size_bytes
        return change

    @property
    def is_awaited(self) -> bool:
        """Whether a task waits for a change."""
        return self._waiter is not None

    def add(self, change: KeysChange) -> None:
        """A change has happened."""
        if self._is_ended:
            return
        if self._waiting and self._is_full(change):
            last = self._waiting.pop()
            self._waiting_bytes -= last.size_bytes
            change = merged(last, change)
        self._waiting.append(change)
        self._waiting_bytes += change.size_bytes
        self._wake()

    def end(self, failure: BaseException | None = None) -> None:
        """There are no more changes. Those that wait remain, unless nothing failed."""
        if self._is_ended:
            return
        self._is_ended, self._failure = True, failure
        if failure is None:
            self._waiting.clear()
            self._waiting_bytes = 0
        self._wake()

    def _is_full(self, change: KeysChange) -> bool:
        size = self._waiting_bytes + change.size_bytes
        return len(self._waiting) >= MAX_WAITING or size > MAX_WAITING_BYTES

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class KeysFeed:
    """The readers of a view."""

    def __init__(self) -> None:
        # Not a set, whose order would depend on addresses in memory. A reader that the program has dropped leaves it.
        self._readers: WeakKeyDictionary[KeysReader, None] = WeakKeyDictionary()
        self._is_ended = False
        self._failure: BaseException | None = None

    def reader(self) -> KeysReader:
        """A reader that gets every change from now on."""
        reader = KeysReader()
        if self._is_ended:
            reader.end(self._failure)
        else:
            self._readers[reader] = None
        return reader

    @property
    def is_awaited(self) -> bool:
        """Whether a task waits for a change, at any reader."""
        return any(reader.is_awaited for reader in self._readers)

    def add(self, change: KeysChange) -> None:
        """Give a change to all readers."""
        for reader in [*self._readers]:
            reader.add(change)

    def end(self, failure: BaseException | None = None) -> None:
        """There are no more changes."""
        if not self._is_ended:
            self._is_ended, self._failure = True, failure
            for reader in [*self._readers]:
                reader.end(failure)
