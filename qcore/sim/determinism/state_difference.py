"""Describes the difference of two states by the texts of their snapshots, in a few words."""

from __future__ import annotations

import json
from collections.abc import Iterator
from difflib import SequenceMatcher
from itertools import islice, zip_longest
from typing import Final

#: How many differences are named.
_NAMED: Final = 3
#: How much of a text is shown, characters.
_SHOWN: Final = 60
_ABSENT: Final = object()


def describe_difference(one: str, other: str) -> str:
    """The first differences of two snapshots: by path if they are JSON, else by line or character."""
    if one == other:
        return "the snapshots are equal"
    found = list(islice(_differences(one, other), _NAMED + 1))
    if not found:
        a, b = around_difference(one, other, _SHOWN)
        return f"from character {_common(one, other) + 1} on, {a} against {b}"
    shown = [f"{path}: {_short(a)} against {_short(b)}" for path, a, b in found[:_NAMED]]
    return ", ".join(shown) + (", and more" if len(found) > _NAMED else "")


def shorten(text: str, length: int = 120) -> str:
    """A text as it is shown in a report: in quotes, cut in the middle if it is long."""
    if len(text) > length:
        text = f"{text[: length - 20]}...{text[-15:]}"
    return ascii(text)


def around_difference(one: str, other: str, length: int = 120) -> tuple[str, str]:
    """Two different texts as they are shown: long ones from shortly before the first difference on."""
    if max(len(one), len(other)) <= length:
        return ascii(one), ascii(other)
    same = _common(one, other)
    begin = max(0, same - 30)
    found = []
    for text in (one, other):
        part = text[begin : begin + length]
        before = "..." if begin else ""
        after = "..." if len(text) > begin + length else ""
        found.append(ascii(f"{before}{part}{after}"))
    return found[0], found[1]


def _differences(one: str, other: str) -> Iterator[tuple[str, object, object]]:
    try:
        yield from _in_json(json.loads(one), json.loads(other), "$")
        return
    except (ValueError, RecursionError):
        pass
    lines = zip_longest(one.split("\n"), other.split("\n"), fillvalue=_ABSENT)
    for number, (a, b) in enumerate(lines, start=1):
        if a == b:
            continue
        try:
            yield from _in_json(json.loads(str(a)), json.loads(str(b)), f"line {number} $")
        except (ValueError, RecursionError):
            yield f"line {number}", a, b


def _in_json(one: object, other: object, path: str) -> Iterator[tuple[str, object, object]]:
    if isinstance(one, dict) and isinstance(other, dict):
        yield from _in_objects(one, other, path)
    elif isinstance(one, list) and isinstance(other, list):
        if one != other and sorted(map(json.dumps, one)) == sorted(map(json.dumps, other)):
            yield f"the order of {path}", one, other
        elif len(one) == len(other):
            for number, (a, b) in enumerate(zip(one, other, strict=True)):
                yield from _in_json(a, b, f"{path}[{number}]")
        else:
            yield from _in_lists(one, other, path)
    elif one != other or type(one) is not type(other):
        yield path, one, other


def _in_objects(
    one: dict[str, object], other: dict[str, object], path: str
) -> Iterator[tuple[str, object, object]]:
    for key in sorted(one.keys() | other.keys()):
        at = f"{path}.{key}" if key.isidentifier() else f"{path}[{_short(key)}]"
        if key not in one or key not in other:
            yield at, one.get(key, _ABSENT), other.get(key, _ABSENT)
        else:
            yield from _in_json(one[key], other[key], at)
    if one == other and list(one) != list(other):
        yield f"the order of the keys of {path}", list(one), list(other)


def _in_lists(
    one: list[object], other: list[object], path: str
) -> Iterator[tuple[str, object, object]]:
    a, b = [json.dumps(item) for item in one], [json.dumps(item) for item in other]
    if len(a) + len(b) > 2000:
        yield f"the length of {path}", len(one), len(other)
        return
    for kind, low, high, from_, to in SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        if kind != "equal":
            yield f"{path}[{low}]", one[low:high] or _ABSENT, other[from_:to] or _ABSENT


def _common(one: str, other: str) -> int:
    """The length of the common beginning."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[:middle] == other[:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _short(value: object) -> str:
    if value is _ABSENT:
        return "nothing"
    text = value if isinstance(value, str) else json.dumps(value)
    return (
        shorten(text, _SHOWN)
        if isinstance(value, str)
        else text[:_SHOWN] + "..." * (len(text) > _SHOWN)
    )
