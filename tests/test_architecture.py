"""Enforces the import rules of ARCHITECTURE.md, and the bans that keep pure packages deterministic."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.checkout import CHECKOUT
from tests.imports import imports_of

PACKAGE = CHECKOUT / "qcore"
FOUNDATION = {
    "qcore",
    "qcore.errors",
    "qcore.files",
    "qcore.percentiles",
    "qcore.display",
    "qcore.settings",
    "qcore.lazy_names",
    "qcore.release",
    "qcore.trace",
    "qcore.yaml_reader",
}

#: package -> qcore packages it may import (the foundation and itself are always allowed).
INTERNAL: dict[str, set[str]] = {
    "core": set(),
    "machines": {"core"},
    "storage": {"core"},
    "transport": {"core", "replica.messages"},
    "replica": {"core", "machines.interface"},
    "sim": {"core", "replica", "machines"},
    "client": {"core", "replica", "storage", "transport"},
    "node": {"client", "core", "replica", "machines", "storage", "transport"},
    "analysis": set(),
    "cli": {
        "core",
        "replica",
        "machines",
        "storage",
        "transport",
        "client",
        "node",
        "sim",
        "analysis",
    },
    "testing": {"core", "storage.interface", "machines.interface"},
}

#: The modules beside the packages, and what they may import from qcore in addition to the standard library.
TOP_LEVEL: dict[str, set[str]] = {
    "__init__": {
        "qcore.client.client",
        "qcore.core.raft",
        "qcore.errors",
        "qcore.lazy_names",
        "qcore.machines.interface",
        "qcore.node.config",
        "qcore.node.main",
        "qcore.node.node",
        "qcore.release",
        "qcore.sim.run",
        "qcore.sim.scenario.model",
    },
    "__main__": {"qcore.cli.main"},
    "display": set(),
    "errors": {"qcore.display"},
    "files": set(),
    "settings": {"qcore.errors"},
    "lazy_names": set(),
    "release": {"qcore.errors"},
    "percentiles": {"qcore.errors"},
    "trace": {"qcore.errors"},
    "yaml_reader": {"qcore.errors", "yaml", "yaml.events"},
}

#: package -> third-party distributions it may import.
EXTERNAL: dict[str, set[str]] = {
    "core": set(),
    "machines": {"pydantic", "pydantic_core", "typing_extensions"},
    "storage": {"pydantic"},
    "transport": {"pydantic", "pydantic_core", "websockets"},
    "replica": {"pydantic"},
    "sim": {"pydantic", "simpy", "networkx"},
    "client": {"pydantic"},
    "node": {"prometheus_client", "pydantic", "uvloop"},
    "analysis": {"matplotlib", "networkx"},
    "cli": {"typer", "rich", "click"},
    "testing": {"hypothesis", "pytest"},
}

#: The dependencies of pydantic and typer come with them.
PYDANTIC_FAMILY = {"pydantic_core", "typing_extensions"}
TYPER_FAMILY = {"click"}

PURE = ("core", "replica", "machines", "sim")
BANNED_MODULES = {
    "core": {
        "time",
        "datetime",
        "asyncio",
        "threading",
        "logging",
        "os",
        "secrets",
        "uuid",
        "socket",
    },
    "replica": {
        "time",
        "datetime",
        "asyncio",
        "threading",
        "logging",
        "os",
        "secrets",
        "uuid",
        "socket",
    },
    "machines": {"time", "asyncio", "threading", "logging", "secrets", "uuid", "socket"},
    "sim": {"asyncio", "threading", "logging", "secrets", "uuid", "socket"},
}
BANNED_CALLS = {"id", "hash", "print", "breakpoint", "input"}
BANNED_ATTRIBUTES = {
    ("os", "urandom"),
    ("uuid", "uuid4"),
    ("datetime", "now"),
    ("datetime", "utcnow"),
    ("date", "today"),
    ("time", "time"),
    ("time", "monotonic"),
    ("time", "time_ns"),
    ("time", "monotonic_ns"),
    ("time", "sleep"),
}


def modules(package: str) -> list[Path]:
    found = sorted((PACKAGE / package).rglob("*.py"))
    assert found, f"there is no package {package}"
    return found


def documented() -> dict[str, tuple[set[str], set[str]]]:
    """The table of ARCHITECTURE.md: package -> what it may import from qcore, and from third parties."""
    text = (PACKAGE.parent / "ARCHITECTURE.md").read_text(encoding="utf-8")
    section = text.split("## Packages")[1].split("\n## ")[0]
    table: dict[str, tuple[set[str], set[str]]] = {}
    for package, internal, external in re.findall(
        r"^\| `(\w+)` \| [^|]* \| ([^|]*) \| ([^|]*) \|$", section, re.MULTILINE
    ):
        named = set(re.findall(r"`([\w.]+)`", internal))
        table[package] = (named, {name for name in external.strip().split(", ") if name != "–"})
        if internal.startswith("everything"):
            table[package] = (set(INTERNAL) - {package, "testing"}, table[package][1])
    return table


def test_every_package_and_module_has_a_rule() -> None:
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert packages == set(INTERNAL) == set(EXTERNAL)
    assert {path.stem for path in PACKAGE.glob("*.py")} == set(TOP_LEVEL)


def test_the_documented_import_table_is_enforced() -> None:
    enforced = {
        package: (INTERNAL[package], EXTERNAL[package] - PYDANTIC_FAMILY - TYPER_FAMILY)
        for package in INTERNAL
    }
    assert documented() == enforced


@pytest.mark.parametrize("module", sorted(TOP_LEVEL))
def test_a_top_level_module_imports_only_what_it_may(module: str) -> None:
    path = PACKAGE / f"{module}.py"
    for line, name in imports_of(ast.parse(path.read_text()), path):
        ok = name.split(".")[0] in sys.stdlib_module_names or name in TOP_LEVEL[module]
        assert ok, f"{path}:{line}: {module} may not import {name}"


@pytest.mark.parametrize("package", sorted(INTERNAL))
def test_a_package_imports_only_what_it_may(package: str) -> None:
    allowed = {f"qcore.{package}"} | {f"qcore.{name}" for name in INTERNAL[package]} | FOUNDATION
    for path in modules(package):
        for line, name in imports_of(ast.parse(path.read_text()), path):
            top = name.split(".")[0]
            if top == "qcore":
                ok = name in FOUNDATION or any(
                    name == prefix or name.startswith(prefix + ".")
                    for prefix in allowed - {"qcore"}
                )
            else:
                ok = (
                    top == "_typeshed"  # names for type checkers only
                    or top in sys.stdlib_module_names
                    or top in EXTERNAL[package]
                    or ("pydantic" in EXTERNAL[package] and top in PYDANTIC_FAMILY)
                )
            assert ok, f"{path}:{line}: {package} may not import {name}"


@pytest.mark.parametrize("package", PURE)
def test_a_pure_package_uses_no_clock_entropy_or_print(package: str) -> None:
    for path in modules(package):
        tree = ast.parse(path.read_text())
        for line, name in imports_of(tree, path):
            assert name.split(".")[0] not in BANNED_MODULES[package], f"{path}:{line}: {name}"
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in BANNED_CALLS, f"{path}:{node.lineno}: {node.func.id}()"
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                pair = (node.value.id, node.attr)
                assert pair not in BANNED_ATTRIBUTES, f"{path}:{node.lineno}: {pair}"
                if node.value.id == "random":
                    assert node.attr == "Random", f"{path}:{node.lineno}: the global generator"


@pytest.mark.parametrize("package", PURE)
def test_a_pure_package_never_iterates_over_a_set(package: str) -> None:
    """Set order depends on the hash seed; `sorted(...)` around the set makes it harmless."""
    for path in modules(package):
        for node in ast.walk(ast.parse(path.read_text())):
            iterables: list[ast.expr] = []
            if isinstance(node, ast.For):
                iterables.append(node.iter)
            elif isinstance(node, ast.ListComp | ast.GeneratorExp | ast.DictComp):
                iterables += [generator.iter for generator in node.generators]
            for iterable in iterables:
                is_set = isinstance(iterable, ast.Set | ast.SetComp) or (
                    isinstance(iterable, ast.Call)
                    and isinstance(iterable.func, ast.Name)
                    and iterable.func.id in {"set", "frozenset"}
                )
                assert not is_set, f"{path}:{iterable.lineno}: iteration over a set"


@pytest.mark.parametrize("module", ["qcore", "qcore.cli.main"])
def test_importing_loads_no_heavy_dependency(module: str) -> None:
    """In a fresh interpreter, it loads none of the heavy dependencies, so `qcore version` is fast."""
    heavy = ["pydantic", "simpy", "websockets", "networkx", "matplotlib", "yaml", "sqlite3"]
    code = f"import {module}, sys; print([m for m in {heavy!r} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
