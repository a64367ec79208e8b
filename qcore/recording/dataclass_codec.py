"""Turns dataclasses into lists that JSON can hold, and back, by the types of their fields.

A dataclass becomes the list of its fields in the order of their definition, without their names.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import cache
from operator import attrgetter
from typing import Any, Final, Literal, Union, get_args, get_origin, get_type_hints

from qcore.core.log.compressed_text import CompressedText

#: Turns a value into what JSON can hold, or back. `Any`: the codec serves the fields of every class.
Convert = Callable[[Any], Any]

_SCALARS: Final = (int, str, bool, float, type(None))


@cache
def to_list(cls: type) -> Callable[[Any], Sequence[Any]]:
    """A function that gives the fields of an object of this dataclass as a sequence.

    Raises:
        TypeError: the type of a field is one that the codec does not know.
    """
    hints = get_type_hints(cls)
    names = [each.name for each in fields(cls)]
    places = [(at, _writer(hints[name])) for at, name in enumerate(names)]
    converted = [(at, convert) for at, convert in places if convert is not None]
    if not names:
        return lambda value: ()
    if len(names) == 1:
        get_one = attrgetter(names[0])
        only = places[0][1]
        return (lambda value: (get_one(value),)) if only is None else lambda v: (only(get_one(v)),)
    get = attrgetter(*names)
    if not converted:
        return get

    def write(value: object) -> list[Any]:
        found = list(get(value))
        for at, convert in converted:
            found[at] = convert(found[at])
        return found

    return write


@cache
def from_list(cls: type) -> Callable[[Sequence[Any]], Any]:
    """The inverse of `to_list`. Fields that are missing at the end have their defaults.

    The function that it returns raises:
        ValueError: it is not such a list.
    """
    hints = get_type_hints(cls)
    places = fields(cls)
    readers = [_reader(hints[each.name]) for each in places]
    least = sum(_is_required(each) for each in places)

    def read(found: Sequence[Any]) -> Any:
        if not isinstance(found, list | tuple) or not least <= len(found) <= len(readers):
            raise ValueError(f"{cls.__name__} has {len(readers)} fields, not {found!r:.100}")
        return cls(
            *[value if to is None else to(value) for to, value in zip(readers, found, strict=False)]
        )

    return read


def _is_required(field: Field[Any]) -> bool:
    return field.default is MISSING and field.default_factory is MISSING


def _writer(kind: Any) -> Convert | None:
    """What turns a value of this type into JSON; None if it is JSON already."""
    if kind in _SCALARS or get_origin(kind) is Literal:
        return None
    if kind is CompressedText:
        return str
    if is_dataclass(kind) and isinstance(kind, type):
        return to_list(kind)
    arguments = get_args(kind)
    if _is_union(kind):
        convert = _of_union(arguments, _writer)
        if convert is None:
            return None
        return lambda value: value if isinstance(value, _SCALARS) else convert(value)
    if get_origin(kind) is list or _is_open_tuple(kind):
        inner = _writer(arguments[0])
        return list if inner is None else lambda value: [inner(each) for each in value]
    if get_origin(kind) is tuple and all(_writer(each) is None for each in arguments):
        return None
    raise TypeError(f"the recording of a {kind} is not defined")


def _reader(kind: Any) -> Convert | None:
    """The inverse of `_writer`."""
    if kind in _SCALARS or kind is CompressedText or get_origin(kind) is Literal:
        return None
    if is_dataclass(kind) and isinstance(kind, type):
        return from_list(kind)
    arguments = get_args(kind)
    if _is_union(kind):
        convert = _of_union(arguments, _reader)
        if convert is None:
            return None
        return lambda value: convert(value) if isinstance(value, list) else value
    inner = _reader(arguments[0])
    if get_origin(kind) is list:
        return None if inner is None else lambda value: [inner(each) for each in value]
    if _is_open_tuple(kind):
        return tuple if inner is None else lambda value: tuple([inner(each) for each in value])
    if get_origin(kind) is tuple:
        return tuple
    raise TypeError(f"the recording of a {kind} is not defined")


def _is_union(kind: object) -> bool:
    return get_origin(kind) in (Union, types.UnionType)


def _of_union(
    arguments: Sequence[Any], convert_of: Callable[[Any], Convert | None]
) -> Convert | None:
    """What converts the only type of a union that needs a conversion; None if there is no such type."""
    found = [convert for each in arguments if (convert := convert_of(each)) is not None]
    if len(found) > 1:
        raise TypeError(f"the recording of one of {arguments} is not defined")
    return found[0] if found else None


def _is_open_tuple(kind: object) -> bool:
    return get_origin(kind) is tuple and get_args(kind)[1:] == (Ellipsis,)
