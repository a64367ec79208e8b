"""Reads ranges of keys, with a bound for the work of one request."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from qcore.errors import TooManyOperations
from qcore.machines.kv.requests import ANY_REVISION, Range
from qcore.machines.kv.result_texts import bool_json, list_json, version_json
from qcore.machines.kv.texts import json_of
from qcore.machines.kv.versions import Version, VersionedKeys
from qcore.machines.limits import (
    MAX_OPERATIONS,
    MAX_PAGE_BYTES,
    MAX_PAGE_ITEMS,
    MAX_WRITE_RESPONSE_BYTES,
)

#: How many keys a page of an earlier revision looks at, those included that did not exist then.
MAX_SCANNED: Final = MAX_PAGE_ITEMS


class Work:
    """Counts the steps of one request, and the bytes of its answer. Both are taken before anything changes.

    Attributes:
        steps: how many were taken: one for each key that is looked at.
        bytes_left: how many bytes pages may still have.
    """

    def __init__(self) -> None:
        self.steps = 0
        self.bytes_left = MAX_WRITE_RESPONSE_BYTES

    def take(self, steps: int = 1) -> None:
        """Take steps.

        Raises:
            TooManyOperations: the request needs more than one entry may.
        """
        self.steps += steps
        if self.steps > MAX_OPERATIONS:
            raise TooManyOperations(
                f"the request looks at more than {MAX_OPERATIONS} keys: name a smaller range, or use pages"
            )

    def take_bytes(self, size: int) -> None:
        """Take bytes of the answer that it cannot leave out.

        Raises:
            TooManyOperations: the answer would be too large.
        """
        self.bytes_left -= size
        if self.bytes_left < 0:
            raise TooManyOperations(
                f"the earlier values have more than {MAX_WRITE_RESPONSE_BYTES} bytes: leave out `prev`"
            )


def steps_of_range(keys: VersionedKeys, request: Range) -> int:
    """How many keys `read_range` looks at, at most."""
    if request.keys.single:
        return 1
    earlier = _is_earlier(keys, request)
    held = keys.count(request.keys.begin, request.keys.end, deleted=earlier)
    if _is_whole(request):
        return held
    return min(held, MAX_SCANNED if earlier else _most(request)) + 1


def read_range(keys: VersionedKeys, request: Range, work: Work) -> str:
    """The fields of an answer as JSON text, each with a comma before it: `kvs`, `more`, `count`, and perhaps `next`.

    A page ends at the limit of the request, or of a page (`MAX_PAGE_ITEMS`, `MAX_PAGE_BYTES`), and `more` says that
    there are other keys. In the order of the keys, the next page begins `after` the last one, at the same revision. A
    page of an earlier revision that has looked at `MAX_SCANNED` keys ends, too, and the next one begins after `next`.

    Args:
        keys: the state.
        request: what to read. Its revision is readable.
        work: its bytes bound the page. The steps were taken before.
    """
    begin, end = request.keys.begin, request.keys.end
    if request.keys.single:
        return _read_key(keys.get(begin, request.revision), request, work)
    # What is sorted later is read in the order of the keys, in which equals stay.
    descending = request.descending and not _is_whole(request)
    held: Iterable[tuple[bytes, Version | None]]
    if request.revision is not None and _is_earlier(keys, request):
        held = keys.scan_at(request.revision, begin, end, descending=descending)
        if _is_whole(request) or keys.count(begin, end, deleted=True) <= MAX_SCANNED:
            held = [each for each in held if each[1] is not None]
            count = len(held)
        else:
            count = keys.count(begin, end)
    else:
        versions = keys.scan(begin, end, descending=descending)
        held = ((version.key, version) for version in versions)
        count = keys.count(begin, end)
    if _is_whole(request):
        selected = _selected([version for _, version in held if version is not None], request)
        held = [(version.key, version) for version in selected]
    found: list[str] = []
    more = False
    size = min(MAX_PAGE_BYTES, work.bytes_left)
    last = ""
    for seen, (key, version) in enumerate(() if request.count_only else held):
        if len(found) == _most(request) or size <= 0 or seen == MAX_SCANNED:
            more = True
            break
        if version is None:
            last = f',"next":{json_of(key)}'
            continue
        last = ""
        text = version_json(version, keys_only=request.keys_only)
        found.append(text)
        size -= len(text)
        work.bytes_left -= len(text)
    following = last if more else ""
    return f',"kvs":{list_json(found)},"more":{bool_json(more)},"count":{count}{following}'


def _read_key(version: Version | None, request: Range, work: Work) -> str:
    """The result for the range of one key, which most reads are."""
    if version is None:
        return ',"kvs":[],"more":false,"count":0'
    if request.count_only or not _selected([version], request):
        return ',"kvs":[],"more":false,"count":1'
    if work.bytes_left <= 0:
        return ',"kvs":[],"more":true,"count":1'
    text = version_json(version, keys_only=request.keys_only)
    work.bytes_left -= len(text)
    return f',"kvs":[{text}],"more":false,"count":1'


def _most(request: Range) -> int:
    """The most keys of a page."""
    return min(request.limit or MAX_PAGE_ITEMS, MAX_PAGE_ITEMS)


def _is_earlier(keys: VersionedKeys, request: Range) -> bool:
    """Whether it reads a revision that is not the newest."""
    return request.revision is not None and request.revision != keys.revision


def _is_whole(request: Range) -> bool:
    """Whether it must look at the whole range, whatever its limit."""
    return (
        request.sort_by != "key"
        or request.mod_revisions != ANY_REVISION
        or request.create_revisions != ANY_REVISION
    )


def _selected(held: list[Version], request: Range) -> list[Version]:
    if not _is_whole(request):
        return held
    (mod_low, mod_high), (create_low, create_high) = request.mod_revisions, request.create_revisions
    chosen = [
        version
        for version in held
        if mod_low <= version.revision <= mod_high and create_low <= version.created <= create_high
    ]
    # Python's sort is stable, also in reverse: equals stay in the order of their keys.
    match request.sort_by:
        case "value":
            chosen.sort(key=_value, reverse=request.descending)
        case "key":
            chosen.sort(key=_key, reverse=request.descending)
        case other:
            chosen.sort(key=_NUMBERS[other], reverse=request.descending)
    return chosen


def _key(version: Version) -> bytes:
    return version.key


def _value(version: Version) -> bytes:
    return version.value or b""


_NUMBERS: Final[dict[str, Callable[[Version], int]]] = {
    "version": lambda version: version.number,
    "create_revision": lambda version: version.created,
    "mod_revision": lambda version: version.revision,
}
