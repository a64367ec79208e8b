"""The schema of one entity type: its form on the wire, its form in the store, and the conversion between them."""

from __future__ import annotations

from typing import Annotated, NamedTuple, NotRequired, cast

from pydantic import AfterValidator, FailFast, with_config
from typing_extensions import TypedDict

from qcore.errors import SchemaInvalid
from qcore.machines.entity.quoted_text import quoted
from qcore.machines.entity.state.entity_id import EntityId
from qcore.machines.entity.state.field_values import (
    check_kind,
    data_to_json,
    id_to_json,
    optional_id_from_json,
    value_from_json,
)
from qcore.machines.entity.state.value import Kind, Value
from qcore.machines.entity.state.wire.value_json import (
    STRICT,
    Byte,
    EntityIdJson,
    FiniteFloat,
    Int64,
    TimestampJson,
    exactly_one_key,
)

#: The fields that the store itself sets, with their kinds.
BUILT_IN: dict[str, Kind] = {
    "Name": "String",
    "Parent": "EntityReference",
    "Children": "EntityList",
}

# --- the form on the wire -----------------------------------------------------------------------


class _Common(TypedDict):
    field_type: str
    rank: Int64
    read_permission: EntityIdJson | None
    write_permission: EntityIdJson | None


@with_config(STRICT)
class _BlobField(_Common):
    default_value: Annotated[list[Byte], FailFast()]


@with_config(STRICT)
class _BoolField(_Common):
    default_value: bool


@with_config(STRICT)
class _ChoiceField(_Common):
    default_value: Int64
    choices: Annotated[list[str], FailFast()]


@with_config(STRICT)
class _EntityListField(_Common):
    default_value: Annotated[list[EntityIdJson], FailFast()]


@with_config(STRICT)
class _EntityReferenceField(_Common):
    default_value: EntityIdJson | None


@with_config(STRICT)
class _FloatField(_Common):
    default_value: FiniteFloat


@with_config(STRICT)
class _IntField(_Common):
    default_value: Int64


@with_config(STRICT)
class _StringField(_Common):
    default_value: str


@with_config(STRICT)
class _TimestampField(_Common):
    default_value: TimestampJson


@with_config(STRICT)
class _FieldSchemaJson(TypedDict, total=False):
    Blob: _BlobField
    Bool: _BoolField
    Choice: _ChoiceField
    EntityList: _EntityListField
    EntityReference: _EntityReferenceField
    Float: _FloatField
    Int: _IntField
    String: _StringField
    Timestamp: _TimestampField


#: A field's schema, tagged by its kind: `{"Int": {"field_type": "Age", "default_value": 0, ...}}`.
FieldSchemaJson = Annotated[_FieldSchemaJson, AfterValidator(exactly_one_key)]


@with_config(STRICT)
class EntitySchemaJson(TypedDict):
    """A type's own schema. `_marker` is optional in requests. Responses always have it."""

    entity_type: str
    inherit: str | None
    fields: dict[str, FieldSchemaJson]
    _marker: NotRequired[None]


# --- the form in the store ----------------------------------------------------------------------


class FieldSchema(NamedTuple):
    """The schema of one field. `choices` is empty unless `kind` is Choice."""

    kind: Kind
    field_type: str
    default: Value
    rank: int
    read_permission: EntityId | None
    write_permission: EntityId | None
    choices: tuple[str, ...]

    def accept(self, value: Value) -> None:
        """Reject a value that the field cannot hold.

        Raises:
            KindMismatch, ValueOutOfRange: see `check_kind`.
        """
        if not self.fits(value):
            check_kind(value, self.kind, self.choices, f"field {quoted(self.field_type)}")

    def fits(self, value: Value) -> bool:
        """Whether `accept` accepts the value."""
        if value.kind != self.kind:
            return False
        if self.kind != "Choice" or not isinstance(value.data, int):
            return True
        return 0 <= value.data < max(len(self.choices), 1)


class EntitySchema(NamedTuple):
    """A type with its own fields, or with its ancestors' fields before them (a complete schema)."""

    entity_type: str
    inherit: str | None
    fields: dict[str, FieldSchema]


