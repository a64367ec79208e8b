"""`LiveKeys`: some keys, kept up to date by a watch that begins at the revision of a read.

A watch alone misses what was compacted while no node served it, and what the restore of a backup has undone. So after
each resumption the view compares itself with the cluster *as of the revision that it shows*. If the cluster does not
know that state, it reads everything again, and readers learn that changes may have been skipped.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from qcore.errors import (
    ConfigError,
    QcoreError,
    RevisionCompacted,
    RevisionInFuture,
    WatchCompacted,
)
from qcore.kv.txn_parts import Range
from qcore.recipes.key_reads import State, read_range
from qcore.recipes.recipe_errors import NotAcquired, is_temporary
from qcore.recipes.retries import PAUSE_S
from qcore.recipes.views.change_callbacks import reported_failure
from qcore.recipes.views.key_changes_feed import KeysChange, KeysFeed, KeysReader, KeyStep
from qcore.time_limit import time_limit

if TYPE_CHECKING:
    from qcore.kv.key_values import Data, KeyChange, KeyVersion
    from qcore.kv.key_watches import KeyWatch
    from qcore.kv.kv_client import KeyValue

#: How often a view makes sure that it shows the newest state, seconds.
DEFAULT_SYNC_S: Final = 30.0
#: If a change that was written before `sync` does not arrive for so long, the watch is made again, seconds.
_PATIENCE_S: Final = 1.0


class _StateDiffers(Exception):
    """The cluster does not know the state that the view shows, or does not keep it any more."""


class LiveKeys:
    """A view of one key, or of all keys with a prefix. Use it as an async context manager, or call `open` and `close`.

    Args:
        kv: the keys of the cluster.
        key, prefix: which keys; give one of them.
        sync_every_s: how often it does a `sync` by itself, seconds; None for never.

    Attributes:
        revision: as of which revision the keys are known. It never goes back.
        on_change: called with each change, before the readers get it.
        failure: why the view has ended by itself. Its state is old from then on.
    """

    def __init__(
        self,
        kv: KeyValue,
        *,
        key: Data | None = None,
        prefix: Data | None = None,
        sync_every_s: float | None = None,
    ) -> None:
        if sync_every_s is not None and not 0 < sync_every_s < math.inf:
            raise ConfigError(f"sync_every_s: {sync_every_s!r} is no number of seconds above 0")
        self._kv = kv
        self._range = Range(key, prefix=prefix)
        self._sync_every_s = sync_every_s
        self._feed = KeysFeed()
        self._keys: dict[bytes, KeyVersion] = {}
        self.revision = 0
        #: The keys whose changes of `revision` the view has; None for all.
        self._changed: dict[bytes, None] | None = None
        self.on_change: Callable[[KeysChange], object] = lambda change: None
        self._watch: KeyWatch | None = None
        self._task: asyncio.Task[None] | None = None
        self._is_opened = self._is_closed = False
        self._confirmed_us = 0
        self.failure: BaseException | None = None

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    # -- what it shows ---------------------------------------------------------------------------

    @property
    def keys(self) -> Mapping[bytes, KeyVersion]:
        """The keys that exist, in no order."""
        return self._keys

    @property
    def is_served(self) -> bool:
        """Whether a node serves the watch, as far as the client knows; see `qcore.client.Watch.is_served`."""
        return self._watch is not None and self._watch.is_served

    def age_s(self) -> float:
        """How old the state may be at most, seconds: since the last read that confirmed it was sent."""
        return (self._kv.runtime.monotonic_us() - self._confirmed_us) / 1_000_000

    def reader(self) -> KeysReader:
        """A reader that gets every change from now on."""
        self.check_open()
        return self._feed.reader()

    def check_open(self) -> None:
        """Raise if the view was not opened yet.

        Raises:
            ConfigError: it was not.
        """
        if not self._is_opened:
            raise ConfigError("this view is not open: use it as a context manager, or await open()")

    # -- its life --------------------------------------------------------------------------------

    async def open(self) -> None:
        """Read the keys, and begin to watch them. It waits also while the cluster cannot be reached.

        Raises:
            ConfigError: it was opened before.
            QcoreError: the cluster rejects the request.
        """
        if self._is_opened or self._is_closed:
            raise ConfigError("this view was opened before: make another one")
        self._is_opened = True
        try:
            self._set(await self._read_newest())
        except BaseException:
            self._is_opened = False
            raise
        self._task = asyncio.get_running_loop().create_task(self._run(), name="qcore-live-keys")
        self._task.add_done_callback(self._ended)

    async def close(self) -> None:
        """Stop to watch. The last state remains. May be called again."""
        self._is_closed = True
        self._feed.end()
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def sync(self, timeout_s: float | None = None) -> None:
        """Wait until the view shows at least what was written before this call.

        Args:
            timeout_s: how long to wait, seconds; None for any time, also while the cluster cannot be reached.

        Raises:
            NotAcquired: the time was over first.
            QcoreError: the cluster rejects the request, or the view has failed.
        """
        reader = self.reader()
        try:
            async with time_limit(timeout_s):
                await self._sync(reader)
        except TimeoutError:
            raise NotAcquired(
                f"the view does not show the newest state within {timeout_s:g} s: the cluster cannot be reached, or it "
                "has no leader"
            ) from None

    async def _sync(self, reader: KeysReader) -> None:
        shown = self.revision
        sent_us, state = await self._read_newest(keys_only=True)
        expected, until = _revisions_of(state.kvs), state.revision
        if until < shown:
            until = (
                self.revision
            )  # the cluster continues a backup, and what the view shows is undone
        while self.revision <= until and expected != _revisions_of(self._keys.values()):
            try:
                async with time_limit(_PATIENCE_S):
                    await reader.take()
            except TimeoutError:
                # The node that serves the watch may be cut off from the others. The next one is chosen at random.
                if self._watch is not None:
                    await self._watch.close()
            except StopAsyncIteration:
                raise ConfigError("this view is closed: make another one") from None
        self._confirmed_us = max(self._confirmed_us, sent_us)

    # -- the task --------------------------------------------------------------------------------

    async def _run(self) -> None:
        """Follow the keys, and sync regularly, until the view is closed, or one of them fails."""
        create_task = asyncio.get_running_loop().create_task
        tasks = [create_task(self._follow_always())]
        if self._sync_every_s is not None:
            tasks.append(create_task(self._sync_regularly(self._sync_every_s)))
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            for task in tasks:
                if task in done:
                    task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(
                *tasks, return_exceptions=True
            )  # what failed first is raised above

    async def _sync_regularly(self, every_s: float) -> None:
        """Notice that the node that serves the watch is cut off from the others."""
        while True:
            await asyncio.sleep(every_s)
            await self._sync(self._feed.reader())

    async def _follow_always(self) -> None:
        """Follow the keys, with one watch after the other."""
        is_first = True
        while True:
            try:
                await self._follow(is_first)
            except (WatchCompacted, _StateDiffers):
                self._set(await self._read_newest())
                is_first = True
                continue
            except QcoreError as error:
                if not is_temporary(error):
                    raise
                await asyncio.sleep(PAUSE_S)
            is_first = False

    async def _follow(self, is_first: bool) -> None:
        """Apply the changes from here on, until the watch ends."""
        from_revision = self.revision + 1 if self._changed is None else self.revision
        watch = self._kv.watch(
            self._range.key, prefix=self._range.prefix, from_revision=from_revision
        )
        watch.when_resumed(self._verify)
        async with watch:
            self._watch = watch
            if not is_first:
                await self._verify()
            async for change in watch:
                self._apply(change)

    async def _verify(self) -> None:
        """Compare the view with the cluster as of the revision of the view.

        A transaction of which the view has only a part looks like a difference. That is rare, and harmless.

        Raises:
            _StateDiffers: they differ, or the cluster does not keep that state any more.
        """
        if not self.revision:
            return  # nothing was ever written
        try:
            then = await self._read(keys_only=True, revision=self.revision)
        except (RevisionCompacted, RevisionInFuture):
            raise _StateDiffers from None
        if _revisions_of(then.kvs) != _revisions_of(self._keys.values()):
            raise _StateDiffers

    def _apply(self, change: KeyChange) -> None:
        """A change that the watch received."""
        key, revision = change.kv.key, change.revision
        if revision < self.revision:
            return  # the view has it
        if revision == self.revision:
            if self._changed is None or key in self._changed:
                return
        else:
            self.revision, self._changed = revision, {}
        assert self._changed is not None, "there is a change after a read"
        self._changed[key] = None
        after = change.kv if change.kind == "put" else None
        step = KeyStep(self._keys.get(key), after)
        self._put(key, after)
        self._publish(KeysChange(self.revision, {key: step}, skipped=False))

    def _set(self, read: tuple[int, State]) -> None:
        """Show what was read."""
        sent_us, state = read
        self._confirmed_us = sent_us
        now = {kv.key: kv for kv in state.kvs}
        steps = {
            key: KeyStep(self._keys.get(key), now.get(key))
            for key in dict.fromkeys((*self._keys, *now))
            if _revision_of(self._keys.get(key)) != _revision_of(now.get(key))
        }
        is_first = self._task is None
        # The cluster that continues a restored backup reports revisions of the backup until its first change.
        self.revision, self._changed = max(self.revision, state.revision), None
        for key, step in steps.items():
            self._put(key, step.after)
        if steps and not is_first:
            skipped = self._range.key is None or any(map(_may_skip, steps.values()))
            self._publish(KeysChange(self.revision, steps, skipped))

    def _put(self, key: bytes, after: KeyVersion | None) -> None:
        if after is None:
            self._keys.pop(key, None)
        else:
            self._keys[key] = after

    def _publish(self, change: KeysChange) -> None:
        self.on_change(change)
        self._feed.add(change)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """The task has ended: the view was closed, or it has failed."""
        names = self._range.key if self._range.prefix is None else self._range.prefix
        self.failure = reported_failure(
            task,
            f"the view of {names!r}",
            is_closed=self._is_closed,
            is_awaited=self._feed.is_awaited,
        )
        self._feed.end(self.failure)

    # -- reads -----------------------------------------------------------------------------------

    async def _read(self, *, keys_only: bool = False, revision: int | None = None) -> State:
        return await read_range(
            self._kv, replace(self._range, keys_only=keys_only, revision=revision)
        )

    async def _read_newest(self, *, keys_only: bool = False) -> tuple[int, State]:
        """The newest state, and when it was asked for. It waits also while the cluster cannot be reached."""
        while True:
            sent_us = self._kv.runtime.monotonic_us()
            try:
                return sent_us, await self._read(keys_only=keys_only)
            except QcoreError as error:
                if not is_temporary(error):
                    raise
                await asyncio.sleep(PAUSE_S)


def _revision_of(kv: KeyVersion | None) -> int:
    return 0 if kv is None else kv.mod_revision


def _revisions_of(kvs: Iterable[KeyVersion]) -> dict[bytes, int]:
    """The revision of each key."""

    return {kv.key: kv.mod_revision for kv in kvs}


def _may_skip(step: KeyStep) -> bool:
    """Whether the key may have had other versions between these two."""
    before, after = step
    return (
        before is None
        or after is None
        or before.create_revision != after.create_revision
        or before.version + 1 != after.version
    )
