"""The most frequent requests in few steps: one read or one plain write of a field that was written before.

`UpdateEntity` and `StorePerform` reach the general way as JSON, become objects, and change the state in a
`Transaction`. None of this is needed when the text is exactly as a node writes it and nothing but one field can
change: its parts are cut out, and what the text says is most of the answer too. Both ways give the same state, the same
digest, the same answer and the same changes; `tests/machines/entity/test_plain_requests.py` compares them.

These functions return None for everything else, errors included. They have then changed nothing, and the general way
takes the request.
"""

from __future__ import annotations

import math
import re
from typing import Final

from pydantic_core import from_json, to_json

from qcore.machines.entity.requests.plain_text import is_plain
from qcore.machines.entity.state.entity import Entity
from qcore.machines.entity.state.entity_records import Records
from qcore.machines.entity.state.field_values import Field, measured, value_bytes
from qcore.machines.entity.state.packed_fields import PackedFields
from qcore.machines.entity.state.value import Value
from qcore.machines.entity.watches.field_changes import FieldChanged
from qcore.machines.limits import MAX_NAME_BYTES, MAX_VALUE_BYTES

#: A name without escapes that is short enough in UTF-8, whatever its characters.
_NAME: Final = rf'"([^"\\]{{1,{MAX_NAME_BYTES // 4}}})"'
_PLACE: Final = rf'":\{{"entity_id":\{{"typ":{_NAME},"id":(0|[1-9][0-9]{{0,17}})\}},"field_type":{_NAME},"value":'
_REQUEST: Final = r'\{"(UpdateEntity":\{"request|StorePerform":\{"requests)":\[\{"'
_WRITE: Final = re.compile(_REQUEST + "Write" + _PLACE + r'\{"(String|Int|Float|Bool)":')
_READ: Final = re.compile(_REQUEST + "Read" + _PLACE)
_INT: Final = re.compile(r"0|-?[1-9][0-9]{0,17}")
_FLOAT: Final = re.compile(r"-?[0-9]{1,17}\.[0-9]{1,17}(e-?[0-9]{1,3})?")

#: A constructor of a named tuple calls a function of Python's library, and each write would make several.
_new = tuple.__new__

_UPDATE: Final = 'UpdateEntity":{"request'
#: What follows the value of a write, and of a read after the null in its place.
_PLAIN: Final = ',"push_condition":"Always","adjust_behavior":"Set"'
_REST: Final = ',"write_time":null,"writer_id":null}}]}}'
_WRITE_END: Final = "}" + _PLAIN + _REST
_READ_END: Final = "null" + _REST
#: The index of names depends on the first two, and the third is written in another way.
_BUILT_IN: Final = ("Name", "Parent", "Children")
#: A longer text is checked by the parser, which is faster in the long run.
_SHORT: Final = 256
_NANOS_PER_SECOND: Final = 1_000_000_000
#: Where in a text of a request its item begins: the `{` before `"Read"` or `"Write"`.
_UPDATE_ITEM: Final = len('{"UpdateEntity":{"request":[')
_PERFORM_ITEM: Final = len('{"StorePerform":{"requests":[')


