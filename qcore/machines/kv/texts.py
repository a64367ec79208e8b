"""Keys and values as JSON: text where the bytes are UTF-8, else `{"base64": text}`. Both name the same bytes."""

from __future__ import annotations

import base64
import binascii
from json import JSONEncoder
from typing import Final

from pydantic import JsonValue

from qcore.errors import StoreError, ValueTooLarge

encode: Final = JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode


def read_bytes(value: JsonValue, field: str, most: int) -> bytes:
    """The bytes that a command or query names.

    Args:
        value: the JSON value.
        field: where it is, for errors.
        most: the largest number of bytes.

    Raises:
        StoreError: it is neither text nor `{"base64": text}`.
        ValueTooLarge: it has more bytes.
    """
    if isinstance(value, str):
        data = value.encode()
    elif (
        isinstance(value, dict) and value.keys() == {"base64"} and isinstance(value["base64"], str)
    ):
        try:
            data = base64.b64decode(value["base64"], validate=True)
        except (binascii.Error, ValueError) as error:
            raise StoreError(f"{field}: not base64: {error}") from None
    else:
        raise StoreError(f'{field} must be text, or {{"base64": text}} for bytes')
    if len(data) > most:
        raise ValueTooLarge(f"{field} has {len(data)} bytes; the limit is {most}")
    return data


def json_of(data: bytes) -> str:
    """The JSON text of bytes. Equal bytes have equal texts."""
    try:
        return encode(data.decode())
    except UnicodeDecodeError:
        return f'{{"base64":"{base64.b64encode(data).decode()}"}}'


def end_of_prefix(prefix: bytes) -> bytes | None:
    """The end of the range of all keys with this prefix; None if the range has no upper bound."""
    kept = prefix.rstrip(b"\xff")
    return kept[:-1] + bytes((kept[-1] + 1,)) if kept else None
