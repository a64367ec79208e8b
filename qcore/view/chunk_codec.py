"""How the data of a page is stored: JSON columns with small numbers, deflated, in base64.

A browser inflates it with `DecompressionStream("deflate-raw")`.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Final, Literal

from qcore.trace.record_details import DETAIL_COLUMNS, ColumnType
from qcore.trace.trace_record import COLUMNS

#: How a column of a chunk is stored. `text`: numbers of the chunk's texts. `message`, `role`: numbers of the names in
#: the head of the page. `id`: see `IdColumn`.
StoredAs = Literal["int", "json", "text", "message", "role", "id"]

#: The columns of the records of a message that say where its other record is, and how it ended.
MESSAGE_COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {
    "send": ("end", "outcome", "mate"),
    "recv": ("mate",),
    "drop": ("mate",),
    "up": ("applied",),
}

#: More costs twice the time, and saves less than a hundredth.
_LEVEL: Final = 6


def deflated(content: object) -> str:
    """JSON, deflated, in base64."""
    text = json.dumps(content, separators=(",", ":"), ensure_ascii=False)
    squeeze = zlib.compressobj(_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    return base64.b64encode(squeeze.compress(text.encode()) + squeeze.flush()).decode("ascii")


def stored_as() -> dict[str, dict[str, StoredAs]]:
    """How the columns of each kind are stored, after `t` and `node`. The kinds of details come after the others."""
    found: dict[str, dict[str, StoredAs]] = {}
    for kind, columns in {**COLUMNS, **DETAIL_COLUMNS}.items():
        found[kind] = {name: _stored_as(kind, name, column) for name, column in columns.items()}
        found[kind] |= dict.fromkeys(MESSAGE_COLUMNS.get(kind, ()), "int")
    return found


def _stored_as(kind: str, name: str, column: ColumnType) -> StoredAs:
    if name == "message" and kind in ("send", "recv", "drop", "bad"):
        return "message"
    if name == "role":
        return "role"
    if name == "id":
        return "id"
    return column if column in ("int", "json") else "text"


def differences(numbers: Sequence[int], start: int) -> list[int]:
    """Each number minus the one before; the first one minus `start`."""
    return [
        after - before for before, after in zip(chain((start,), numbers), numbers, strict=False)
    ]


class TextTable:
    """Texts that occur again and again. A column holds their numbers."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    @property
    def texts(self) -> list[str]:
        """The texts, by their numbers."""
        return list(self._numbers)

    def numbers(self, texts: Iterable[str]) -> list[int]:
        """The numbers of texts; new texts get the next ones."""
        known = self._numbers
        return [known.setdefault(text, len(known)) for text in texts]


class IdColumn:
    """The ids of messages, of which most are `SENDER-NUMBER` with numbers that grow.

    Such an id is stored as its number minus the number before of the same sender and kind of record in the chunk, or
    minus 0. Any other id is stored as it is.
    """

    def __init__(self) -> None:
        self._newest: dict[int, int] = {}

    def stored(self, senders: Iterable[int], ids: Iterable[str]) -> list[int | str]:
        """The column for these ids of these senders."""
        newest = self._newest
        column: list[int | str] = []
        for sender, text in zip(senders, ids, strict=True):
            begin, _, digits = text.partition("-")
            if begin != str(sender) or not digits.isdecimal() or str(int(digits)) != digits:
                column.append(text)
                continue
            number = int(digits)
            column.append(number - newest.get(sender, 0))
            newest[sender] = number
        return column
