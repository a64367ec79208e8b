"""Counters, each with a mistake."""

from __future__ import annotations

from typing import Final

from qcore.errors import QcoreError
from qcore.kv.txn_parts import Range
from qcore.recipes import Counter
from qcore.recipes.counter import _Change, _State, _state_of
from qcore.recipes.recipe_errors import is_temporary
from tests.recipes.chaos_runs import CHAOS

#: Many answers come too late for a request of 0.3 s, and the client cannot ask again in time.
LATE_ANSWERS: Final = """
cluster: {nodes: 3, machine: kv}
network: {latency_ms: {uniform: [1, 5]}, clients: {latency_ms: {uniform: [1, 220]}}}
workload:
  clients: 3
  program_faults: {every_ms: {uniform: [500, 2000]}, pause_ms: {uniform: [100, 600]}, kill_fraction: 0.2}
  stop_ms: 20000
until_ms: 21000
"""


class AddsAgainWhenInDoubt(Counter):
    """An attempt without an answer is made again, as if it had no effect."""

    async def _has_taken_effect(self, change: _Change, state: _State) -> bool:
        change.doubt = None
        return False


class LooksFromTheWrongRevision(Counter):
    """The search in the history begins where the doubt was noticed, and not where the attempt was made."""

    async def _has_taken_effect(self, change: _Change, state: _State) -> bool:
        if change.doubt is not None and change.doubt.mod_revision != state.mod_revision:
            change.doubt.revision = state.mod_revision
        return await super()._has_taken_effect(change, state)


class PutsWhatItHasRead(Counter):
    """The write has no condition."""

    async def _attempt(self, change: _Change, state: _State) -> _State | None:
        change.result = change.new(state.value)
        await self._kv.put(self._key, str(change.result))
        return None


class TakesAnotherChangeForIts(Counter):
    """An attempt without an answer is made again, and if the counter was changed meanwhile, it is taken for ours."""

    async def _has_taken_effect(self, change: _Change, state: _State) -> bool:
        doubt = change.doubt
        return doubt is not None and doubt.mod_revision != state.mod_revision


class ReadsAnyNode(Counter):
    """Reads may be answered by a node that has not heard of the last changes."""

    async def get(self) -> int:
        try:
            page = await self._kv.range(Range(self._key), consistency={"stale": 60_000})
        except QcoreError as error:
            if is_temporary(error):
                return await super().get()
            raise
        return _state_of(page).value


#: The counters, and the scenario that is sharp for each.
COUNTER_MISTAKES: Final[tuple[tuple[type[Counter], str], ...]] = (
    (AddsAgainWhenInDoubt, LATE_ANSWERS),
    (LooksFromTheWrongRevision, LATE_ANSWERS),
    (PutsWhatItHasRead, LATE_ANSWERS),
    (TakesAnotherChangeForIts, LATE_ANSWERS),
    (ReadsAnyNode, CHAOS),  # which isolates nodes
)
