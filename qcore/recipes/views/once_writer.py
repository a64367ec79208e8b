"""`OnceWriter`: changes a key by a function of its content, and finds out whether a change took effect.

A transaction writes the new content on condition that no other program has written the key meanwhile. The client
repeats a request, and the machine does it once. But after a long outage the client may not know what became of it. So
each transaction also writes a mark, which no other has, into a second key. If the mark is there, or was there, the
transaction took effect. The content is no proof: two programs may write the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Final, TypeVar

from qcore.errors import OutcomeUnknown, QcoreError, WatchCompacted
from qcore.kv.key_values import KeyVersion, TxnResult
from qcore.kv.txn_parts import Condition, Delete, Put, Range
from qcore.recipes.key_reads import page_of_txn
from qcore.recipes.recipe_errors import NotAcquired, is_temporary
from qcore.recipes.retries import PAUSE_S, RandomPauses
from qcore.time_limit import time_limit

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from qcore.kv.kv_client import KeyValue

#: The second key of a key begins so.
WRITER_PREFIX: Final = b"config-writer//"

_R = TypeVar("_R")


class OnceWriter:
    """Changes one key.

    Args:
        kv: the keys of the cluster.
        key: the key.
    """

    def __init__(self, kv: KeyValue, key: bytes) -> None:
        self._kv = kv
        self._key = key
        self._writer_key = WRITER_PREFIX + key
        self._rng = kv.runtime.new_rng()

    async def change(
        self, function: Callable[[KeyVersion | None], bytes | None], timeout_s: float | None
    ) -> int:
        """Set the key to what the function makes of it, and return the revision of the write.

        Args:
            function: gets the key, or None if it does not exist. It returns the new value, or None to delete the key.
                It is called again if another program writes the key at the same time.
            timeout_s: how long to try, seconds; None for any time, also while the cluster cannot be reached.

        Raises:
            NotAcquired: the time was over, and nothing was changed.
            OutcomeUnknown: the time was over, or the history is too short, and the change may have taken effect, or may
                still do so.
            QcoreError: the cluster rejects a request.
        """
        change = _Change(self._kv, self._key, self._writer_key, self._rng)
        try:
            async with time_limit(timeout_s) as limit:
                pauses = RandomPauses(self._rng)
                while (revision := await change.attempt(function)) is None:
                    await pauses.next()
                return revision
        except TimeoutError:
            if not limit.expired():
                raise  # it comes from the function
            text = f"the key was not changed within {timeout_s:g} s"
            if change.is_unsure:
                raise OutcomeUnknown(f"{text}, or the change took effect unseen") from None
            raise NotAcquired(text) from None


class _Change:
    """One change, in as many attempts as it needs.

    Attributes:
        is_unsure: whether a request may have taken effect, or may still do so.
    """

    def __init__(self, kv: KeyValue, key: bytes, writer_key: bytes, rng: Random) -> None:
        self._kv = kv
        self._key = key
        self._writer_key = writer_key
        self._rng = rng
        self.is_unsure = False

    async def attempt(self, function: Callable[[KeyVersion | None], bytes | None]) -> int | None:
        """Read, and write if no other program does so meanwhile: the revision, or None if one did."""
        writer = await self._repeated(lambda: self._kv.get(self._writer_key))
        before = await self._repeated(lambda: self._kv.get(self._key))
        value = function(before)
        mark = f"{self._rng.getrandbits(128):032x}".encode()
        unchanged = [
            Condition.number("mod_revision", self._key, "=", _revision_of(before)),
            # Else a repetition could succeed twice, if another program deletes the key that the first one made.
            Condition.number("mod_revision", self._writer_key, "=", _revision_of(writer)),
        ]
        write = Delete(self._key) if value is None else Put(self._key, value)
        writes = [write, Put(self._writer_key, mark)]
        was_unsure = False
        while True:
            try:
                self.is_unsure = True
                done = await self._kv.txn(unchanged, writes, [Range(self._writer_key)])
            except QcoreError as error:
                if is_temporary(error):
                    was_unsure = True
                    await asyncio.sleep(PAUSE_S)
                    continue
                if was_unsure:
                    raise OutcomeUnknown(
                        f"an attempt may have taken effect, and the next one failed: {error}"
                    ) from error
                self.is_unsure = False
                raise
            revision: int | None = None
            if done.succeeded:
                revision = done.revision
            elif was_unsure:
                revision = await self._find(mark, done, _revision_of(writer))
            self.is_unsure = False
            return revision

    async def _find(self, mark: bytes, done: TxnResult, after: int) -> int | None:
        """The revision after `after` that wrote a mark; None if none did."""
        newest = page_of_txn(done, 0).kvs
        if not newest:
            raise OutcomeUnknown(f"a program has deleted {self._writer_key!r}")
        if newest[0].value == mark:
            return newest[0].mod_revision
        return await self._repeated(lambda: self._search(mark, after + 1, newest[0].mod_revision))

    async def _search(self, mark: bytes, first: int, last: int) -> int | None:
        """The revision from `first` to `last` that wrote a mark; None if none did."""
        try:
            watch = self._kv.watch(self._writer_key, from_revision=first, kinds=["put"])
            async with watch as changes:
                async for change in changes:
                    if change.kv.value == mark:
                        return change.revision
                    if change.revision >= last:
                        return None
        except WatchCompacted as error:
            raise _HistoryGone from error
        raise OutcomeUnknown("the client was closed")

    async def _repeated(self, read: Callable[[], Awaitable[_R]]) -> _R:
        """Read, also while the cluster cannot be reached."""
        while True:
            try:
                return await read()
            except _HistoryGone as error:
                raise OutcomeUnknown(
                    "the history of the cluster no longer has the revision at which the change may have taken effect"
                ) from error
            except QcoreError as error:
                if not is_temporary(error):
                    raise
                await asyncio.sleep(PAUSE_S)


class _HistoryGone(Exception):
    """The history no longer has what is searched for."""


def _revision_of(kv: KeyVersion | None) -> int:
    return 0 if kv is None else kv.mod_revision
