"""The JSON Schema of the scenario format, for editors: it completes and explains the keys of a scenario file.

It is built from the models. It accepts every valid scenario, and more: `qcore sim run` checks what a schema cannot say.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeAlias, Union, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, PlainValidator
from pydantic.fields import FieldInfo

from qcore.sim.scenario.actions.registry import ACTIONS
from qcore.sim.scenario.frozen_model import FrozenModel
from qcore.sim.scenario.model import Scenario
from qcore.sim.scenario.timeline import Item

Schema: TypeAlias = dict[str, Any]  # a schema is JSON, which has no exact type

_TYPES: dict[object, str] = {bool: "boolean", int: "integer", float: "number", str: "string"}
#: A value that a parameter gives.
_PARAMETER: Schema = {"$ref": "#/$defs/parameter"}
#: A short form.
_NOT_A_MAP: Schema = {"not": {"type": "object"}}
_BLOCKS = ("do", "one_of")


def scenario_schema() -> Schema:
    """The schema of a scenario file (JSON Schema, draft 2020-12)."""
    builder = _Builder()
    root = builder.object_of(Scenario)
    root["properties"] |= {
        "include": {"description": "A file, or a list of files, to take everything else from."},
        "parameters": {"type": "object", "description": "Names and default values for ${name}."},
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A scenario of qcore",
        **root,
        "$defs": builder.definitions,
    }


class _Builder:
    """Builds the schemas of models, each once."""

    def __init__(self) -> None:
        self.definitions: dict[str, Schema] = {"parameter": {"type": "string", "pattern": r"\$\{"}}

    def object_of(self, model: type[BaseModel]) -> Schema:
        """The schema of a map with the keys of a model."""
        properties = {
            field.alias or name: self._property(model, name, field)
            for name, field in model.model_fields.items()
            if name not in ("kind", "op", "actions", "random_actions") and not field.exclude
        }
        if issubclass(model, Item):
            properties |= {
                key: {"anyOf": [self._reference(action), _NOT_A_MAP]}
                for key, action in ACTIONS.items()
            }
            properties |= {key: {"description": "Blocks of actions."} for key in _BLOCKS}
        text = inspect.cleandoc(model.__doc__ or "").split("\n\n")[0]
        return {"type": "object", "description": text, "properties": properties}

    def _reference(self, model: type[BaseModel]) -> Schema:
        name = model.__name__
        if name not in self.definitions:
            self.definitions[name] = {}  # a model may contain itself
            whole = self.object_of(model)
            if _has_short_form(model):
                whole = {"anyOf": [whole, _NOT_A_MAP]}
            self.definitions[name] = whole
        return {"$ref": f"#/$defs/{name}"}

    def _property(self, model: type[BaseModel], name: str, field: FieldInfo) -> Schema:
        about: Schema = {"description": field.description} if field.description else {}
        if _is_free(field.metadata):
            return about
        whole = self._of(field.annotation, field.metadata)
        if name in _changed_fields(model):
            whole = {"anyOf": [whole, _short_form_of(field.annotation)]}
        elif _has_short_form(model) and not _models_or_maps(field.annotation):
            whole = {"anyOf": [whole, {"type": "object"}]}  # the model reads it as several keys
        return {**about, **whole}

    def _of(self, annotation: object, metadata: Sequence[object] = ()) -> Schema:
        origin, arguments = get_origin(annotation), get_args(annotation)
        if origin is Annotated:
            inner = [each for one in arguments[1:] for each in getattr(one, "metadata", [one])]
            return {} if _is_free(inner) else self._of(arguments[0], inner)
        if origin in (Union, UnionType):
            parts = [self._of(one, metadata) for one in arguments if one is not NoneType]
            null = [{"type": "null"}] if NoneType in arguments else []
            return {"anyOf": [*parts, *null]}
        if origin is Literal:
            return {"anyOf": [{"enum": list(arguments)}, _PARAMETER]}
        if origin is tuple:
            return {"anyOf": [{"type": "array", "items": self._of(arguments[0])}, _PARAMETER]}
        if origin is dict:
            return {"type": "object", "additionalProperties": self._of(arguments[1])}
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            is_value = issubclass(annotation, FrozenModel) and annotation.is_value
            return {} if is_value else self._reference(annotation)
        return {"anyOf": [{"type": _TYPES[annotation], **_bounds(metadata)}, _PARAMETER]}


def _has_short_form(model: type[BaseModel]) -> bool:
    """Whether the model reads something else than a map, or other keys than its fields."""
    return any(
        each.info.mode == "before"
        for each in model.__pydantic_decorators__.model_validators.values()
    )


def _changed_fields(model: type[BaseModel]) -> set[str]:
    """The fields whose values have short forms."""
    validators = model.__pydantic_decorators__.field_validators.values()
    return {name for each in validators if each.info.mode != "after" for name in each.info.fields}


def _is_free(metadata: Sequence[object]) -> bool:
    """Whether a function reads the value before its type counts."""
    return any(isinstance(each, BeforeValidator | PlainValidator) for each in metadata)


def _short_form_of(annotation: object) -> Schema:
    """What a validator may read instead of a value of this type."""
    for each in get_args(annotation):
        if get_origin(each) is tuple:
            return {}  # a list of lists may be one of them
    is_list = get_origin(annotation) is tuple
    return {"not": {"type": "array"}} if is_list else _NOT_A_MAP


def _models_or_maps(annotation: object) -> bool:
    inner = map(_models_or_maps, get_args(annotation))
    return hasattr(annotation, "model_fields") or get_origin(annotation) is dict or any(inner)


def _bounds(metadata: Sequence[object]) -> Schema:
    names = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}
    bounds: Schema = {}
    for each in metadata:
        for name, keyword in names.items():
            if (bound := getattr(each, name, None)) is not None:
                bounds[keyword] = bound
    return bounds
