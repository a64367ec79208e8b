"""Hypothesis strategies for the events and effects of a replica, made from the types of their fields."""

from __future__ import annotations

import types
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from hypothesis import strategies as st

from qcore.core.effects import Send
from qcore.core.events import MessageReceived
from qcore.core.log.compressed_text import CompressedText
from qcore.errors import NotLeader, Overloaded, QcoreError
from qcore.replica.events import ReplicaEffect, ReplicaEvent
from qcore.replica.messages import PeerMessage

#: Any: a strategy for the values of one type.
Strategy = st.SearchStrategy[Any]

_SCALARS: dict[object, Strategy] = {
    int: st.integers(min_value=0, max_value=2**62),
    str: st.text(max_size=12) | st.just("\ud800 lone") | st.just('a\n"b"\u2028'),
    bool: st.booleans(),
    type(None): st.none(),
    QcoreError: st.sampled_from([NotLeader(2, "h:2"), Overloaded("busy")]),
}


@cache
def values_of(kind: Any) -> Strategy:
    """A strategy for the values of a type."""
    if kind in _SCALARS:
        return _SCALARS[kind]
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Literal:
        return st.sampled_from(arguments)
    if origin in (Union, types.UnionType):
        return st.one_of(*[values_of(each) for each in arguments if each is not CompressedText])
    if origin is list:
        return st.lists(values_of(arguments[0]), max_size=3)
    if origin is tuple and arguments[-1] is Ellipsis:
        return st.lists(values_of(arguments[0]), max_size=3).map(tuple)
    if origin is tuple:
        return st.tuples(*map(values_of, arguments))
    if kind is MessageReceived:
        return st.builds(MessageReceived, from_id=st.integers(1, 9), message=values_of(PeerMessage))
    if kind is Send:
        number = values_of(int)
        return st.builds(Send, to=number, message=values_of(PeerMessage), after=number)
    assert isinstance(kind, type), kind
    assert is_dataclass(kind), kind
    hints = get_type_hints(kind)
    parts = {each.name: values_of(hints[each.name]) for each in fields(kind)}
    return st.builds(kind, **parts)


def event_strategies() -> dict[str, Strategy]:
    """A strategy for each class of events, and for each class of messages that may arrive."""
    found = {
        each.__name__: values_of(each)
        for each in get_args(ReplicaEvent)
        if each is not MessageReceived
    }
    for message in get_args(PeerMessage):
        found[message.__name__] = st.builds(
            MessageReceived, from_id=st.integers(1, 9), message=values_of(message)
        )
    return found


def effect_strategies() -> dict[str, Strategy]:
    """A strategy for each class of effects."""
    return {each.__name__: values_of(each) for each in get_args(ReplicaEffect)}
