"""What tests need the pure build for, if they run on the compiled one (`make test-compiled`).

The callers of a compiled function do not see another one in its place, and the compiler copies constants into the code
that uses them. So a test that replaces one would check nothing. It is skipped at that moment. What a test needs the
pure build for otherwise, it says itself: `@pytest.mark.pure_only("why")`. `make test` runs all of them, and the summary
of a compiled run states how many it left out.
"""

from __future__ import annotations

import importlib
from collections import Counter
from importlib.machinery import EXTENSION_SUFFIXES
from types import ModuleType
from typing import Any, Final

import pytest

from qcore import BUILD

#: Begins the reason of each test that was left out.
PREFIX: Final = "needs the pure build: "

_NOT_GIVEN: Final = object()
_setattr: Final = pytest.MonkeyPatch.setattr


def install() -> None:
    """On the compiled build, let `MonkeyPatch.setattr` skip a test that replaces what is compiled."""
    if BUILD == "compiled":
        setattr(pytest.MonkeyPatch, _setattr.__name__, _checked_setattr)


def skip_marked(item: pytest.Item) -> None:
    """On the compiled build, skip a test that is marked with `pure_only`."""
    mark = item.get_closest_marker("pure_only")
    if mark is not None:
        (why,) = mark.args
        need_pure_build(why)


def need_pure_build(why: str) -> None:
    """On the compiled build, skip the test that is running."""
    if BUILD == "compiled":
        pytest.skip(PREFIX + why)


def summary(skipped: list[pytest.TestReport]) -> list[str]:
    """How many tests were left out, and why; nothing if none was."""
    found = Counter[str]()
    for report in skipped:
        reason = str(report.longrepr)  # the place and the reason
        if PREFIX in reason:
            found[reason.partition(PREFIX)[2].partition(": ")[0].rstrip("'\")")] += 1
    if not found:
        return []
    why = "; ".join(f"{count} {reason}" for reason, count in found.most_common())
    return [
        f"skipped because they need the pure build, where `make test` runs them: {found.total()} ({why})"
    ]


# Any: the signature is that of pytest.
def _checked_setattr(
    patch: pytest.MonkeyPatch,
    target: Any,
    name: Any,
    value: Any = _NOT_GIVEN,
    raising: bool = True,
) -> None:
    owner, attribute = (target, name) if value is not _NOT_GIVEN else _found(target)
    if _is_fixed(owner, attribute):
        owner_name = getattr(owner, "__name__", type(owner).__name__)
        pytest.skip(f"{PREFIX}it replaces what is compiled: {owner_name}.{attribute}")
    if value is _NOT_GIVEN:
        _setattr(patch, target, name, raising=raising)
    else:
        _setattr(patch, target, name, value, raising=raising)


def _found(path: str) -> tuple[object, str]:
    """The owner and the name that a path such as `package.module.name` stands for."""
    parts = path.split(".")
    for end in range(len(parts) - 1, 0, -1):
        try:
            owner: object = importlib.import_module(".".join(parts[:end]))
        except ImportError:
            continue
        for part in parts[end:-1]:
            owner = getattr(owner, part)
        return owner, parts[-1]
    raise ImportError(path)


def _is_fixed(owner: object, name: str) -> bool:
    """Whether compiled code would not see another value: of a function, class or constant that is compiled itself."""
    held = getattr(owner, name, None)
    if isinstance(owner, ModuleType):
        if not _is_compiled(owner.__name__):
            return False
        if isinstance(held, ModuleType):
            return False
        # A compiled async function does not name its module.
        return not callable(held) or _is_compiled(
            getattr(held, "__module__", None) or owner.__name__
        )
    if isinstance(owner, type):
        return "__mypyc_attrs__" in vars(owner)
    kind = type(owner)
    return "__mypyc_attrs__" in vars(kind) and name not in vars(kind)["__mypyc_attrs__"]


def _is_compiled(module: object) -> bool:
    """Whether this is the name of a compiled module."""
    file = (
        getattr(importlib.import_module(module), "__file__", None)
        if isinstance(module, str) and module.startswith("qcore.")
        else None
    )
    return isinstance(file, str) and file.endswith(tuple(EXTENSION_SUFFIXES))
