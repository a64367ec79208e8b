"""Rows of integers and texts as compressed bytes.

The rows are stored by column. A column of integers is stored as differences between neighbours, one byte place after
the other, because neighbouring records have close indexes, terms and times. Then zlib finds little that is new.
"""

from __future__ import annotations

import pickle
import sys
import zlib
from array import array
from collections.abc import Sequence
from itertools import accumulate
from typing import Final, TypeAlias

#: An integer or a text. Every row of a table has as many.
Value: TypeAlias = int | str
Row: TypeAlias = tuple[Value, ...]

_LEVEL: Final = 9
_SIZE: Final = 8  # bytes of an integer of an `array("q")`


def pack_rows(rows: Sequence[Row]) -> bytes:
    """The bytes of rows of equal lengths; `unpack_rows` returns equal rows."""
    columns = [_packed_column(column) for column in zip(*rows, strict=True)]
    return zlib.compress(pickle.dumps(columns, protocol=5), _LEVEL)


def unpack_rows(packed: bytes) -> list[Row]:
    """The rows that `pack_rows` packed."""
    # The bytes are those that `pack_rows` made from built-in types.
    columns = pickle.loads(zlib.decompress(packed))
    return list(zip(*map(_column, columns), strict=True))


def pack_integers(values: Sequence[int]) -> bytes:
    """The bytes of integers; `unpack_integers` returns them."""
    return pack_rows([(value,) for value in values])


def unpack_integers(packed: bytes) -> list[int]:
    """The integers that `pack_integers` packed."""
    return [int(value) for (value,) in unpack_rows(packed)]


def _packed_column(column: Sequence[Value]) -> bytes | Sequence[Value]:
    """The column as bytes if it holds integers only, none of them large; else the column itself."""
    if not all(type(value) is int for value in column):
        return column
    numbers = [int(value) for value in column]
    differences = [number - before for number, before in zip(numbers, [0, *numbers], strict=False)]
    try:
        places = array("q", differences)
    except OverflowError:
        return column
    if sys.byteorder == "big":
        places.byteswap()
    raw = places.tobytes()
    return b"".join(raw[place::_SIZE] for place in range(_SIZE))


def _column(packed: bytes | Sequence[Value]) -> Sequence[Value]:
    if not isinstance(packed, bytes):
        return packed
    count = len(packed) // _SIZE
    raw = bytearray(len(packed))
    for place in range(_SIZE):
        raw[place::_SIZE] = packed[place * count : (place + 1) * count]
    places = array("q")
    places.frombytes(bytes(raw))
    if sys.byteorder == "big":
        places.byteswap()
    return list(accumulate(places))