def check_schema(schema: EntitySchema) -> None:
    """Reject a schema that is invalid by itself, whatever the other types are.

    Raises:
        SchemaInvalid: a name cannot be used, or a built-in field has the wrong kind.
        ValueOutOfRange: a default is not among the choices.
    """
    if not schema.entity_type or "$" in schema.entity_type:
        raise SchemaInvalid(
            f"entity type {quoted(schema.entity_type)} must not be empty or contain '$'"
        )
    for name, field in schema.fields.items():
        if name != field.field_type:
            raise SchemaInvalid(
                f"the field under {quoted(name)} calls itself {quoted(field.field_type)}"
            )
        if not name or "->" in name:
            raise SchemaInvalid(f"field name {quoted(name)} must not be empty or contain '->'")
        if field.kind != BUILT_IN.get(name, field.kind):
            raise SchemaInvalid(f"field {name} must be of kind {BUILT_IN[name]}, not {field.kind}")
        if len(dict.fromkeys(field.choices)) != len(field.choices):
            raise SchemaInvalid(f"field {quoted(name)} has the same choice twice")
        field.accept(field.default)


# --- conversion ---------------------------------------------------------------------------------


def schema_from_json(json: EntitySchemaJson) -> EntitySchema:
    """Convert a validated wire form to the store's form."""
    fields = {name: field_from_json(field) for name, field in json["fields"].items()}
    return EntitySchema(json["entity_type"], json["inherit"], fields)


def field_from_json(json: FieldSchemaJson) -> FieldSchema:
    """Convert a field's validated wire form to the store's form."""
    choices: tuple[str, ...] = ()
    body: _Common
    # One branch for each kind, so a type checker sees that the default belongs to the kind.
    if "String" in json:
        body, default = json["String"], value_from_json({"String": json["String"]["default_value"]})
    elif "Int" in json:
        body, default = json["Int"], Value("Int", json["Int"]["default_value"])
    elif "Float" in json:
        body, default = json["Float"], Value("Float", json["Float"]["default_value"])
    elif "Bool" in json:
        body, default = json["Bool"], Value("Bool", json["Bool"]["default_value"])
    elif "Choice" in json:
        body, default = json["Choice"], Value("Choice", json["Choice"]["default_value"])
        choices = tuple(json["Choice"]["choices"])
    elif "EntityReference" in json:
        body = json["EntityReference"]
        default = value_from_json({"EntityReference": json["EntityReference"]["default_value"]})
    elif "EntityList" in json:
        body = json["EntityList"]
        default = value_from_json({"EntityList": json["EntityList"]["default_value"]})
    elif "Timestamp" in json:
        body = json["Timestamp"]
        default = value_from_json({"Timestamp": json["Timestamp"]["default_value"]})
    else:
        body, default = json["Blob"], value_from_json({"Blob": json["Blob"]["default_value"]})
    readers, writers = body["read_permission"], body["write_permission"]
    return FieldSchema(
        kind=default.kind,
        field_type=body["field_type"],
        default=default,
        rank=body["rank"],
        read_permission=optional_id_from_json(readers),
        write_permission=optional_id_from_json(writers),
        choices=choices,
    )


def schema_to_json(schema: EntitySchema) -> EntitySchemaJson:
    """Inverse of `schema_from_json`."""
    fields = {name: field_to_json(field) for name, field in schema.fields.items()}
    return {
        "entity_type": schema.entity_type,
        "inherit": schema.inherit,
        "fields": fields,
        "_marker": None,
    }


def field_to_json(field: FieldSchema) -> FieldSchemaJson:
    """Convert a field's schema to its wire form."""
    body: dict[str, object] = {
        "field_type": field.field_type,
        "default_value": data_to_json(field.default),
        "rank": field.rank,
        "read_permission": id_to_json(field.read_permission),
        "write_permission": id_to_json(field.write_permission),
    }
    if field.kind == "Choice":
        body["choices"] = list(field.choices)
    # A type checker cannot see that kind and default belong together; `check_schema` has checked it.
    return cast("FieldSchemaJson", {field.kind: body})
