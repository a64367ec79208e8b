"""Reverses the order of sets in the source of a machine, where that source iterates over them.

The order of a set depends on the hash seed, but a set of two texts has the same order under half of all seeds, and a
set of small integers under all. Therefore the second process compiles the user's modules with each expression that is
iterated wrapped into `ordered(...)`, which reverses sets and passes everything else through. `.pop()` of a set takes
another element.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from functools import partial
from typing import Final

from qcore.sim.determinism.circumstances.shadows import Shadows

#: The name by which changed modules call the function.
ORDERED: Final = "__qcore_ordered__"

#: The name by which changed modules call the function that stands for `.pop`.
POPPING: Final = "__qcore_popping__"

#: The names of the sources in `Shadows.calls`.
POP: Final = "pop of a set"
ITERATION: Final = "iteration over a set"

#: Functions and methods that iterate over their positional arguments.
_ITERATING: Final = (
    frozenset(
        {"list", "tuple", "iter", "enumerate", "sum", "map", "filter", "zip", "dict", "reversed"}
    )
    | frozenset(
        {"deque", "OrderedDict", "Counter", "chain", "islice", "accumulate", "reduce", "array"}
    )
    | frozenset({"join", "extend", "fromkeys", "dumps", "heapify"})
)


def ordered_by(shadows: Shadows) -> Callable[[object], object]:
    """The function that changed modules call. It notes that a set is iterated, and may reverse it."""

    def ordered(value: object) -> object:
        if isinstance(value, set | frozenset):
            shadows.asked(ITERATION)
            if shadows.reverses_sets:
                return tuple(value)[::-1]
        return value

    return ordered


def popping_by(shadows: Shadows) -> Callable[[object], object]:
    """The function that changed modules call for `value.pop`. Of a set it notes the call and may take another one."""

    def popping(value: object) -> object:
        if not isinstance(value, set):
            return value.pop  # type: ignore[attr-defined]  # as the user's module has it
        shadows.asked(POP)
        return partial(_pop_last, value) if shadows.reverses_sets and value else value.pop

    return popping


def _pop_last(value: set[object]) -> object:
    last = tuple(value)[-1]
    value.remove(last)
    return last


def with_ordered_sets(source: str, file: str) -> ast.Module:
    """The tree of a module in which everything that is iterated is wrapped. The line numbers stay.

    Raises:
        SyntaxError: the source is invalid.
    """
    tree = ast.parse(source, file)
    _Wrapping().visit(tree)
    return ast.fix_missing_locations(tree)


class _Wrapping(ast.NodeTransformer):
    def visit_For(self, node: ast.For) -> ast.AST:
        self.generic_visit(node)
        node.iter = _wrapped(node.iter)
        return node

    def visit_comprehension(self, node: ast.comprehension) -> ast.AST:
        self.generic_visit(node)
        if not node.is_async:
            node.iter = _wrapped(node.iter)
        return node

    def visit_Starred(self, node: ast.Starred) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.ctx, ast.Load):
            node.value = _wrapped(node.value)
        return node

    def visit_YieldFrom(self, node: ast.YieldFrom) -> ast.AST:
        self.generic_visit(node)
        node.value = _wrapped(node.value)
        return node

    def visit_Assign(self, node: ast.Assign) -> ast.AST:
        self.generic_visit(node)
        if any(isinstance(target, ast.Tuple | ast.List) for target in node.targets):
            node.value = _wrapped(node.value)
        return node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        called = node.func
        name = called.id if isinstance(called, ast.Name) else getattr(called, "attr", "")
        if isinstance(called, ast.Attribute) and name == "pop" and not node.args + node.keywords:
            popping = ast.Call(ast.Name(POPPING, ast.Load()), [called.value], [])
            node.func = ast.copy_location(popping, called)
        if name in _ITERATING:
            node.args = [
                each if isinstance(each, ast.Starred) else _wrapped(each) for each in node.args
            ]
        return node


def _wrapped(value: ast.expr) -> ast.expr:
    call = ast.Call(ast.Name(ORDERED, ast.Load()), [value], [])
    return ast.copy_location(call, value)
