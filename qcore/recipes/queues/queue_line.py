"""`QueueLine`: which items of a queue no consumer has claimed, as a consumer sees it from a read and a watch."""

from __future__ import annotations

from heapq import nsmallest
from typing import TYPE_CHECKING, Final, NamedTuple

from qcore.kv.key_values import KeyChange, KeyVersion
from qcore.kv.txn_parts import Range
from qcore.recipes.queues.queue_keys import Marker, QueueKeys

if TYPE_CHECKING:
    from qcore.kv.kv_client import KeyValue

#: So many keys of the line one request reads. Two for each item that is claimed at its head, one for each other.
_PAGE: Final = 64


class FreeItem(NamedTuple):
    """An item that no consumer had claimed when it was seen.

    Attributes:
        number: its number.
        marker: how often it was claimed before.
        revision: the `mod_revision` of its key. While that is the same, so are the attempts.
    """

    number: int
    marker: Marker
    revision: int


class QueueLine:
    """The items and the claims that are known.

    Args:
        keys: the keys of the queue.

    Attributes:
        revision: it shows the line as of this revision, as long as no change is put in.
    """

    def __init__(self, keys: QueueKeys) -> None:
        self._keys = keys
        self._items: dict[int, KeyVersion] = {}
        self._claims: dict[int, KeyVersion] = {}
        self._free: dict[int, None] = {}
        self.revision = 0

    @classmethod
    async def read(cls, kv: KeyValue, keys: QueueKeys) -> QueueLine:
        """The line as it is now. If an item is free, only its head: the items up to the first page with a free one.

        Raises:
            RevisionCompacted: the revision was compacted while later pages were read.
        """
        line = cls(keys)
        page = await kv.range(Range(prefix=keys.line, limit=_PAGE))
        line.revision = page.revision
        while True:
            for found in page.kvs:
                line.put(found)
            if page.after is None or line._free:
                return line
            page = await kv.range(
                Range(prefix=keys.line, after=page.after, limit=_PAGE, revision=line.revision)
            )

    @property
    def has_free(self) -> bool:
        """Whether an item is free."""
        return bool(self._free)

    def free(self, most: int) -> list[FreeItem]:
        """The first free items, in their order.

        Raises:
            ConfigError: a key is not as a queue leaves it.
        """
        found: list[FreeItem] = []
        for number in nsmallest(most, self._free):
            item = self._items[number]
            marker = Marker.from_value(item.value)
            if marker is None:
                raise self._keys.foreign(item.key)
            found.append(FreeItem(number, marker, item.mod_revision))
        return found

    def put(self, found: KeyVersion) -> None:
        """A key of the line is set."""
        number, is_claim = self._keys.read_line_key(found.key)
        (self._claims if is_claim else self._items)[number] = found
        self._judge(number)

    def change(self, change: KeyChange) -> None:
        """A key of the line has changed."""
        if change.kind == "put":
            self.put(change.kv)
            return
        number, is_claim = self._keys.read_line_key(change.kv.key)
        (self._claims if is_claim else self._items).pop(number, None)
        self._judge(number)

    def _judge(self, number: int) -> None:
        if number in self._items and number not in self._claims:
            self._free[number] = None
        else:
            self._free.pop(number, None)
