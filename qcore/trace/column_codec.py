"""Encodes the values of one field as a column of bytes, and decodes it.

A column is its encoding (one byte), the number of bytes that follow (eight bytes), and these bytes. All numbers are
little-endian. The encodings:

| encoding | bytes |
|---|---|
| `B`, `H`, `I`, `q` | integers of 1, 2 or 4 bytes without sign, or 8 bytes with a sign; the first of these that fits |
| `D` | the first integer (8 bytes), then the differences of each to the one before, as a column of integers |
| `N` | up to 256 texts: for each value the number of its text (1 byte), then the texts, sorted, between newlines |
| `T` | texts in UTF-8, between newlines |
| `J` | any other values: a JSON list |

The encoding of a column depends on nothing but its values, so equal records have equal bytes.
"""

from __future__ import annotations

import json
import struct
import sys
from array import array
from collections.abc import Iterator, Sequence
from itertools import accumulate
from operator import itemgetter, sub
from typing import Any, Final

from qcore.trace.record_details import ColumnType

Values = Sequence[Any]  # integers, texts or JSON values

_HEAD: Final = struct.Struct("<cQ")
_FIRST: Final = struct.Struct("<q")
#: The widths of integers after `B`, which is tried first, as bytes.
_WIDTHS: Final = ("H", "I", "q")
_SIZES: Final = {b"H": 2, b"I": 4, b"q": 8}
_SWAP: Final = sys.byteorder == "big"
_MOST_NAMES: Final = 256
_json_text = json.JSONEncoder(ensure_ascii=True, separators=(",", ":")).encode


def encode_column(kind: ColumnType | None, values: Values) -> bytes:
    """Encode one column.

    Args:
        kind: how to store the values, if they allow it; None for times, of which each is close to the one before.
        values: the values, at least one.
    """
    if kind is None:
        code, data = _deltas(values)
    elif kind == "int":
        code, data = _integers(values)
    elif kind == "name":
        code, data = _names(values)
    elif kind == "text":
        code, data = _texts(values)
    else:
        code, data = _any_values(values)
    return _HEAD.pack(code, len(data)) + data


def _integers(values: Values) -> tuple[bytes, bytes]:
    try:
        return b"B", bytes(values)
    except ValueError:
        pass
    except TypeError:
        return _any_values(values)
    for width in _WIDTHS:
        try:  # an `array` would take twice the time
            return width.encode(), struct.pack(f"<{len(values)}{width}", *values)
        except struct.error:  # a number is too large for this width, or something is no integer
            continue
    return _any_values(values)


def _deltas(values: Values) -> tuple[bytes, bytes]:
    try:
        first = _FIRST.pack(values[0])
        code, data = _integers(list(map(sub, values[1:], values)))
    except (struct.error, TypeError):
        return _any_values(values)
    return (b"D", first + code + data) if code != b"J" else _any_values(values)


def _names(values: Values) -> tuple[bytes, bytes]:
    distinct = sorted(set(values))
    if len(distinct) > _MOST_NAMES:
        return _texts(values)
    code, names = _texts(distinct)
    if code != b"T":
        return _any_values(values)
    if len(distinct) == 1:
        return b"N", bytes(len(values)) + names
    numbers = {name: number for number, name in enumerate(distinct)}
    return b"N", bytes(itemgetter(*values)(numbers)) + names  # the fastest way to look up many keys


def _texts(values: Values) -> tuple[bytes, bytes]:
    joined = "\n".join(values)
    if joined.count("\n") == len(values) - 1:
        try:
            return b"T", joined.encode()
        except UnicodeEncodeError:  # half of a surrogate pair
            pass
    return _any_values(values)


def _any_values(values: Values) -> tuple[bytes, bytes]:
    return b"J", _json_text(list(values)).encode()


def split_columns(part: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """The encoding and the bytes of each column of a part.

    Raises:
        ValueError: a column is longer than the part.
    """
    view = memoryview(part)
    start = 0
    while start < len(part):
        code, length = _HEAD.unpack_from(part, start)
        start += _HEAD.size
        if start + length > len(part):
            raise ValueError("a column is longer than its part")
        yield code, view[start : start + length]
        start += length


def decode_column(code: bytes, data: memoryview, count: int) -> Values:
    """Decode one column.

    Args:
        code: its encoding.
        data: its bytes.
        count: the number of values that it must have.

    Raises:
        ValueError: the bytes are no such column. It may also be another of `DECODING_ERRORS`.
    """
    values = _decode(code, data, count)
    if len(values) != count:
        raise ValueError(f"a column has {len(values)} values, not {count}")
    return values


#: What decoding raises if bytes are no column.
DECODING_ERRORS: Final = (
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    RecursionError,
    struct.error,
)


def _decode(code: bytes, data: memoryview, count: int) -> Values:
    if code == b"B":
        return bytes(data)
    if code in _SIZES:
        numbers: array[int] = array(code.decode())
        numbers.frombytes(data)
        if _SWAP:
            numbers.byteswap()
        return numbers
    if code == b"D":
        (first,) = _FIRST.unpack_from(data)
        differences = _decode(bytes(data[8:9]), data[9:], count - 1)
        return list(accumulate(differences, initial=first))
    if code == b"N":
        names = bytes(data[count:]).decode().split("\n")
        return list(map(names.__getitem__, data[:count]))
    if code == b"T":
        return bytes(data).decode().split("\n")
    if code == b"J":
        values: list[Any] = json.loads(bytes(data))  # any JSON values
        if not isinstance(values, list):
            raise ValueError("a column is not a list")
        return values
    raise ValueError(f"there is no encoding {code!r}")
