"""Builds pydantic-core validators of whole frames from the message classes.

A frame is validated in one pass. An envelope is a typed dictionary with one optional key for each message type, so its
content is checked before any Python object is made for it.

This module adds to pydantic's schema of each class: strictness, rejection of unknown fields, bounds for integers, and
early ends of a validation. A sequence stops at its first error, and a frame at a number of unknown fields. Otherwise a
hostile list of a million wrong elements would cost a million error objects.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from pydantic import ConfigDict, TypeAdapter
from pydantic_core import CoreSchema, PydanticKnownError, SchemaValidator, core_schema

from qcore.transport.wire import INT_LIMIT, MAX_ID_LENGTH, PEER_REQUESTS
from qcore.wire_value import WireValue

#: The most envelopes in an array frame, because each costs a response.
MAX_ENVELOPES = 4096

#: The validation of a frame stops at this many unknown fields. Honest mistakes cause fewer than two in each envelope.
MAX_UNKNOWN_FIELDS = 2 * MAX_ENVELOPES

_STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
_SEQUENCES = frozenset({"list", "tuple", "set", "frozenset", "dict"})
_QCORE_MODULES = ("qcore.core.", "qcore.replica.", "qcore.transport.")


class TooManyUnknownFields(Exception):
    """Stops the validation of a frame with more than `MAX_UNKNOWN_FIELDS`."""


class UnknownFields:
    """Validates the value of an unknown field: always an error.

    Attributes:
        seen: the number of unknown fields in the current frame.
    """

    def __init__(self) -> None:
        self.seen = 0

    def reject(self, value: object) -> object:
        """Reject the value of an unknown field."""
        self.seen += 1
        if self.seen > MAX_UNKNOWN_FIELDS:
            raise TooManyUnknownFields
        raise PydanticKnownError("extra_forbidden")

    def replaced(self, node: dict[str, Any]) -> CoreSchema:
        """Replace a dataclass's core schema by one that calls `reject`: a typed dictionary that then becomes the
        object.

        For a valid value it is a little slower.
        """
        fields = {
            each["name"]: core_schema.typed_dict_field(
                each["schema"], required=each["schema"]["type"] != "default"
            )
            for each in node["schema"]["fields"]
        }
        whole = core_schema.typed_dict_schema(
            fields, extra_behavior="forbid", config=node.get("config")
        )
        self.replace_forbid(cast(dict[str, Any], whole))
        cls = node["cls"]
        return core_schema.no_info_after_validator_function(
            lambda values: cls(**values), whole, ref=node.get("ref")
        )

    def replace_forbid(self, node: dict[str, Any]) -> None:
        """If a typed dictionary's core schema forbids extra keys, make it call `reject` for them."""
        config = node.get("config") or {}
        if node.get("extra_behavior", config.get("extra_fields_behavior")) == "forbid":
            node["extra_behavior"] = "allow"
            node["extras_schema"] = core_schema.no_info_plain_validator_function(self.reject)


@dataclass(slots=True, frozen=True)
class FrameValidators:
    """The validators that a codec needs to read frames.

    Attributes:
        one: a frame that is one envelope -> `{type name: message}`.
        many: a frame that is an array -> a list of such dictionaries, with None for each invalid envelope.
        one_request, many_requests: the same for large frames of clients. Messages of peers and responses are unknown
            types here. Responses have unions of whole objects, in which unknown fields cost most.
        diagnose_many: like `many`, but raises a `ValidationError` that names the index of each invalid envelope.
        id_of_one, ids_of_many: only the ids: `{any name: {"id": ...} or None}`.
        unknown: counts the unknown fields during all validations except `id_of_one` and `ids_of_many`. The others may
            therefore raise `TooManyUnknownFields`. Set the count to 0 before each.
    """

    one: SchemaValidator
    many: SchemaValidator
    one_request: SchemaValidator
    many_requests: SchemaValidator
    diagnose_many: SchemaValidator
    id_of_one: SchemaValidator
    ids_of_many: SchemaValidator
    unknown: UnknownFields