def write_field(records: Records, command: str, time_ns: int) -> tuple[str, FieldChanged] | None:
    """Apply a command under the rules `STORE_RULES`, for a user that may do everything.

    Args:
        records: the state.
        command: the command.
        time_ns: the time of its entry.

    Returns:
        the result, and what changed; None if the command is not a plain write.
    """
    found = _WRITE.match(command)
    if found is None or not command.endswith(_WRITE_END):
        return None
    form, typ, digits, name, kind = found.groups()
    entity = records.entities.get(int(digits))
    if entity is None:
        return None
    entity_id, fields, under, created_ns = entity
    if entity_id.typ != typ or created_ns is None or type(fields) is not PackedFields:
        return None
    slots = records.schemas.slots(typ)
    slot = slots.get(name)
    if (
        slot is None
        or name in _BUILT_IN
        or len(fields) > len(slots)
        # A value that is equal to the default need not be kept.
        or time_ns in (created_ns, slot.since_ns)
        or not (typ.isprintable() and name.isprintable())
    ):
        return None
    value = _written(kind, command[found.end() : len(command) - len(_WRITE_END)])
    if value is None or slot.schema.kind != kind or value_bytes(value) > MAX_VALUE_BYTES:
        return None
    old, new = fields.get(name), _new(Field, (value, time_ns, None, slot.generation))
    replaced = fields.replaced(name, new)
    if old is None or replaced is None:
        return None
    records.put_field(_new(Entity, (entity_id, replaced, under, created_ns)), name, old, new)
    change = FieldChanged(entity_id, name, old, new, records.schemas.lineage(typ))
    end = len(command) - len(_REST)
    return _answer(form, command, end, time_ns), change


def read_field(records: Records, query: str) -> str | None:
    """Execute a query for a user that may do everything.

    Returns:
        the result; None if the query is not a read of one written field.
    """
    found = _READ.match(query)
    if found is None or query[found.end() :] != _READ_END:
        return None
    form, typ, digits, name = found.groups()
    entity = records.entities.get(int(digits))
    if entity is None:
        return None
    entity_id, fields, _, created_ns = entity
    if entity_id.typ != typ or created_ns is None or type(fields) is not PackedFields:
        return None
    slot, field = records.schemas.slots(typ).get(name), fields.get(name)
    if slot is None or field is None or not (typ.isprintable() and name.isprintable()):
        return None
    value, time_ns, writer, generation = field
    if writer is not None or generation != slot.generation or value_bytes(value) > MAX_VALUE_BYTES:
        return None
    text = _shown(value)
    if text is None:
        return None
    head = query[: found.end()] + text
    return _answer(form, head, len(head), time_ns)


def _answer(form: str, text: str, end: int, time_ns: int) -> str:
    """The result: the request, which ends with its value at `end`, and the time."""
    seconds, nanos = divmod(time_ns, _NANOS_PER_SECOND)
    time = f'"write_time":{{"secs_since_epoch":{seconds},"nanos_since_epoch":{nanos}}}'
    if form == _UPDATE:
        item = text[_UPDATE_ITEM:end]
        return (
            f'{{"UpdateEntity":{{"response":[{item},{time},"writer_id":null}}}}],"error":null}}}}'
        )
    return f'{{"response":{{"Ok":[{text[_PERFORM_ITEM:end]},{time},"writer_id":null}}}}]}}}}'


def _written(kind: str, text: str) -> Value | None:
    """The value with this JSON text; None unless a writer of JSON would write it in the same way."""
    if kind == "String":
        if len(text) <= _SHORT:
            data = text[1:-1]
            return (
                measured(Value("String", data)) if is_plain(data) and text == f'"{data}"' else None
            )
        return _long_text(text)
    if kind == "Int":
        return Value("Int", int(text)) if _INT.fullmatch(text) else None
    if kind == "Float":
        return _float(text) if _FLOAT.fullmatch(text) else None
    return Value("Bool", text == "true") if text in ("true", "false") else None


def _float(text: str) -> Value | None:
    number = float(text)
    if not math.isfinite(number) or to_json(number).decode() != text:
        return None
    return Value("Float", number)


def _long_text(text: str) -> Value | None:
    if "\\" in text or not (text.startswith('"') and text.endswith('"')):
        return None
    try:
        data: object = from_json(text)
    except ValueError:
        return None
    return measured(Value("String", data)) if isinstance(data, str) else None


def _shown(value: Value) -> str | None:
    """The JSON text of a small value of a frequent kind."""
    kind, data = value
    if kind == "String" and isinstance(data, str):
        if len(data) <= _SHORT and is_plain(data):
            return f'{{"String":"{data}"}}'
    elif kind not in ("Int", "Float", "Bool"):
        return None
    return to_json({kind: data}).decode()
