"""etcd's messages as JSON: the mapping of Protocol Buffers, as the gateway of etcd 3.4 reads and writes it.

Reading is lenient: names in both spellings (`range_end`, `rangeEnd`), 64-bit integers as numbers or texts, values of
enumerations as names or numbers, null for an absent field, and unknown fields are ignored. Writing is strict: 64-bit
integers are texts, bytes are base64, and fields with the value of an empty message are left out.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping, Sequence
from typing import Final, NoReturn

from qcore.gateway.etcd_errors import InvalidRequest

#: A value of JSON, or the text of a number that is no integer.
Value = object
_INT64: Final = 2**63
_INT32: Final = 2**31
_INTEGER: Final = re.compile(r"\s*-?(0|[1-9][0-9]{0,18})\s*")
_NO_BASE64: Final = re.compile(r"[^A-Za-z0-9+/]")
#: How many characters of a wrong value an error shows; a longer number is no 64-bit integer.
_SHOWN: Final = 40


class _NoInteger(str):
    """The text of a number that is no integer."""

    __slots__ = ()


def _reject_constant(text: str) -> NoReturn:
    raise ValueError(f"invalid character '{text[0]}' looking for beginning of value")


_decoder: Final = json.JSONDecoder(
    parse_float=_NoInteger,
    parse_int=lambda text: int(text) if len(text) <= _SHOWN else _NoInteger(text),
    parse_constant=_reject_constant,
)
_encode: Final = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode


def read_json(text: str) -> Value:
    """The first value of a text. What follows it is ignored, as etcd does; an empty text stands for an empty object.

    Raises:
        InvalidRequest: the text does not begin with JSON.
    """
    text = text.lstrip(" \t\r\n")
    if not text:
        return {}
    try:
        value: Value
        value, _ = _decoder.raw_decode(text)
    except json.JSONDecodeError as error:
        if error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated"):
            raise InvalidRequest("unexpected EOF") from None
        raise InvalidRequest(
            f"invalid character {text[error.pos]!r} in the JSON of the request, at character {error.pos}"
        ) from None
    except ValueError as error:
        raise InvalidRequest(str(error)) from None
    except RecursionError:
        raise InvalidRequest("the JSON of the request is nested too deep") from None
    return value


def write_json(value: object) -> bytes:
    """A value as JSON."""
    # A lone surrogate, which has no UTF-8, becomes an escape of JSON.
    return _encode(value).encode(errors="backslashreplace")


def message(**fields: object) -> dict[str, object]:
    """A message. An integer becomes text and bytes become base64; what an empty message has is left out."""
    written: dict[str, object] = {}
    for name, value in fields.items():
        if value is None or (not value and not isinstance(value, Mapping)):
            continue
        if isinstance(value, int) and not isinstance(value, bool):
            written[name] = str(value)
        elif isinstance(value, bytes):
            written[name] = text_of(value)
        else:
            written[name] = value
    return written


def text_of(data: bytes) -> str:
    """Bytes as base64."""
    return base64.b64encode(data).decode()


def _kind(value: Value) -> str:
    match value:
        case bool():
            return "bool"
        case _NoInteger():
            return f"number {value[:_SHOWN]}"
        case str():
            return "string"
        case int():
            return "number"
        case list():
            return "array"
        case _:
            return "object"


class Fields:
    """The fields of one message.

    Args:
        value: its JSON; null for an empty message.

    Raises:
        InvalidRequest: it is no object.
    """

    def __init__(self, value: Value) -> None:
        if value is None:
            value = {}
        if not isinstance(value, dict):
            raise InvalidRequest(
                f"json: cannot unmarshal {_kind(value)} into Go value of type map[string]json.RawMessage"
            )
        self._fields: dict[str, Value] = value

    def raw(self, name: str) -> Value:
        """The JSON of a field, by its name with underscores; None if it is absent."""
        first, *rest = name.split("_")
        other = first + "".join(map(str.capitalize, rest))
        return self._fields[other] if other in self._fields else self._fields.get(name)

    def integer(self, name: str) -> int:
        """A 64-bit integer."""
        value = self.raw(name)
        if value is None:
            return 0
        if isinstance(value, str) and not isinstance(value, _NoInteger):
            value = _integer_in(value)
        if isinstance(value, bool) or not isinstance(value, int) or not -_INT64 <= value < _INT64:
            is_number = isinstance(value, int) and not isinstance(value, bool)
            shown = f"number {value}" if is_number else _kind(value)
            raise InvalidRequest(f"json: cannot unmarshal {shown} into Go value of type int64")
        return value

    def flag(self, name: str) -> bool:
        """True or false."""
        value = self.raw(name)
        if value is None:
            return False
        if not isinstance(value, bool):
            raise InvalidRequest(
                f"json: cannot unmarshal {_kind(value)} into Go value of type bool"
            )
        return value

    def data(self, name: str) -> bytes:
        """Bytes."""
        value = self.raw(name)
        if value is None:
            return b""
        if not isinstance(value, str) or isinstance(value, _NoInteger):
            raise InvalidRequest(
                f"json: cannot unmarshal {_kind(value)} into Go value of type []uint8"
            )
        text = value.replace("\n", "").replace("\r", "")
        try:
            return base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            raise InvalidRequest(f"illegal base64 data at input byte {_wrong_byte(text)}") from None

    def text(self, name: str) -> str:
        """A text."""
        value = self.raw(name)
        if value is None:
            return ""
        if not isinstance(value, str) or isinstance(value, _NoInteger):
            raise InvalidRequest(
                f"json: cannot unmarshal {_kind(value)} into Go value of type string"
            )
        if not value.isascii() and any("\ud800" <= each <= "\udfff" for each in value):
            raise InvalidRequest(f"{name} is no Unicode text")
        return value

    def choice(self, name: str, kind: str, names: Sequence[str]) -> int:
        """The number of a value of an enumeration; it may be one that the enumeration does not have.

        Args:
            name: of the field.
            kind: the name of the enumeration, for errors.
            names: of its values, from 0 on.
        """
        return _choice(self.raw(name), kind, names)

    def choices(self, name: str, kind: str, names: Sequence[str]) -> list[int]:
        """Several of them."""
        return [_choice(each, kind, names) for each in self._list(name)]

    def has(self, name: str) -> bool:
        """Whether the field is there."""
        return self.raw(name) is not None

    def inner(self, name: str) -> Fields | None:
        """A message in this one; None if it is absent."""
        value = self.raw(name)
        return None if value is None else Fields(value)

    def list_of(self, name: str) -> list[Fields]:
        """A list of messages."""
        return [Fields(each) for each in self._list(name)]

    def _list(self, name: str) -> list[Value]:
        value = self.raw(name)
        if value is None:
            return []
        if not isinstance(value, list):
            raise InvalidRequest(
                f"json: cannot unmarshal {_kind(value)} into Go value of type []json.RawMessage"
            )
        return value


def _wrong_byte(text: str) -> int:
    """Where the first character is that base64 does not have; without one, where the incomplete part begins."""
    found = _NO_BASE64.search(text)
    return len(text) // 4 * 4 if found is None else found.start()


def _integer_in(text: str) -> Value:
    if _INTEGER.fullmatch(text):
        return int(text)
    stripped = text.strip()
    if not stripped:
        raise InvalidRequest("unexpected end of JSON input")
    if re.fullmatch(r"-?[0-9][0-9.eE+-]*", stripped):
        return _NoInteger(stripped)
    raise InvalidRequest(f"invalid character '{stripped[0]}' looking for beginning of value")


def _choice(value: Value, kind: str, names: Sequence[str]) -> int:
    if value is None:
        return 0
    if isinstance(value, str) and not isinstance(value, _NoInteger):
        if value not in names:
            raise InvalidRequest(f"unknown value {json.dumps(value[:_SHOWN])} for enum {kind}")
        return names.index(value)
    if isinstance(value, bool) or not isinstance(value, int) or not -_INT32 <= value < _INT32:
        raise InvalidRequest(f"json: cannot unmarshal {_kind(value)} into Go value of type int32")
    return value
