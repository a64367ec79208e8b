"""Mistakes in `RunOnce`, each of which makes it break its guarantee."""

from __future__ import annotations

from typing import Final

import pytest

from qcore.kv import Condition, Put
from qcore.kv.txn_parts import TxnOperation
from qcore.recipes.lease import Lease
from qcore.recipes.schedules.run_once import RunOnce
from qcore.recipes.schedules.slot_records import SlotRecord, SlotsSeen
from qcore.recipes.schedules.slot_run import SlotRun
from qcore.recipes.schedules.slot_times import RegularSlots


def starts_what_it_read(patch: pytest.MonkeyPatch) -> None:
    """A start does not ask whether another slot was started since the records were read."""

    def is_free(self: RunOnce, seen: SlotsSeen) -> list[Condition]:
        return [Condition.exists(self._keys.running, False)]

    patch.setattr(RunOnce, "_is_free", is_free)


def runs_without_lease(patch: pytest.MonkeyPatch) -> None:
    """Nothing ends the run of a worker that has ended."""
    parts = RunOnce._parts_of_start

    def parts_of_start(
        self: RunOnce, record: SlotRecord, seen: SlotsSeen, lease: Lease
    ) -> list[TxnOperation]:
        running, *others = parts(self, record, seen, lease)
        assert isinstance(running, Put)
        return [Put(running.key, running.value), *others]

    patch.setattr(RunOnce, "_parts_of_start", parts_of_start)


def finishes_any_run(patch: pytest.MonkeyPatch) -> None:
    """The end of a run asks whether a run goes on, and not whether it is this one."""
    condition = property(lambda self: Condition.exists(self._keys.running))
    patch.setattr(SlotRun, "condition", condition)


def leaves_a_slot_open(patch: pytest.MonkeyPatch) -> None:
    """A slot whose worker has ended is not started again."""
    patch.setattr(RunOnce, "_is_open", lambda _self, _newest: False)


def starts_the_newest_first(patch: pytest.MonkeyPatch) -> None:
    """Of several missed slots, the newest is started first, and then the older ones."""

    def choose(self: RunOnce, times: RegularSlots, seen: SlotsSeen, began: int, now: int) -> object:
        started = [each.slot for each in seen.records]
        oldest = min(started, default=0)
        due = [
            each
            for each in times.due(min(began, now), now, 3)
            if each not in started and each > oldest
        ]
        return due[-1] if due else None

    patch.setattr(RunOnce, "_choose", choose)


MISTAKES: Final = (
    starts_what_it_read,
    runs_without_lease,
    finishes_any_run,
    leaves_a_slot_open,
    starts_the_newest_first,
)
