"""What mypyc needs of the modules that `tool.qcore.compiled` in pyproject.toml names."""

from __future__ import annotations

import ast
import inspect
import tomllib
from collections.abc import Iterator
from dataclasses import MISSING, fields, is_dataclass
from importlib import import_module
from pathlib import Path

import pytest

from tests.checkout import CHECKOUT

SETTINGS = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["tool"]["qcore"]["compiled"]
LEFT_OUT = {CHECKOUT / name for name in SETTINGS["exclude"]}
PATTERNS = [*SETTINGS["include"], *SETTINGS["only_in_place"]]
COMPILED = sorted({path for pattern in PATTERNS for path in CHECKOUT.glob(pattern)} - LEFT_OUT)
#: The modules whose values pydantic and recordings read by the types of their fields.
VALUES = [
    *("qcore.core.entry", "qcore.core.messages", "qcore.core.events", "qcore.core.effects"),
    *("qcore.replica.events", "qcore.replica.messages"),
]
#: A server's own parts, which change with it.
NEVER_COPIED = {CHECKOUT / "qcore/core/raft_server.py"}


def classes(path: Path) -> Iterator[ast.ClassDef]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ClassDef):
            yield node


def base_names(cls: ast.ClassDef) -> set[str]:
    bases = [base.value if isinstance(base, ast.Subscript) else base for base in cls.bases]
    return {base.id for base in bases if isinstance(base, ast.Name)}


def allows_subclasses(cls: ast.ClassDef) -> bool:
    return any(
        "allow_interpreted_subclasses=True" in ast.unparse(one) for one in cls.decorator_list
    )


def test_every_pattern_names_a_module() -> None:
    assert all(any(CHECKOUT.glob(pattern)) for pattern in PATTERNS)
    assert all(path.exists() for path in LEFT_OUT)
    assert len(COMPILED) > 100


@pytest.mark.parametrize("path", COMPILED, ids=lambda path: path.stem)
def test_a_compiled_module_has_no_class_that_mypyc_refuses(path: Path) -> None:
    for cls in classes(path):
        decorators = " ".join(map(ast.unparse, cls.decorator_list))
        assert "runtime_checkable" not in decorators, f"{cls.name}: keep it in another module"
        assert "Generic" not in base_names(cls), f"{cls.name}: mypyc breaks generic classes"
        if "dataclass" in decorators:
            assert "slots" not in decorators, (
                f"{cls.name}: a dataclass with slots is a second class"
            )
            for part in cls.body:
                if isinstance(part, ast.AnnAssign):
                    kind = ast.unparse(part.annotation)
                    assert not kind.startswith("ClassVar"), f"{cls.name}: it becomes a field"
                    assert kind != "object", f"{cls.name}: mypyc does not find the class `object`"


def test_no_interpreted_class_inherits_from_a_compiled_one() -> None:
    compiled = {
        cls.name for path in COMPILED for cls in classes(path) if not allows_subclasses(cls)
    }
    for path in sorted([*(CHECKOUT / "qcore").rglob("*.py"), *(CHECKOUT / "tests").rglob("*.py")]):
        if path in COMPILED or path.name == Path(__file__).name:
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        imported = {
            alias.asname or alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("qcore")
            for alias in node.names
        }
        for cls in classes(path):
            assert not base_names(cls) & compiled & imported, f"{path}: {cls.name}"


def test_a_module_with_dataclasses_lets_them_be_copied() -> None:
    for path in COMPILED:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        decorators = {ast.unparse(each) for cls in classes(path) for each in cls.decorator_list}
        if any(each.startswith("dataclass") for each in decorators) and path not in NEVER_COPIED:
            assert ast.unparse(tree.body[-1]) == "register_copies(globals())", path


@pytest.mark.pure_only("`inspect` does not see the parameters of a compiled constructor")
@pytest.mark.parametrize("module", VALUES)
def test_a_constructor_takes_the_fields_in_their_order(module: str) -> None:
    for cls in vars(import_module(module)).values():
        if not isinstance(cls, type) or not is_dataclass(cls) or cls.__module__ != module:
            continue
        taken = [*inspect.signature(cls).parameters.values()]
        assert [each.name for each in taken] == [each.name for each in fields(cls)]
        for each, field in zip(taken, fields(cls), strict=True):
            has_default = each.default is not inspect.Parameter.empty
            optional = field.default is not MISSING or field.default_factory is not MISSING
            assert has_default == optional, f"{cls.__name__}.{field.name}"
            if field.default is not MISSING:
                assert each.default == field.default, f"{cls.__name__}.{field.name}"
