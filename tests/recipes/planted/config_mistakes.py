"""Mistakes in `ConfigWatch` that are easy to make."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from pydantic import TypeAdapter

from qcore.errors import QcoreError
from qcore.kv import Condition, KeyValue, KeyVersion, Put
from qcore.kv.key_values import Data
from qcore.recipes.recipe_errors import is_temporary
from qcore.recipes.views.config_watch import ConfigWatch
from qcore.recipes.views.key_changes_feed import KeysChange
from qcore.recipes.views.live_keys import LiveKeys
from qcore.recipes.views.once_writer import OnceWriter
from tests.recipes.programs.config_program import Count


class WatchesFromNow(LiveKeys):
    """Begins to watch when the watch is registered, and not at the revision of the read."""

    async def _follow(self, is_first: bool) -> None:
        watch = self._kv.watch(self._range.key, prefix=self._range.prefix)
        async with watch:
            self._watch = watch
            async for change in watch:
                self._apply(change)


class HidesWhatItSkipped(LiveKeys):
    """Reads again after a compaction, and gives the difference as an ordinary change."""

    def _publish(self, change: KeysChange) -> None:
        super()._publish(KeysChange(change.revision, change.steps, skipped=False))


class BelievesItsNode(LiveKeys):
    """Takes a watch that a node serves for a current one."""

    async def sync(self, timeout_s: float | None = None) -> None:
        while not self.is_served:
            await super().sync(timeout_s)


class ForgetsUnknownOutcomes(OnceWriter):
    """Takes a write whose answer did not come for one that failed, and begins again."""

    async def change(
        self, function: Callable[[KeyVersion | None], bytes | None], timeout_s: float | None
    ) -> int:
        while True:
            try:
                before = await self._kv.get(self._key)
                value = function(before)
                assert value is not None, "the program deletes nothing"
                revision = 0 if before is None else before.mod_revision
                unchanged = Condition.number("mod_revision", self._key, "=", revision)
                done = await self._kv.txn([unchanged], [Put(self._key, value)])
            except QcoreError as error:
                if not is_temporary(error):
                    raise
            else:
                if done.succeeded:
                    return done.revision


class WritesWithoutCondition(ForgetsUnknownOutcomes):
    """Reads, and writes what it makes of that, whatever happened in between."""

    async def change(
        self, function: Callable[[KeyVersion | None], bytes | None], timeout_s: float | None
    ) -> int:
        while True:
            try:
                value = function(await self._kv.get(self._key))
                assert value is not None, "the program deletes nothing"
                return await self._kv.put(self._key, value)
            except QcoreError as error:
                if not is_temporary(error):
                    raise


class _Mistaken(ConfigWatch[Count]):
    """A `ConfigWatch` with other parts."""

    keys_type: type[LiveKeys] = LiveKeys
    writer_type: type[OnceWriter] = OnceWriter

    def __init__(
        self,
        kv: KeyValue,
        key: Data,
        model: type[Count] | TypeAdapter[Count],
        *,
        default: Count | None = None,
        sync_every_s: float | None = None,
    ) -> None:
        super().__init__(kv, key, model, default=default, sync_every_s=sync_every_s)
        self._keys = self.keys_type(kv, key=self.key)
        self._keys.on_change = self._changed
        self._writer = self.writer_type(kv, self.key)


def mistaken_config(mistake: type[LiveKeys] | type[OnceWriter]) -> type[ConfigWatch[Count]]:
    """A `ConfigWatch` with a mistake."""
    if issubclass(mistake, LiveKeys):
        return type("Mistaken", (_Mistaken,), {"keys_type": mistake})
    return type("Mistaken", (_Mistaken,), {"writer_type": mistake})


CONFIG_MISTAKES: Final = (
    WatchesFromNow,
    HidesWhatItSkipped,
    BelievesItsNode,
    ForgetsUnknownOutcomes,
    WritesWithoutCondition,
)
