"""Random values for the keys of a scenario, as a file may give them: most are valid, some are not."""

from __future__ import annotations

from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from hypothesis import strategies as st
from pydantic import BaseModel

from qcore.sim.scenario.actions.registry import ACTIONS
from qcore.sim.scenario.distributions import Distribution
from qcore.sim.scenario.model import Scenario
from qcore.sim.scenario.timeline import Item
from qcore.sim.scenario.values import Count, Ratio, Selector

Values = st.SearchStrategy[Any]  # whatever a file may hold

_WRONG: Values = st.sampled_from([None, -1, "x", [], {}, {"x": 1}, True, 1e300, [[]], "${x}"])

#: The forms in which a file writes these models.
_FORMS: dict[type[BaseModel], Values] = {
    Distribution: st.sampled_from(
        [
            5,
            0.5,
            [1, 5],
            {"fixed": 2},
            {"uniform": [1.5, 5]},
            {"normal": [5, 1], "max_ms": 9},
            {"lognormal": [3, 0.5], "min_ms": 1},
            {"exponential": 4},
            {"pareto": [1, 2], "max_ms": 50},
            {"samples": [1, 2.5, 4]},
            {"samples": [1, 2], "weights": [1, 3]},
        ]
    ),
    Selector: st.sampled_from(
        [
            *(1, [1, 2], "leader", "rest", ["random", 3], "all", "random_2", "client_1"),
            {"random": 2, "of": "followers"},
            {"random": 1, "of": [1, 2]},
        ]
    ),
    Count: st.sampled_from([3, [1, 5], ">= 2", "< 4", {"at_least": 1}, {"min": 0, "max": 3}]),
    Ratio: st.sampled_from(["<= 12", ">= 0.5", {"at_least": 1, "at_most": 2.5}]),
}

_TEXTS: Values = st.sampled_from(
    ["k0", "x", "AppendEntries", "election_safety", "ok", "any", "yes", "1", "null", "a: b", "${x}"]
) | st.text(max_size=6)
_PLAIN: dict[object, Values] = {
    bool: st.booleans(),
    int: st.integers(0, 4) | st.sampled_from([50, 1000, 5000, 10**9]),
    float: st.sampled_from([0, 0.25, 1, 2.0, 100.5, 1000, 5e-05]),
    str: _TEXTS,
}


def values_of(annotation: object) -> Values:
    """Values for a key of this type."""
    return st.one_of([_valid(annotation)] * 29 + [_WRONG])


def _valid(annotation: object) -> Values:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _valid(arguments[0])
    if origin in (Union, UnionType):
        return st.one_of([_valid(one) for one in arguments if one is not NoneType])
    if origin is Literal:
        return st.sampled_from(arguments)
    if origin is tuple and arguments[-1] is not Ellipsis:
        return st.tuples(*map(_valid, arguments)).map(lambda pair: sorted(pair))
    if origin is tuple:
        return st.lists(values_of(arguments[0]), min_size=1, max_size=3)
    if origin is dict:
        return st.dictionaries(_valid(arguments[0]), values_of(arguments[1]), max_size=2)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return _FORMS[annotation] if annotation in _FORMS else part_values(annotation)
    return _PLAIN[annotation]


def part_values(model: type[BaseModel], most: int = 3) -> Values:
    """Maps with a few of the keys of a model, and with all keys that it requires."""
    if model is Item:
        return item_values({"at_ms": 100})
    if issubclass(model, Item):
        return item_values({"every_ms": 500})
    shown = {
        field.alias or name: field
        for name, field in model.model_fields.items()
        if name not in ("kind", "op", "actions", "random_actions") and not field.exclude
    }
    required = [key for key, field in shown.items() if field.is_required()]

    def with_keys(chosen: list[str]) -> Values:
        keys = dict.fromkeys([*required, *chosen])
        return st.fixed_dictionaries({key: values_of(shown[key].annotation) for key in keys})

    if not shown:
        return st.just({})
    return st.lists(st.sampled_from(list(shown)), max_size=most).flatmap(with_keys)


def item_values(time: dict[str, object]) -> Values:
    """Items with this time: an action, and sometimes more."""
    times = st.fixed_dictionaries(
        {key: st.just(value) for key, value in time.items()},
        optional={
            "for_ms": st.sampled_from([50, [20, 40.5]]),
            "label": st.sampled_from(["cut", "${x}", "a b"]),
            "note": _TEXTS,
        },
    )

    def with_action(key: str) -> Values:
        values = st.one_of(part_values(ACTIONS[key]), _FORMS[Selector])
        drawn = st.one_of([values] * 5 + [values.map(lambda value: {"one_of": [value, "leader"]})])
        return st.tuples(times, drawn).map(lambda both: {**both[0], key: both[1]})

    return st.sampled_from(list(ACTIONS)).flatmap(with_action)


def _change(name: str) -> Values:
    value = values_of(Scenario.model_fields[name].annotation)
    return value.map(lambda given: {name: given})


#: Changes of one part of a scenario, with a few of its keys.
CHANGES: Values = st.sampled_from(
    ["timeline", *(name for name, field in Scenario.model_fields.items() if not field.exclude)]
).flatmap(_change)
