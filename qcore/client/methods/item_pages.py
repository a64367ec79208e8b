"""Pages of lists: the option that asks for one, and the iteration over all of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Protocol, TypeVar

from qcore.client.request_sender import Json
from qcore.display import truncate
from qcore.errors import RemoteProtocolError

#: How many items the iteration fetches at a time.
_PAGE_SIZE = 1000

_T = TypeVar("_T")
_Item = TypeVar("_Item", covariant=True)


class Page(Protocol[_Item]):
    """A page of a list."""

    @property
    def items(self) -> Sequence[_Item]:
        """The items of this page."""
        ...

    @property
    def next_cursor(self) -> str | None:
        """The cursor of the next page; None on the last one."""
        ...


def page_options(limit: int | None, cursor: str | None) -> dict[str, Json] | None:
    """The `page_opts` of a message."""
    if limit is None and cursor is None:
        return None
    return {"limit": 100 if limit is None else limit, "cursor": cursor}


async def all_items(
    fetch: Callable[[int, str | None], Awaitable[Page[_T]]],
) -> AsyncIterator[_T]:
    """The items of all pages. `fetch` takes the most items of a page, and its cursor.

    Raises:
        RemoteProtocolError: the pages would never end.
    """
    cursor: str | None = None
    while True:
        page = await fetch(_PAGE_SIZE, cursor)
        for item in page.items:
            yield item
        before, cursor = cursor, page.next_cursor
        if cursor is None:
            return
        if cursor == before:
            raise RemoteProtocolError(
                f"the server sent a page that ends where it began, at {truncate(repr(cursor))}"
            )
