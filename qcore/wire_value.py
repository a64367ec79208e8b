"""The base of the values that cross the boundary to JSON: lets pydantic validate them although they are compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, cast

from qcore.compiled_build import BUILD, mypyc_attr

#: A schema of pydantic-core, which the core does not import: nested dictionaries of many kinds.
Schema = dict[str, Any]


class SchemaHandler(Protocol):
    """The part of `pydantic.GetCoreSchemaHandler` that is needed here."""

    def __call__(self, source: type) -> Schema:
        """Pydantic's own schema of a type."""
        ...

    def resolve_ref_schema(self, schema: Schema) -> Schema:
        """What a reference refers to."""
        ...


@mypyc_attr(acyclic=True)
class WireValue:
    """The base of a dataclass that pydantic reads from JSON and writes to it.

    Pydantic makes a dataclass without calling its constructor, and reads its `__dict__`. A compiled class has neither
    an instance before its constructor nor a `__dict__`. So for compiled classes the schema is that of a dictionary
    with the same fields, from which the constructor then makes the value.
    """

    @classmethod
    def __get_pydantic_core_schema__(cls, source: type, handler: SchemaHandler) -> Schema:
        """See pydantic's documentation of custom types."""
        schema = handler(source)
        if BUILD == "pure":
            return schema
        return schema_of_compiled(cls, handler.resolve_ref_schema(schema))


def schema_of_compiled(cls: type, dataclass_schema: Schema) -> Schema:
    """The schema of a compiled dataclass.

    Args:
        cls: the class.
        dataclass_schema: pydantic's schema of a dataclass with these fields.
    """
    read: dict[str, Schema] = {}
    written: dict[str, Schema] = {}
    for field in dataclass_schema["schema"]["fields"]:
        inner = field["schema"]
        kept = {
            key: field[key]
            for key in ("validation_alias", "serialization_alias", "serialization_exclude_if")
            if key in field
        }
        name = field["name"]
        required = inner["type"] != "default"
        read[name] = {"type": "typed-dict-field", "schema": inner, "required": required, **kept}
        written[name] = {"type": "typed-dict-field", "schema": inner, "required": True, **kept}
    config = dataclass_schema.get("config") or {}
    common: Schema = {"type": "typed-dict", "cls": cls, "config": config}
    extra = config.get("extra_fields_behavior")
    if extra is not None:
        common["extra_behavior"] = extra
    make = cast(Callable[..., object], cls)
    names = tuple(written)

    def from_fields(values: dict[str, object]) -> object:
        return make(**values)

    def read_value(value: object, read_fields: Callable[[object], dict[str, object]]) -> object:
        # Pydantic takes an instance of a dataclass as it is.
        return value if isinstance(value, cls) else make(**read_fields(value))

    def to_fields(value: object) -> dict[str, object]:
        return {name: getattr(value, name) for name in names}

    fields: Schema = {**common, "fields": read}
    return {
        # JSON has no instances. A wrapper would hand its fields on as Python values, and there a list is no tuple.
        "type": "json-or-python",
        "json_schema": {
            "type": "function-after",
            "function": {"type": "no-info", "function": from_fields},
            "schema": fields,
        },
        "python_schema": {
            "type": "function-wrap",
            "function": {"type": "no-info", "function": read_value},
            "schema": fields,
        },
        "serialization": {
            "type": "function-plain",
            "function": to_fields,
            "return_schema": {**common, "fields": written},
        },
    }
