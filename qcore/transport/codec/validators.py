"""From message classes to pydantic-core validators of whole frames.

A frame is validated in one pass: an envelope is a typed dictionary with one optional key for each
message type, so that no Python object is made for the wrapper's content before it is checked. What is
added to pydantic's own schema of each class: strictness, unknown fields refused, bounds for integers,
and validation that stops: sequences at their first error, and a frame at so many unknown fields (else a hostile list
of a million wrong elements would cost a million error objects).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from pydantic import ConfigDict, TypeAdapter
from pydantic_core import CoreSchema, PydanticKnownError, SchemaValidator, core_schema

from qcore.transport.wire import INT_LIMIT, MAX_ID_LENGTH, PEER_REQUESTS

#: More envelopes in one array frame are refused: each costs an answer.
MAX_ENVELOPES = 4096

#: Validation of a frame stops at so many unknown fields. Two for each envelope are more than honest mistakes make.
MAX_UNKNOWN_FIELDS = 2 * MAX_ENVELOPES

_STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
_SEQUENCES = frozenset({"list", "tuple", "set", "frozenset", "dict"})
_OWN_MODULES = ("qcore.core.", "qcore.replica.", "qcore.transport.")


class TooManyUnknownFields(Exception):
    """Stops the validation of a frame with more than `MAX_UNKNOWN_FIELDS`."""


class UnknownFields:
    """Validates the value of an unknown field: always an error.

    Attributes:
        seen: so many in the present frame.
    """

    def __init__(self) -> None:
        self.seen = 0

    def reject(self, value: object) -> object:
        self.seen += 1
        if self.seen > MAX_UNKNOWN_FIELDS:
            raise TooManyUnknownFields
        raise PydanticKnownError("extra_forbidden")

    def replaced(self, node: dict[str, Any]) -> CoreSchema:
        """A dataclass's core schema with a place for this: a typed dictionary, from which the object is made.

        For a valid value it takes a little longer.
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
        """Let a typed dictionary's core schema that forbids extra keys refuse them here."""
        config = node.get("config") or {}
        if node.get("extra_behavior", config.get("extra_fields_behavior")) == "forbid":
            node["extra_behavior"] = "allow"
            node["extras_schema"] = core_schema.no_info_plain_validator_function(self.reject)


@dataclass(slots=True, frozen=True)
class FrameValidators:
    """What a codec needs to read frames.

    Attributes:
        one: a frame that is one envelope -> `{type name: message}`.
        many: a frame that is an array -> a list of those, None in the place of each bad one.
        one_request, many_requests: the same for large frames of clients: what only a peer may send, and replies, are
            unknown types. Replies have unions of whole objects, in which each unknown field costs most.
        diagnose_many: the same, raising a `ValidationError` that names the index of each bad one.
        id_of_one, ids_of_many: no more than the ids: `{any name: {"id": ...} or None}`.
        unknown: counts while all but the last two validate; to be set to 0 before. They may raise
            `TooManyUnknownFields`.
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
    """Validators for frames of the registered message types."""
    definitions: dict[str, CoreSchema] = {}
    unknown = UnknownFields()
    fields = {
        name: core_schema.typed_dict_field(
            _strict_schema(cls, definitions, unknown, union=not _is_reply(name)), required=False
        )
        for name, cls in registry.items()
    }
    envelope = _envelope(fields, unknown)
    requests = _envelope(
        {
            name: field
            for name, field in fields.items()
            if not _is_reply(name) and registry[name] not in PEER_REQUESTS
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


def _is_reply(name: str) -> bool:
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
    """`schema`, with None in the place of a value that does not pass."""
    return core_schema.with_default_schema(schema, default=None, on_error="default")


def _strict_schema(
    cls: type, definitions: dict[str, CoreSchema], unknown: UnknownFields, *, union: bool
) -> CoreSchema:
    """pydantic's schema of a message class, hardened; what it shares goes into `definitions`."""
    # The list is there because TypeAdapter takes no config for a dataclass itself, while a dataclass
    # without a config of its own inherits the one around it.
    adapter: TypeAdapter[Any] = TypeAdapter(list[cls], config=_STRICT)  # type: ignore[valid-type]  # made at run time
    schema: Any = adapter.core_schema
    if schema["type"] == "definitions":
        for definition in schema["definitions"]:
            _harden(definition, unknown, own=False, union=union)
            definitions[definition["ref"]] = definition
        schema = schema["schema"]
    items: CoreSchema = schema["items_schema"]
    _harden(items, unknown, own=False, union=union)
    return items


def _is_own(node: dict[str, Any]) -> bool:
    module: str = node["cls"].__module__
    return module.startswith(_OWN_MODULES)


def _harden(node: Any, unknown: UnknownFields, own: bool, *, union: bool) -> None:
    """Bound integers, errors and unknown fields, in place, all the way down a core schema.

    Args:
        node: a part of a core schema: nested dictionaries and lists of many kinds.
        unknown: counts the unknown fields of typed dictionaries. A dataclass has no place for it.
        own: inside a class of qcore's protocol, where no integer is negative.
        union: count the unknown fields of the dataclasses of unions too, in which they cost more. Not in replies: there
            the wrong branch of a union has an unknown field each time.
    """
    if isinstance(node, list | tuple):
        for part in node:
            _harden(part, unknown, own, union=union)
        return
    if not isinstance(node, dict):
        return
    kind = node.get("type")
    if kind == "dataclass":
        own = _is_own(node)
    elif kind == "int":
        if "ge" not in node and "gt" not in node:
            node["ge"] = 0 if own else -INT_LIMIT
        if "le" not in node and "lt" not in node:
            node["lt"] = INT_LIMIT
    elif kind in _SEQUENCES:
        node["fail_fast"] = True
    elif kind == "typed-dict":
        unknown.replace_forbid(node)
    elif kind == "union" and union:
        for place, choice in enumerate(node["choices"]):
            # What is a pair already has a label, and was replaced before.
            if isinstance(choice, dict) and choice["type"] == "dataclass":
                _harden(choice, unknown, own, union=union)
                node["choices"][place] = (unknown.replaced(choice), choice["cls"].__name__)
    for part in node.values():
        _harden(part, unknown, own, union=union)
