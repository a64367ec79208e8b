"""The pauses between attempts, what an error says about the last one, and a deletion that is tried again."""

from __future__ import annotations

import asyncio
from random import Random
from typing import TYPE_CHECKING, Final

from qcore.errors import QcoreError
from qcore.recipes.recipe_errors import is_temporary

if TYPE_CHECKING:
    from qcore.kv.key_values import Data
    from qcore.kv.kv_client import KeyValue
    from qcore.recipes.lease import Lease

#: The pause before something that failed for a time is tried again, seconds.
PAUSE_S: Final = 0.1
#: The longest random pause after the first attempt for which another program was faster, seconds. It doubles each time.
_FIRST_S: Final = 0.004
_MAX_S: Final = 0.25


def last_error_text(error: QcoreError | None) -> str:
    """The end of the text of an error that says that the time was over: why the last attempt failed."""
    return "" if error is None else f"; the last error was: {error}"


async def delete_until_lost(kv: KeyValue, key: Data, lease: Lease) -> None:
    """Delete a key of a lease. It tries until it succeeds, or the lease is lost, whose end deletes the key.

    Raises:
        QcoreError: the cluster rejects the request.
    """
    while lease.lost is None:
        try:
            await kv.delete(key)
        except QcoreError as error:
            if not is_temporary(error):
                raise
            await asyncio.sleep(PAUSE_S)
        else:
            return


class RandomPauses:
    """Pauses of random lengths, so that programs that change the same key do not meet again and again.

    Args:
        rng: where the lengths come from.
    """

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._longest_s = _FIRST_S

    async def next(self) -> None:
        """Let other programs go first."""
        await asyncio.sleep(self._rng.uniform(0, self._longest_s))
        self._longest_s = min(2 * self._longest_s, _MAX_S)
