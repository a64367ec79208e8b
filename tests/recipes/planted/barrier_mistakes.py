"""Barriers, each with a mistake."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from qcore.kv import KeyVersion, Put
from qcore.kv.txn_parts import Condition
from qcore.recipes import Barrier
from qcore.recipes.barrier import _Place
from qcore.recipes.key_reads import integer_of


class ReleasesWithoutCondition(Barrier):
    """A participant that sees enough releases them, also those that another one has released, or that have ended."""

    async def _release(self, group: Sequence[KeyVersion], rounds: Sequence[KeyVersion]) -> None:
        number = str(1 + (integer_of(rounds[0]) if rounds else 0))
        await self._kv.txn([], [Put(f"{self._prefix}round", number), *_released(group, number)])


class ForgetsTheRound(Barrier):
    """The release asks whether the group still exists, and not whether another one has released it."""

    async def _release(self, group: Sequence[KeyVersion], rounds: Sequence[KeyVersion]) -> None:
        number = str(1 + (integer_of(rounds[0]) if rounds else 0))
        conditions = [
            Condition.number("create_revision", kv.key, "=", kv.create_revision) for kv in group
        ]
        await self._kv.txn(
            conditions, [Put(f"{self._prefix}round", number), *_released(group, number)]
        )


class CountsWhoIsReleased(Barrier):
    """A participant that is released and has not noticed it counts as one that waits."""

    def _is_waiting(self, kv: KeyVersion) -> bool:
        return kv.key.startswith(self._waiting.encode())


class LeavesWithoutLooking(Barrier):
    """Who leaves, or has lost its lease, does not look whether a round has released it."""

    async def _find_out(self, place: _Place) -> int | None:
        await self._kv.delete(place.key)
        return None


def _released(group: Sequence[KeyVersion], number: str) -> list[Put]:
    """Without the leases, so that it works also for those that have ended."""
    return [Put(kv.key, number) for kv in group]


BARRIER_MISTAKES: Final[dict[str, type[Barrier]]] = {
    each.__name__: each
    for each in (
        ReleasesWithoutCondition,
        ForgetsTheRound,
        CountsWhoIsReleased,
        LeavesWithoutLooking,
    )
}
