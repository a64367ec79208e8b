"""Checks the length of the names of types and fields in a request."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from qcore.errors import NameTooLong
from qcore.machines.entity.quoted_text import quoted
from qcore.machines.limits import MAX_NAME_BYTES

#: A string that may be a long name, in a JSON text without escapes. Non-ASCII characters take up to four bytes each.
_LONG_RUN: Final = re.compile(f'"[^"]{{{MAX_NAME_BYTES + 1},}}')
_LONG_WIDE_RUN: Final = re.compile(f'"[^"]{{{MAX_NAME_BYTES // 4 + 1},}}')


def check_names(request: Mapping[str, object], text: str) -> None:
    """Reject a request that contains a name that is too long.

    Args:
        request: validated as a `Command` or a `PerformRequest`.
        text: its JSON text. Most texts obviously contain no long string, which saves the search.

    Raises:
        NameTooLong: quotes the name.
    """
    run = _LONG_RUN if text.isascii() else _LONG_WIDE_RUN
    if "\\" not in text and run.search(text) is None:
        return  # no string in it is long enough
    for name in _names(request):
        if 4 * len(name) > MAX_NAME_BYTES and len(name.encode()) > MAX_NAME_BYTES:
            raise NameTooLong(
                f"name {quoted(name)} has {len(name.encode())} bytes; the limit is {MAX_NAME_BYTES}"
            )


def _names(request: Mapping[str, object]) -> Iterator[str]:
    """Yield every name of a type or a field in the request. Paths are bounded by the steps that they take."""
    to_visit: list[object] = [request]
    while to_visit:
        match to_visit.pop():
            case dict() as fields:
                for key, value in fields.items():
                    if key in ("typ", "entity_type", "inherit") and isinstance(value, str):
                        yield value
                    elif key == "field_type" and isinstance(value, str):
                        if "->" not in value:
                            yield value
                    elif key in ("fields", "attributes") and isinstance(value, dict):
                        yield from value
                        to_visit.append(value)
                    elif isinstance(value, dict | list) and key != "Blob":
                        to_visit.append(value)
            case list() as items:
                to_visit += [item for item in items if isinstance(item, dict)]
