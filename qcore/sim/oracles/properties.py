"""Properties of a machine's state over a run: `@always`, `@sometimes`, `@eventually`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

PropertyKind = Literal["always", "sometimes", "eventually"]


@dataclass(slots=True, frozen=True)
class Property:
    """A function of the machine's state, and when it must hold. It is called like the function.

    Attributes:
        kind: always, sometimes or eventually.
        name: the name of the function.
        function: takes the machine object of one node.
    """

    kind: PropertyKind
    name: str
    function: Callable[..., object]

    def __call__(self, state: object) -> object:
        return self.function(state)


def always(function: Callable[..., object]) -> Property:
    """The function must hold after each entry and each restore, at each node.

    It holds if it returns True or None. It fails if it returns False or a text, or raises AssertionError.
    """
    return _property("always", function)


def sometimes(function: Callable[..., object]) -> Property:
    """The function must hold at least once in the run, at some node: it returns True or False."""
    return _property("sometimes", function)


def eventually(function: Callable[..., object]) -> Property:
    """The function must hold at the end of the run, at each running member. It fails like that of `always`."""
    return _property("eventually", function)


def _property(kind: PropertyKind, function: Callable[..., object]) -> Property:
    if isinstance(function, Property):
        raise TypeError(
            f"@{kind} stands on {function.name}, which is already a property of kind {function.kind}: use one of them"
        )
    if not callable(function):
        raise TypeError(f"@{kind} stands on {function!r:.100}, which is no function")
    return Property(kind, getattr(function, "__name__", repr(function)), function)
