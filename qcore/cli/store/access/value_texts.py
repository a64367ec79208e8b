"""Values of fields as texts: how the command line writes and reads them.

| kind | text |
|---|---|
| String | the text itself |
| Int, Float | a number |
| Bool | `true` or `false` |
| Choice | the name of the choice, or its position |
| Timestamp | ISO 8601 with a time zone: `2026-01-31T12:00:00Z`; or `@` and seconds since 1970: `@1769860800.5` |
| EntityReference | an id or a path; nothing for null |
| EntityList | ids or paths, separated by commas; or a JSON list of them, for names with a comma |
| Blob | base64, or `@FILE` for the content of a file |
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

from qcore.client import Choice, EntityId, Timestamp, Value, WritableValue
from qcore.display import printable
from qcore.errors import ConfigError
from qcore.files import read_regular
from qcore.machines.entity.state.entity_schema import FieldSchema
from qcore.machines.entity.state.wire.value_json import INT_MAX, INT_MIN
from qcore.machines.entity.topology.yaml_values import parse_rfc3339
from qcore.machines.limits import MAX_VALUE_BYTES

#: Finds the entity that a text names.
Finder: TypeAlias = Callable[[str], Awaitable[EntityId]]
#: A value as JSON.
JsonCell: TypeAlias = str | int | float | bool | list[str] | None

_NANOS_PER_SECOND: Final = 1_000_000_000
_INT: Final = re.compile(r"[-+]?[0-9]{1,40}", re.ASCII)
_SINCE_1970: Final = re.compile(r"@([0-9]{1,18})(?:\.([0-9]{1,9}))?", re.ASCII)
_TRUTHS: Final = {"true": True, "false": False}
#: The seconds since 1970 at the end of the year 9999, up to which ISO 8601 has a text.
_LAST_ISO_SECOND: Final = 253_402_300_799


async def value_from_text(field: FieldSchema, text: str, find: Finder) -> WritableValue:
    """The value of a field in a text.

    Args:
        field: the schema of the field.
        text: the value.
        find: finds the entities that the text names.

    Raises:
        ConfigError: the text is no value of this kind; says what is.
    """
    match field.kind:
        case "String":
            return text
        case "Int":
            return _int(field, text)
        case "Float":
            return _float(field, text)
        case "Bool":
            if text not in _TRUTHS:
                raise _wrong(field, text, "write true or false")
            return _TRUTHS[text]
        case "Choice":
            return _choice(field, text)
        case "Timestamp":
            return _timestamp(field, text)
        case "EntityReference":
            return await find(text) if text else None
        case "EntityList":
            return [await find(each) for each in _names(field, text)]
        case "Blob":
            return _blob(field, text)


def text_of(value: Value, choices: tuple[str, ...] = ()) -> str:
    """The text of a value, which `value_from_text` reads again.

    Args:
        value: the value.
        choices: the names of the field's choices.
    """
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case str():
            return value
        case bytes():
            return base64.b64encode(value).decode()
        case Choice(index):
            return choices[index] if 0 <= index < len(choices) else str(index)
        case Timestamp():
            return _time_text(value)
        case EntityId():
            return str(value)
        case list():
            return _list_text([str(each) for each in value])
        case number:
            return repr(number)


def json_of(value: Value, choices: tuple[str, ...] = ()) -> JsonCell:
    """The value for JSON: as in `text_of`, except that numbers, Bools, lists and null stay what they are."""
    match value:
        case None | bool() | int() | float():
            return value
        case list():
            return [str(each) for each in value]
        case _:
            return text_of(value, choices)


def _wrong(field: FieldSchema, text: str, advice: str) -> ConfigError:
    return ConfigError(
        f"{printable(field.field_type)}: '{printable(text)}' is no {field.kind}: {advice}"
    )


def _int(field: FieldSchema, text: str) -> int:
    if not _INT.fullmatch(text):
        raise _wrong(field, text, "write a whole number")
    number = int(text)
    if not INT_MIN <= number <= INT_MAX:
        raise _wrong(field, text, "it does not fit into 64 bits")
    return number


def _float(field: FieldSchema, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        raise _wrong(field, text, "write a number, such as 1.5") from None
    if not math.isfinite(number):
        raise _wrong(field, text, "write a finite number")
    return number


def _choice(field: FieldSchema, text: str) -> Choice:
    if text in field.choices:
        return Choice(field.choices.index(text))
    if _INT.fullmatch(text) and 0 <= int(text) < max(len(field.choices), 1):
        return Choice(int(text))
    names = ", ".join(map(printable, field.choices)) or "0"
    raise _wrong(field, text, f"the choices are {names}")


def _timestamp(field: FieldSchema, text: str) -> Timestamp:
    since = _SINCE_1970.fullmatch(text)
    if since:
        return Timestamp(int(since[1]), int((since[2] or "").ljust(9, "0")))
    nanos = parse_rfc3339(text)
    if nanos is None:
        advice = "write 2026-01-31T12:00:00Z, with a time zone and not before 1970"
        raise _wrong(field, text, advice)
    return Timestamp(*divmod(nanos, _NANOS_PER_SECOND))


def _time_text(time: Timestamp) -> str:
    fraction = f".{time.nanos:09}".rstrip("0") if time.nanos else ""
    if time.secs > _LAST_ISO_SECOND:
        return f"@{time.secs}{fraction}"
    whole = Timestamp(time.secs).to_datetime().replace(tzinfo=None).isoformat()
    return f"{whole}{fraction}Z"


def _names(field: FieldSchema, text: str) -> list[str]:
    if not text.startswith("["):
        return [each.strip() for each in text.split(",")] if text.strip() else []
    try:
        names = json.loads(text)
    except (ValueError, RecursionError):
        names = None
    if not (isinstance(names, list) and all(isinstance(each, str) for each in names)):
        raise _wrong(field, text, 'write a JSON list of texts, such as ["User$7", "/Root/a,b"]')
    return names


def _list_text(names: list[str]) -> str:
    plain = all(name == name.strip() and "," not in name and name[0] != "[" for name in names)
    return ",".join(names) if plain else json.dumps(names)


def _blob(field: FieldSchema, text: str) -> bytes:
    if text.startswith("@"):
        try:
            return read_regular(text[1:], MAX_VALUE_BYTES)
        except OSError as error:
            raise ConfigError(
                f"{printable(field.field_type)}: cannot read {printable(text[1:])}: {error.strerror}"
            ) from None
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise _wrong(field, text, "write base64, or @FILE for the content of a file") from None
