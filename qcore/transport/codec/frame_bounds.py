"""Counts what a large frame holds, before the frame is parsed.

Parsing costs time and memory for each value, not for each byte: 6 MiB of `[{},{},...]` cost a hundred times as much as
a text of 6 MiB. So the values in a large frame are counted first. Counting bytes is cheap and gives an upper bound,
because a byte that looks like a value may be part of a text. A second, exact count excludes the texts, and is needed
only if the upper bound is too large.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from operator import add
from typing import NamedTuple, Self

from qcore.core.config import MAX_BATCH_BYTES
from qcore.core.entry import ENTRY_OVERHEAD_BYTES
from qcore.transport.limits import KIB
from qcore.transport.wire import MAX_ID_LENGTH

#: The bytes that `bytes.translate` counts by deleting them.
_VALUES = b",[{"
_DIGITS = b"0123456789"
_STRUCTURE = _VALUES + b':"'

#: What an object or list adds to `FrameBounds.total`, in addition to its value: an empty object costs a parser 500
#: bytes, and an empty list costs as much time as three texts.
_CONTAINER = 3
#: What a text adds: it becomes a Python object, and finding its end takes time.
_TEXT = 2

#: The most entries in an append, if all are empty.
_ENTRIES = MAX_BATCH_BYTES // ENTRY_OVERHEAD_BYTES

#: Texts are removed from a frame in parts of this size, bytes, which bounds the memory for it.
_PART_BYTES = 64 * KIB

#: The first key of the first envelope, and the envelope's id if it is the first field. Both without escapes.
_HEAD = re.compile(
    rb'[ \t\r\n]*+(?:\[[ \t\r\n]*+)?+\{[ \t\r\n]*+"([^"\\\x00-\x1f]{1,64})"[ \t\r\n]*+:'
    rb'(?:[ \t\r\n]*+\{[ \t\r\n]*+"id"[ \t\r\n]*+:[ \t\r\n]*+"([^"\\\x00-\x1f]{0,%d})")?+'
    % (4 * MAX_ID_LENGTH)
)
#: The bytes of a frame that are searched for this head.
_HEAD_BYTES = 8 * KIB


@dataclass(slots=True, frozen=True)
class FrameBounds:
    """What one frame may hold, apart from white space and the content of texts.

    Attributes:
        values: commas, and beginnings of objects and lists.
        containers: objects and lists.
        keys: colons.
        escapes: backslashes.
        digits: digits of numbers.
        total: the sum of values, keys, two for each text (a key is a text, too), and three for each object or list.
            Without this bound, a frame that reaches all the others would cost several times as much as any command.
    """

    values: int
    containers: int
    keys: int
    escapes: int
    digits: int
    total: int

    @classmethod
    def for_commands(cls, max_command_bytes: int) -> Self:
        """Bounds within which the largest command fits, and a batch of many small ones.

        Args:
            max_command_bytes: the size of the largest command as stored, which is JSON without spaces.
        """
        return cls(
            # `0,` is the shortest value in a list.
            values=max_command_bytes // 2 + 64 * KIB,
            # `{"typ":"T","id":0},` is the shortest object of the store's requests: 19 bytes, and 14 of `total`.
            containers=max_command_bytes // 18 + 16 * KIB,
            keys=max_command_bytes // 9 + 16 * KIB,
            # Every byte of a text may be written as an escape.
            escapes=max_command_bytes + 64 * KIB,
            digits=max_command_bytes + 64 * KIB,
            total=max_command_bytes * 3 // 4 + 96 * KIB,
        )

    @classmethod
    def for_peers(cls) -> Self:
        """Bounds for members of the cluster: at least twice what an append of only empty entries holds.

        No other message of a member holds more. Commands, results and snapshot chunks are texts, which the size of a
        frame bounds.
        """
        return cls(
            values=24 * _ENTRIES,
            containers=24 * _ENTRIES,
            keys=24 * _ENTRIES,
            escapes=sys.maxsize,
            digits=160 * _ENTRIES,
            total=96 * _ENTRIES,
        )

    @property
    def harmless_bytes(self) -> int:
        """The largest size, in bytes, at which no frame can exceed any bound."""
        # The shortest key is `"":0`.
        most = self.total // (1 + _CONTAINER)
        return min(self.values, self.containers, 4 * self.keys, self.escapes, self.digits, most)


@dataclass(slots=True, frozen=True)
class Excess:
    """A frame holds more than `limit` of `what`."""

    what: str
    limit: int

    def text(self) -> str:
        """The error text for the sender."""
        return f"more than {self.limit} {self.what} in one frame: send less in a frame"


def find_excess(data: bytes | bytearray, bounds: FrameBounds) -> Excess | None:
    """The bound that the frame exceeds, or None.

    The result is exact for JSON. Other data is counted correctly up to the point where it stops being JSON, which is
    where a parser stops. Depth is not counted: the parser stops at the first value that is too deep, at no extra cost.
    """
    if len(data) <= bounds.harmless_bytes:
        return None
    if len(data) > bounds.escapes and data.count(b"\\") > bounds.escapes:
        return Excess("escapes in texts", bounds.escapes)
    if _is_sparse(data, bounds) and (
        len(data) <= bounds.digits or _number_of(data, _DIGITS) <= bounds.digits
    ):
        return None
    if _excess(_count(data), data.count(b'"') // 2 + 1, bounds) is None:
        return None
    # Once pairs of backslashes are removed, a backslash precedes a quote only if the quote is part of a text.
    plain = data.replace(b"\\\\", b"").replace(b'\\"', b"") if b"\\" in data else data
    totals = _Counts(0, 0, 0, 0)
    quotes = 0
    for start in range(0, len(plain), _PART_BYTES):
        parts = plain[start : start + _PART_BYTES].split(b'"')
        totals = totals.plus(_count(b"".join(parts[quotes & 1 :: 2])))
        quotes += len(parts) - 1
        excess = _excess(totals, (quotes + 1) // 2, bounds)
        if excess is not None:
            return excess
        if quotes // 2 > totals.values + totals.keys + 1:
            return None  # not JSON: in JSON, a counted byte precedes each text
    return None


def envelope_head(data: bytes | bytearray) -> tuple[str, str | None] | None:
    """The first envelope's type and, if it is the first field, its `id`.

    None if they cannot be read without parsing.
    """
    match = _HEAD.match(data[:_HEAD_BYTES])
    if match is None:
        return None
    try:
        name = match[1].decode()
        message_id = None if match[2] is None else match[2].decode()
    except UnicodeDecodeError:
        return None
    return name, None if message_id is None or len(message_id) > MAX_ID_LENGTH else message_id


class _Counts(NamedTuple):
    values: int
    containers: int
    keys: int
    digits: int

    def plus(self, other: _Counts) -> _Counts:
        return _Counts(*map(add, self, other))


def _is_sparse(data: bytes | bytearray, bounds: FrameBounds) -> bool:
    """Whether the frame is within all bounds except perhaps those of escapes and digits, even if texts are counted.

    This is true for nearly all honest frames, and needs only one or two passes over the data.
    """
    least = min(bounds.values, bounds.containers, bounds.keys)
    most = _number_of(data, _STRUCTURE)
    if most <= min(least, bounds.total // (1 + _CONTAINER)):
        return True
    quotes = data.count(b'"')
    most -= quotes
    return most <= least and (1 + _CONTAINER) * most + _TEXT * (quotes // 2) < bounds.total


def _count(data: bytes | bytearray) -> _Counts:
    """Counts as if there were no texts."""
    return _Counts(
        values=_number_of(data, _VALUES),
        containers=data.count(b"[") + data.count(b"{"),
        keys=data.count(b":"),
        digits=_number_of(data, _DIGITS),
    )


def _number_of(data: bytes | bytearray, characters: bytes) -> int:
    return len(data) - len(data.translate(None, characters))


def _excess(counts: _Counts, texts: int, bounds: FrameBounds) -> Excess | None:
    if counts.containers > bounds.containers:
        return Excess("objects and lists", bounds.containers)
    if counts.values > bounds.values:
        return Excess("values", bounds.values)
    if counts.keys > bounds.keys:
        return Excess("keys", bounds.keys)
    if counts.digits > bounds.digits:
        return Excess("digits of numbers", bounds.digits)
    total = counts.values + _CONTAINER * counts.containers + counts.keys + _TEXT * texts
    if total > bounds.total:
        return Excess("values, keys and texts together", bounds.total)
    return None
