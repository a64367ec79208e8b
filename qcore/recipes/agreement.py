"""`Agreement`: a number about which all programs that use one recipe must agree."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qcore.errors import ConfigError
from qcore.kv.txn_parts import Condition, Put, Range
from qcore.recipes.key_reads import page_of_txn

if TYPE_CHECKING:
    from qcore.kv.kv_client import KeyValue


class Agreement:
    """The first program writes its number to a key. All others compare theirs with it.

    Args:
        kv: the keys of the cluster.
        key: the key of the number. Nothing deletes it.
        title: names the recipe in errors, such as `semaphore gpu`.
        what: names the number, such as `permits`.
        number: this program's.
    """

    def __init__(self, kv: KeyValue, key: str, *, title: str, what: str, number: int) -> None:
        self._kv = kv
        self._key = key
        self._title = title
        self._what = what
        self._number = number
        self._is_confirmed = False

    async def confirm(self) -> None:
        """Compare the number with that of the cluster, once. It is safe to repeat after an error.

        Raises:
            ConfigError: the cluster has another one.
            QcoreError: the cluster did not answer in time, or rejects the request.
        """
        if self._is_confirmed:
            return
        done = await self._kv.txn(
            [Condition.exists(self._key, False)],
            [Put(self._key, str(self._number))],
            [Range(self._key)],
        )
        if not done.succeeded:
            found = page_of_txn(done, 0).kvs[0].value
            if found != str(self._number).encode():
                raise ConfigError(
                    f"{self._title}: this program has {self._what}={self._number}, and another one has "
                    f"{self._what}={found.decode(errors='replace')}: give all programs the same; to change it, stop "
                    f"all of them and delete the key {self._key}"
                )
        self._is_confirmed = True
