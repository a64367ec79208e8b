"""A hashable form of any state, equal for equal states: so that a search visits no configuration twice."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from dataclasses import fields, is_dataclass
from enum import Enum

_SCALARS = (str, int, float, bytes, type(None))


def canonical(value: object) -> Hashable:
    """A hashable form of `value`. Two values of equal form are equal in type and content.

    The order of a dict counts, because a model may use it. An object without readable content stands for itself, so it
    equals only itself. That costs a search some time, and never gives a wrong result.
    """
    try:
        return _form(value)
    except RecursionError:  # it contains itself
        return _Identity(value)


def _form(value: object) -> Hashable:
    kind = type(value)
    if isinstance(value, _SCALARS):
        return kind, value
    if isinstance(value, dict):
        return kind, tuple((_form(key), _form(item)) for key, item in value.items())
    if isinstance(value, list | tuple | deque):
        return kind, tuple(map(_form, value))
    if isinstance(value, set | frozenset):
        return kind, frozenset(map(_form, value))
    if isinstance(value, Enum):
        return kind, value.name
    if is_dataclass(value) and not isinstance(value, type):
        return kind, tuple(_form(getattr(value, field.name, None)) for field in fields(value))
    if kind.__eq__ is object.__eq__ and hasattr(value, "__dict__") and not callable(value):
        return kind, _form(vars(value))
    return kind, _Identity(value)


class _Identity:
    """Stands for an object, and keeps it alive, so that no other object can take its place in memory."""

    __slots__ = ("_value",)

    def __init__(self, value: object) -> None:
        self._value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Identity) and self._value is other._value

    def __hash__(self) -> int:
        return object.__hash__(self._value)
