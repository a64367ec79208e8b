"""The text of the most frequent requests, one read or write of a field, in fewer steps than a writer of JSON takes.

Both texts are equal: `tests/machines/entity/test_plain_requests.py` compares them.
"""

from __future__ import annotations

from typing import Any, Final, Literal

from pydantic_core import to_json

from qcore.machines.limits import MAX_NAME_BYTES

#: A longer text is left to the writer of JSON, which is faster in the long run.
_SHORT: Final = 256
#: The longest name that is short enough in UTF-8, whatever its characters.
_SHORT_NAME: Final = MAX_NAME_BYTES // 4


def plain_text(items: list[Any]) -> tuple[Literal["write", "read"], str] | None:
    """The JSON text of one read or write, and which it is; None if this is neither one nor plain.

    Args:
        items: validated as a list of `FieldRequest`.
    """
    if len(items) != 1:
        return None
    item: dict[str, Any] = items[0]
    write = item.get("Write")
    body: dict[str, Any] = item["Read"] if write is None else write
    entity_id: dict[str, Any] = body["entity_id"]
    typ: str = entity_id["typ"]
    name: str = body["field_type"]
    if (
        body["write_time"] is not None
        or body["writer_id"] is not None
        or len(typ) > _SHORT_NAME
        or len(name) > _SHORT_NAME
        or not is_plain(typ)
        or not is_plain(name)
    ):
        return None
    number: int = entity_id["id"]
    value: dict[str, Any] | None = body["value"]
    if write is None:
        if value is not None:
            return None
        return "read", (
            f'{{"Read":{{"entity_id":{{"typ":"{typ}","id":{number}}},"field_type":"{name}","value":null'
            ',"write_time":null,"writer_id":null}}'
        )
    text = "null" if value is None else _value_text(value)
    if text is None:
        return None
    condition: str = body["push_condition"]
    behavior: str = body["adjust_behavior"]
    return "write", (
        f'{{"Write":{{"entity_id":{{"typ":"{typ}","id":{number}}},"field_type":"{name}","value":{text}'
        f',"push_condition":"{condition}","adjust_behavior":"{behavior}","write_time":null,"writer_id":null}}}}'
    )


def is_plain(text: str) -> bool:
    """Whether JSON needs no escape for a text, and has a form of it."""
    return text.isprintable() and '"' not in text and "\\" not in text


def _value_text(value: dict[str, Any]) -> str | None:
    text = value.get("String")
    if text is not None:
        if len(text) <= _SHORT and is_plain(text):
            return f'{{"String":"{text}"}}'
        return None
    if "Int" in value or "Float" in value or "Bool" in value:
        return to_json(value).decode()
    return None
