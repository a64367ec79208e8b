"""Writes a scenario as the text of a scenario file, which reads as an equal scenario."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from html import escape

from pydantic import BaseModel

from qcore.sim.scenario.actions.operation_actions import OperationAction
from qcore.sim.scenario.actions.registry import ACTIONS
from qcore.sim.scenario.distributions import Distribution
from qcore.sim.scenario.generated.random_actions import RandomAction
from qcore.sim.scenario.timeline import Item
from qcore.sim.scenario.values import Selector

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
#: Words that YAML does not read as texts, or that look as if it did not.
_NOT_TEXTS = ("null", "true", "false", "yes", "no", "on", "off")
#: What looks like the use of a parameter.
_PARAMETER = re.compile(r"\$\{([^{}]*)\}")
#: A larger whole number is written with an exponent.
_LARGE = 1e15
_PAIRS = ("uniform", "normal", "lognormal", "pareto")


def scenario_text(scenario: BaseModel) -> str:
    """The text of a scenario file with everything that the scenario gives; each item of the timeline on one line."""
    return values_text(scenario_values(scenario))


def scenario_html(scenario: BaseModel) -> str:
    """The text of the scenario file, for notebooks."""
    return f"<pre>{escape(scenario_text(scenario))}</pre>"


def values_text(values: Mapping[str, object]) -> str:
    """The text of a scenario file with these values, which are those of `scenario_values`."""
    lines: list[str] = []
    for key, value in values.items():
        if key == "timeline" and isinstance(value, list) and value:
            lines.append("timeline:")
            lines += (f"  - {_flow(item)}" for item in value)
        else:
            lines.append(f"{key}: {_flow(value)}")
    return "\n".join(lines) + "\n"


def scenario_values(scenario: BaseModel) -> dict[str, object]:
    """Everything that a scenario gives, as maps, lists and single values, with the keys of a scenario file."""
    # The name is part of the trace, and a file without one is named after itself.
    return {"name": getattr(scenario, "name", "scenario"), **_fields(scenario)}


def _fields(model: BaseModel, *leave_out: str) -> dict[str, object]:
    """What a model was given, by the names that a file uses."""
    found: dict[str, object] = {}
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        given = name in model.model_fields_set and not field.exclude
        if given and name not in leave_out and not (value is None and field.default is None):
            found[field.alias or name] = _as_written(value)
    return found


def _as_written(value: object) -> object:
    """A value as it stands in a scenario file."""
    match value:
        case Selector():
            return _selector(value)
        case Distribution():
            return _distribution(value)
        case Item():
            return _item(value)
        case BaseModel():
            return _fields(value)
        case Mapping():
            return {key: _as_written(item) for key, item in value.items()}
        case tuple() | list():
            return [_as_written(item) for item in value]
        case float() if value.is_integer() and abs(value) < _LARGE:
            return int(value)
        case _:
            return value


def _item(item: Item) -> dict[str, object]:
    blocks: list[dict[str, object]] = []
    for action in item.actions:
        key = action.op if isinstance(action, OperationAction) else action.kind
        assert key in ACTIONS, "a file names each action by its kind"
        fields = _fields(action, "kind", "op")
        # `heal: all` heals everything, and not only the links of all nodes.
        is_short = list(fields) == ["nodes"] and (key, fields["nodes"]) != ("heal", "all")
        blocks.append({key: fields["nodes"] if is_short else fields})
    choice: dict[str, object] = {}
    for chosen in item.random_actions:
        assert isinstance(chosen, RandomAction)
        if len(chosen.choices) > 1:
            choice["one_of"] = chosen.blocks()
        else:
            (block,) = chosen.blocks()
            assert isinstance(block, dict)
            blocks.append(block)
    actions: dict[str, object] = {key: value for block in blocks for key, value in block.items()}
    if len(actions) < sum(map(len, blocks)):
        actions = {"do": blocks}  # an action that happens twice
    return {**_fields(item, "actions", "random_actions"), **actions, **choice}


def _selector(selector: Selector) -> object:
    terms: list[object] = []
    for term in selector.terms:
        name, _, number = str(term).partition("_")
        if name == "random" and selector.pool != ("all",):
            terms.append({"random": int(number or 1), "of": list(selector.pool)})
        else:
            terms.append(term)
    return terms[0] if len(terms) == 1 else terms


def _distribution(spec: Distribution) -> object:
    limits = _fields(spec, "shape", "first", "second")
    if spec.shape in _PAIRS:
        return {spec.shape: [_as_written(spec.first), _as_written(spec.second)], **limits}
    if spec.shape in ("fixed", "exponential"):
        return {spec.shape: _as_written(spec.first), **limits}
    return _fields(spec)


def _flow(value: object) -> str:
    """A value in YAML's flow style."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_flow(key)}: {_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ", ".join(map(_flow, value)) + "]"
    if isinstance(value, str):
        value = _PARAMETER.sub(r"$${\1}", value)
        is_plain = _PLAIN.fullmatch(value) and value.lower() not in _NOT_TEXTS
        return value if is_plain else _quoted(value)
    return json.dumps(value)


def _quoted(text: str) -> str:
    """A text in double quotes. Characters that YAML does not allow in a file are escaped."""
    quoted = json.dumps(text, ensure_ascii=False)
    return "".join(one if one.isprintable() else f"\\U{ord(one):08x}" for one in quoted)
