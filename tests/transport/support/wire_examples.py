"""Reads the examples of `docs/reference/wire.md`: what is sent, on which connection, and what response is expected."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from tests.checkout import DOCS

WIRE_DOCUMENT = DOCS / "reference" / "wire.md"
_BLOCK = re.compile(
    r"^```(json|text) (send|expect|shape)(?: (\w+))?\n(.*?)\n```$", re.DOTALL | re.MULTILINE
)
_NAME = re.compile(r"<[^<>]+>")


@dataclass(slots=True, frozen=True)
class Block:
    """One fenced block.

    Attributes:
        line: its first line in the document.
        language: `json`, or `text` for anything else (malformed frames, `closed CODE`).
        kind: `send`, `expect`, or `shape` (an envelope that is only checked).
        connection: the name of the connection.
        text: its content.
    """

    line: int
    language: str
    kind: str
    connection: str
    text: str


def blocks() -> list[Block]:
    """All examples, in order."""
    document = WIRE_DOCUMENT.read_text()
    return [
        Block(
            document.count("\n", 0, found.start()) + 1,
            found[1],
            found[2],
            found[3] or "client",
            found[4],
        )
        for found in _BLOCK.finditer(document)
    ]


def matches(pattern: Any, value: Any, names: dict[str, Any]) -> bool:
    """Whether a value matches an `expect` block. Binds new names to their values."""
    if isinstance(pattern, str) and _NAME.fullmatch(pattern):
        return bool(names.setdefault(pattern, value) == value)
    if isinstance(pattern, dict):
        wanted = pattern.keys() - {"..."}
        return (
            isinstance(value, dict)
            and (wanted == value.keys() or ("..." in pattern and wanted <= value.keys()))
            and all(matches(pattern[key], value[key], names) for key in sorted(wanted))
        )
    if isinstance(pattern, list):
        return (
            isinstance(value, list)
            and len(value) == len(pattern)
            and all(matches(*pair, names) for pair in zip(pattern, value, strict=True))
        )
    return type(pattern) is type(value) and bool(pattern == value)


def fill_in(text: str, names: dict[str, Any]) -> str:
    """The text of a `send` block with the names replaced by their values."""
    return re.sub(r'"(<[^<>"]+>)"', lambda found: json.dumps(names.get(found[1], found[1])), text)
