"""Hypothesis strategies, derived from the annotations of the wire's classes."""

from __future__ import annotations

import dataclasses
import types
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from annotated_types import Ge, Le
from hypothesis import strategies as st
from pydantic import JsonValue

from qcore.core.version import ClusterVersion
from qcore.transport.wire import NodeId
from qcore.transport.wire.common import VersionNumber

COUNTS = st.integers(0, 2**63 - 1)
TEXTS = st.text(max_size=40)
JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
_SIMPLE: dict[Any, st.SearchStrategy[Any]] = {
    int: COUNTS,
    str: TEXTS,
    bool: st.booleans(),
    float: st.floats(allow_nan=False, allow_infinity=False),
    type(None): st.none(),
    None: st.none(),
}


def strategy_for(kind: Any, bound: dict[Any, Any] | None = None) -> st.SearchStrategy[Any]:
    """Values of an annotated type, within the wire's bounds (no negative numbers, ids from 1)."""
    bound = bound or {}
    if isinstance(kind, TypeVar):
        return strategy_for(bound[kind])
    if kind == NodeId:
        return st.integers(1, 2**63 - 1)
    if kind in (VersionNumber, get_type_hints(ClusterVersion, include_extras=True)["rules"]):
        return st.integers(1, 2**31 - 1)
    if kind is JsonValue:
        return JSON_VALUES
    if kind in _SIMPLE:
        return _SIMPLE[kind]
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated and arguments[0] is int:
        limits = [limit for each in arguments[1:] for limit in getattr(each, "metadata", ())]
        least = [int(str(each.ge)) for each in limits if isinstance(each, Ge)]
        most = [int(str(each.le)) for each in limits if isinstance(each, Le)]
        return st.integers(max([0, *least]), min([2**63 - 1, *most]))
    if origin is Annotated:
        return strategy_for(arguments[0], bound)
    if origin is Literal:
        return st.sampled_from(arguments)
    if origin in (Union, types.UnionType):
        return st.one_of([strategy_for(each, bound) for each in arguments])
    if origin is list:
        return st.lists(strategy_for(arguments[0], bound), max_size=3)
    if origin is tuple and arguments[-1] is Ellipsis:
        return st.lists(strategy_for(arguments[0], bound), max_size=3).map(tuple)
    if origin is tuple:
        return st.tuples(*(strategy_for(each, bound) for each in arguments))
    if origin is dict:
        key, value = arguments
        return st.dictionaries(strategy_for(key, bound), strategy_for(value, bound), max_size=3)
    cls: Any = origin or kind
    assert hasattr(cls, "__dataclass_fields__"), f"no strategy for {kind}"
    inner = dict(zip(cls.__parameters__, arguments, strict=True)) if origin else {}
    hints = get_type_hints(cls, include_extras=True)
    return st.builds(
        cls,
        **{each.name: strategy_for(hints[each.name], inner) for each in dataclasses.fields(cls)},
    )
