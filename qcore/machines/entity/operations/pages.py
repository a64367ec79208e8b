"""The requests of the store that find entities: by type, by path, below a parent. Results come in pages.

An entity that exists during a whole walk over the pages occurs exactly once, whatever is created and deleted meanwhile,
because a cursor names a place in a fixed order and not a number of items.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from typing import Final

from pydantic_core import to_json

from qcore.errors import BadCursor, BadRequest, PathAmbiguous, PathNotFound
from qcore.machines.entity.filter.entity_filter import Filter, compile_filter
from qcore.machines.entity.filter.filter_text import MAX_CHARACTERS
from qcore.machines.entity.operations.store_operation import StoreOperation, always
from qcore.machines.entity.operations.tree import parent_of
from qcore.machines.entity.permission_checks import check_read, check_see, may_read, may_see
from qcore.machines.entity.quoted_text import quoted
from qcore.machines.entity.requests.store_requests import (
    ChildrenBody,
    FindBody,
    PageBody,
    PageOptions,
    PathBody,
)
from qcore.machines.entity.state.child_list import ChildList, id_bytes, ids_text
from qcore.machines.entity.state.entity_id import EntityId
from qcore.machines.entity.state.field_values import id_from_json, id_to_json
from qcore.machines.entity.transaction import CHILDREN, NAME, Transaction
from qcore.machines.limits import MAX_PAGE_BYTES, MAX_PAGE_ITEMS, MAX_SCANNED

#: Without options.
DEFAULT_LIMIT: Final = 100
#: Characters of a filter that take about as long as one step to compile.
_CHARACTERS_PER_STEP: Final = 2
_SHOWN_IDS: Final = 3


def _options(options: PageOptions | None) -> tuple[int, str | None]:
    """The number of items, bounded, and the cursor."""
    if options is None:
        return DEFAULT_LIMIT, None
    return min(options["limit"], MAX_PAGE_ITEMS), options["cursor"]


def _page(items: str, total: int | None, cursor: str | None) -> str:
    return f'{{"Ok":{{"items":{items},"total":{to_json(total).decode()},"next_cursor":{to_json(cursor).decode()}}}}}'


def _find(transaction: Transaction, body: FindBody) -> str:
    check_see(transaction, body["entity_type"])
    types = transaction.schemas.with_subtypes(body["entity_type"])
    return _entities(transaction, body, types)


def _find_exact(transaction: Transaction, body: FindBody) -> str:
    check_see(transaction, body["entity_type"])
    transaction.schemas.get(body["entity_type"])
    return _entities(transaction, body, [body["entity_type"]])


def _entities(transaction: Transaction, body: FindBody, types: list[str]) -> str:
    """A page of entities of these types, ordered by type and number."""
    transaction.count(len(types) // 16)
    limit, cursor = _options(body["page_opts"])
    text = body.get("filter")
    wanted: Filter | None = None
    if text is not None:
        transaction.count(min(len(text), MAX_CHARACTERS) // _CHARACTERS_PER_STEP)
        wanted = compile_filter(text, transaction.schemas.slots(body["entity_type"]))
    found: list[EntityId] = []
    room, scanned, before = MAX_PAGE_BYTES, 0, transaction.operations
    last: EntityId | None = None
    after = None if cursor is None else _entity_cursor(cursor)
    next_cursor: str | None = None
    for entity_id in transaction.ids_of_types(types, after):
        work = scanned + transaction.operations - before
        if len(found) >= limit or room <= 0 or work >= MAX_SCANNED:
            assert last is not None, "limits are above 0"
            next_cursor = str(last)
            break
        last = entity_id
        if wanted is not None:
            scanned += wanted.cost
            if not wanted.matches(transaction, transaction.get(entity_id)):
                continue
        room -= id_bytes(entity_id)
        found.append(entity_id)
    transaction.count(len(found) // 16 + scanned // 2)
    total = None if wanted is not None else transaction.number_of(types)
    return _page(ids_text(found), total, next_cursor)


def _entity_cursor(cursor: str) -> EntityId:
    typ, dollar, number = cursor.rpartition("$")
    if not dollar or not (number.isascii() and number.isdigit()) or len(number) > 20:
        raise _bad_cursor(cursor)
    return EntityId(typ, int(number))


def _bad_cursor(cursor: str) -> BadCursor:
    return BadCursor(
        f"page_opts.cursor: {quoted(cursor)} is not the next_cursor of a page of this request: begin without a cursor"
    )


def _types(transaction: Transaction, body: PageBody) -> str:
    limit, cursor = _options(body["page_opts"])
    names = transaction.schemas.names()
    if transaction.permissions is not None:
        transaction.count(len(names) // 16)
        names = [name for name in names if may_see(transaction, name)]
    start = 0 if cursor is None else bisect_right(names, cursor)
    page = names[start : start + limit]
    transaction.count(len(page) // 16)
    more = page[-1] if start + limit < len(names) else None
    return _page(to_json(page).decode(), len(names), more)


def _segments(path: str | list[str]) -> list[str]:
    segments = path.split("/") if isinstance(path, str) else path
    if not segments:
        raise BadRequest(
            "path: the list is empty; it must name the entities from the top level down"
        )
    if "" in segments:
        raise BadRequest(
            f"path: {quoted('/'.join(segments))} has an empty segment; write it like Root/Users/Admin, or as a list of "
            "names"
        )
    return segments


def _find_by_path(transaction: Transaction, body: PathBody) -> str:
    segments = _segments(body["path"])
    parent: EntityId | None = None
    for position, name in enumerate(segments):
        transaction.count(1)
        found = list(_named(transaction, parent, name))
        where = quoted("/".join(segments[: position + 1]))
        if not found:
            raise PathNotFound(f"path {where}: no entity is there")
        if len(found) > 1:
            shown = ", ".join(str(each) for each in found[:_SHOWN_IDS])
            raise PathAmbiguous(
                f"path {where}: several entities are there, such as {shown}: use an id, or rename them"
            )
        parent = found[0]
    return f'{{"Ok":{to_json(id_to_json(parent)).decode()}}}'


def _named(transaction: Transaction, parent: EntityId | None, name: str) -> Iterator[EntityId]:
    """The entities below a parent with this name, at most some."""
    found = 0
    for entity in transaction.candidates(0 if parent is None else parent.id, name):
        transaction.count(1)
        slot = transaction.schemas.slots(entity.entity_id.typ).get(NAME)
        if slot is None or entity.field(NAME, slot).value.data != name:
            continue  # the type no longer has a name
        if not may_read(transaction, entity.entity_id.typ, NAME):
            continue  # for this user it has none
        if parent_of(transaction, entity) == parent:
            yield entity.entity_id
            found += 1
            if found >= _SHOWN_IDS:
                return


def _children(transaction: Transaction, body: ChildrenBody) -> str:
    limit, cursor = _options(body["page_opts"])
    after = -1
    if cursor is not None:
        if not (cursor.isascii() and cursor.isdigit()) or len(cursor) > 20:
            raise _bad_cursor(cursor)
        after = int(cursor)
    if body["entity_id"] is None:
        return _top_level(transaction, limit, after)
    parent_id = id_from_json(body["entity_id"])
    check_read(transaction, parent_id.typ, CHILDREN)
    parent = transaction.get(parent_id)
    transaction.slot(parent, CHILDREN)
    held = transaction.targets(parent, CHILDREN)
    entries = (
        held.entries_after(after)
        if isinstance(held, ChildList)
        else ((place, child) for place, child in enumerate(held) if place > after)
    )
    found: list[EntityId] = []
    room, last = MAX_PAGE_BYTES, after
    for place, child in entries:
        if len(found) >= limit or room <= 0:
            transaction.count(len(found) // 16)
            return _page(ids_text(found), len(held), str(last))
        found.append(child)
        room -= id_bytes(child)
        last = place
    transaction.count(len(found) // 16)
    return _page(ids_text(found), len(held), None)


def _top_level(transaction: Transaction, limit: int, after: int) -> str:
    found: list[EntityId] = []
    room, scanned, last = MAX_PAGE_BYTES, 0, after
    for entity in transaction.top_level_candidates(after):
        if len(found) >= limit or room <= 0 or scanned >= MAX_SCANNED:
            transaction.count(scanned // 4)
            return _page(ids_text(found), None, str(last))
        scanned += 1
        last = entity.entity_id.id
        if not may_see(transaction, entity.entity_id.typ):
            continue
        if parent_of(transaction, entity) is None:
            found.append(entity.entity_id)
            room -= id_bytes(entity.entity_id)
    transaction.count(scanned // 4)
    return _page(ids_text(found), None, None)


PAGE_OPERATIONS: Final = {
    "StoreFindEntities": StoreOperation(_find, always),
    "StoreFindEntitiesExact": StoreOperation(_find_exact, always),
    "StoreGetEntityTypes": StoreOperation(_types, always),
    "StoreFindByPath": StoreOperation(_find_by_path, always),
    "StoreGetChildren": StoreOperation(_children, always),
}
