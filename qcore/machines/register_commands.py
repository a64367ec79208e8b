"""The commands and queries of the register machine, parsed, and its changes.

The nodes of a simulated cluster apply the same texts one after the other, so the latest parsed commands are kept.
"""

from __future__ import annotations

from json import JSONEncoder
from typing import Final

from pydantic import JsonValue
from pydantic_core import from_json

from qcore.errors import StoreError, ValueTooLarge
from qcore.machines.limits import MAX_VALUE_BYTES

#: The fields of each command and query, including `op`.
_FIELDS: Final[dict[str, set[str]]] = {
    "set": {"op", "key", "value"},
    "cas": {"op", "key", "old", "new"},
    "add": {"op", "key", "amount"},
    "delete": {"op", "key"},
    "get": {"op", "key"},
}
#: How many unknown fields an error shows, and how many characters of each.
_SHOWN_NAMES: Final = 3
_SHOWN_CHARS: Final = 80
#: About the memory that a change holds besides its texts, bytes.
_CHANGE_BYTES: Final = 100
#: At most this many commands are kept, each of at most this many characters.
_MOST_KEPT: Final = 256
_LONGEST_KEPT: Final = 1024

#: The text of a register that was never set.
ABSENT: Final = "null"

# Sorted keys make equal values equal texts. allow_nan=False rejects 1e999, which parses as infinity.
encode: Final = JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
).encode


class RegisterChanged:
    """A register with another value than before. The text is made when a watch receives it.

    Args:
        key: the register.
        text: its value as JSON text.
    """

    def __init__(self, key: str, text: str) -> None:
        self._key = key
        self._text = text

    def __reduce__(self) -> tuple[type[RegisterChanged], tuple[str, str]]:
        """For copies and pickles."""
        return RegisterChanged, (self._key, self._text)

    @property
    def topics(self) -> tuple[str, ...]:
        """See `Change`: the key."""
        return (self._key,)

    @property
    def body(self) -> str:
        """See `Change`."""
        return f'{{"key":{encode(self._key)},"value":{self._text}}}'

    @property
    def size_bytes(self) -> int:
        """See `Change`."""
        return _CHANGE_BYTES + len(self._key) + len(self._text)


class RegisterCommand:
    """A parsed command.

    Attributes:
        op, key: what it does, and to which register.
        text: the canonical JSON text that it stores; `null` for `add` and `delete`.
        old: the text that a `cas` expects.
        amount: what an `add` adds.
        answer: the result of a command that stored the text.
    """

    def __init__(self, op: str, key: str, text: str, old: str, amount: JsonValue) -> None:
        self.op = op
        self.key = key
        self.text = text
        self.old = old
        self.amount = amount
        self.answer = f'{{"ok":true,"value":{text}}}'


_kept: Final[dict[str, RegisterCommand]] = {}


def parse_command(text: str, *, bounded: bool) -> RegisterCommand:
    """The command, or query, of a text.

    Args:
        text: the text.
        bounded: apply the bounds of apply rules 3 and later.

    Raises:
        StoreError: it is no command.
    """
    if bounded:
        known = _kept.get(text)
        if known is not None:
            return known
    request = parse_request(text, bounded=bounded)
    op, key = str(request["op"]), str(request["key"])
    stored, old = ABSENT, ABSENT
    if op == "set":
        stored = canonical("value", request["value"], bounded=bounded)
    elif op == "cas":
        old = canonical("old", request["old"], bounded=bounded)
        stored = canonical("new", request["new"], bounded=bounded)
    command = RegisterCommand(op, key, stored, old, request.get("amount"))
    if bounded and len(text) <= _LONGEST_KEPT:
        if len(_kept) >= _MOST_KEPT:
            _kept.clear()
        _kept[text] = command
    return command


def parse_request(text: str, *, bounded: bool = True) -> dict[str, JsonValue]:
    """The fields of a command or query. Its `op` is known, `key` is a text, and it has exactly the fields of its `op`.

    Args:
        text: the text.
        bounded: shorten the parts of the request that an error shows; under apply rules 1 and 2 it shows all of them.

    Raises:
        StoreError: the text is neither.
    """
    try:
        request = from_json(text)
    except (ValueError, TypeError) as error:  # TypeError: text with lone surrogates
        raise StoreError(f"not JSON: {error}") from error
    if not isinstance(request, dict):
        raise StoreError("a command must be a JSON object")
    op = request.get("op")
    fields = _FIELDS.get(op) if isinstance(op, str) else None
    if fields is None:
        raise StoreError(f"op must be one of {', '.join(_FIELDS)}")
    if request.keys() != fields:
        missing, unknown = sorted(fields - request.keys()), sorted(request.keys() - fields)
        if bounded:
            unknown = [name[:_SHOWN_CHARS] for name in unknown[:_SHOWN_NAMES]]
        raise StoreError(f"{op}: missing fields {missing}, unknown fields {unknown}")
    if not isinstance(request["key"], str):
        raise StoreError(f"{op}: key must be a text")
    return request


def canonical(field: str, value: JsonValue, *, bounded: bool) -> str:
    """The JSON text of a value; equal values have equal texts.

    Args:
        field: the field of the command, for errors.
        value: the value.
        bounded: refuse a value that is too large.

    Raises:
        StoreError: the value is no JSON, or too large.
    """
    try:
        if type(value) is int:
            return str(value)  # the same, and faster
        text = encode(value)
    except ValueError as error:
        raise StoreError(f"{field}: a number is out of range") from error
    if bounded and 4 * len(text) > MAX_VALUE_BYTES and len(text.encode()) > MAX_VALUE_BYTES:
        raise ValueTooLarge(
            f"{field}: the value has {len(text.encode())} bytes as JSON; the limit is {MAX_VALUE_BYTES}"
        )
    return text