def build_validators(registry: Mapping[str, type]) -> FrameValidators:
    """The validators for frames of the registered message types."""
    definitions: dict[str, CoreSchema] = {}
    unknown = UnknownFields()
    made: dict[type, CoreSchema] = {}
    for name, cls in registry.items():
        base = made.get(cls.__bases__[0])
        if base is None or inspect.get_annotations(cls):
            made[cls] = _strict_schema(cls, definitions, unknown, union=not _is_response(name))
        else:  # another name for the same fields: making its schema again would take as long
            made[cls] = cast(CoreSchema, {**_without_reference(base), "cls": cls})
    fields = {
        name: core_schema.typed_dict_field(made[cls], required=False)
        for name, cls in registry.items()
    }
    envelope = _envelope(fields, unknown)
    requests = _envelope(
        {
            name: field
            for name, field in fields.items()
            if not _is_response(name) and registry[name] not in PEER_REQUESTS
        },
        unknown,
    )
    lenient = core_schema.dict_schema(
        core_schema.str_schema(),
        _or_none(
            core_schema.typed_dict_schema(
                {
                    "id": core_schema.typed_dict_field(
                        core_schema.str_schema(max_length=MAX_ID_LENGTH, strict=True),
                        required=False,
                    )
                },
                extra_behavior="ignore",
            )
        ),
        max_length=2,
    )

    def validator(schema: CoreSchema) -> SchemaValidator:
        if definitions:
            schema = core_schema.definitions_schema(schema, list(definitions.values()))
        return SchemaValidator(schema)

    return FrameValidators(
        one=validator(envelope),
        many=validator(_many(envelope)),
        one_request=validator(requests),
        many_requests=validator(_many(requests)),
        diagnose_many=validator(core_schema.list_schema(envelope)),
        id_of_one=SchemaValidator(lenient),
        ids_of_many=SchemaValidator(
            core_schema.list_schema(_or_none(lenient), max_length=MAX_ENVELOPES)
        ),
        unknown=unknown,
    )


def _without_reference(schema: CoreSchema) -> dict[str, Any]:
    """The parts of a class's schema, without the name under which another schema could refer to it."""
    return {key: part for key, part in schema.items() if key != "ref"}


def _is_response(name: str) -> bool:
    return name.endswith("Response")


def _envelope(fields: dict[str, core_schema.TypedDictField], unknown: UnknownFields) -> CoreSchema:
    schema = core_schema.typed_dict_schema(
        fields, config=core_schema.CoreConfig(extra_fields_behavior="forbid", strict=True)
    )
    unknown.replace_forbid(cast(dict[str, Any], schema))
    return schema


def _many(envelope: CoreSchema) -> CoreSchema:
    return core_schema.list_schema(_or_none(envelope), min_length=1, max_length=MAX_ENVELOPES)


def _or_none(schema: CoreSchema) -> CoreSchema:
    """`schema`, but an invalid value becomes None."""
    return core_schema.with_default_schema(schema, default=None, on_error="default")


def _strict_schema(
    cls: type, definitions: dict[str, CoreSchema], unknown: UnknownFields, *, union: bool
) -> CoreSchema:
    """pydantic's schema of a message class, hardened. Shared definitions are added to `definitions`."""
    # A list, because TypeAdapter accepts no config for a dataclass. A dataclass without a config inherits that of the
    # type around it.
    adapter: TypeAdapter[Any] = TypeAdapter(list[cls], config=_STRICT)  # type: ignore[valid-type]  # made at run time
    schema: Any = adapter.core_schema
    if schema["type"] == "definitions":
        for definition in schema["definitions"]:
            _harden(definition, unknown, in_qcore=False, union=union)
            definitions[definition["ref"]] = definition
        schema = schema["schema"]
    items: CoreSchema = schema["items_schema"]
    _harden(items, unknown, in_qcore=False, union=union)
    return items


def _is_wire_value(node: dict[str, Any]) -> bool:
    """Whether a typed dictionary stands for a compiled dataclass: see `WireValue`."""
    cls = node.get("cls")
    return isinstance(cls, type) and issubclass(cls, WireValue)


def _is_from_qcore(node: dict[str, Any]) -> bool:
    module: str = node["cls"].__module__
    return module.startswith(_QCORE_MODULES)


def _harden(node: Any, unknown: UnknownFields, in_qcore: bool, *, union: bool) -> None:
    """Bound integers, errors and unknown fields everywhere in a core schema, in place.

    Args:
        node: a part of a core schema: nested dictionaries and lists of many kinds.
        unknown: counts the unknown fields of typed dictionaries. A dataclass cannot count them.
        in_qcore: whether the node is inside a class of qcore's protocol, where no integer is negative.
        union: whether to count also the unknown fields of dataclasses in unions, where they cost more. Not for
            responses, because there the wrong branch of a union always has an unknown field.
    """
    if isinstance(node, list | tuple):
        for part in node:
            _harden(part, unknown, in_qcore, union=union)
        return
    if not isinstance(node, dict):
        return
    kind = node.get("type")
    if kind == "dataclass" or (kind == "typed-dict" and _is_wire_value(node)):
        in_qcore = _is_from_qcore(node)
    if kind == "int":
        if "ge" not in node and "gt" not in node:
            node["ge"] = 0 if in_qcore else -INT_LIMIT
        if "le" not in node and "lt" not in node:
            node["lt"] = INT_LIMIT
    elif kind in _SEQUENCES:
        node["fail_fast"] = True
    elif kind == "typed-dict":
        unknown.replace_forbid(node)
    elif kind == "union" and union:
        for position, choice in enumerate(node["choices"]):
            # A pair of choice and label: the choice is replaced already.
            if isinstance(choice, dict) and choice["type"] == "dataclass":
                _harden(choice, unknown, in_qcore, union=union)
                node["choices"][position] = (unknown.replaced(choice), choice["cls"].__name__)
    for part in node.values():
        _harden(part, unknown, in_qcore, union=union)
