"""Enforces the import rules of ARCHITECTURE.md, and the bans that keep pure packages deterministic."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.checkout import CHECKOUT
from tests.imports import imports_of

PACKAGE = CHECKOUT / "qcore"

#: The modules beside the packages, and what they may import from qcore in addition to the standard library.
TOP_LEVEL: dict[str, set[str]] = {
    "__init__": {
        "qcore.client.client",
        "qcore.client.synchronous.sync_client",
        "qcore.compiled_build",
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
        "qcore.testing.scenario_tests.scenario_decorator",
    },
    "__main__": {"qcore.cli.main"},
    "compiled_build": {"mypy_extensions"},  # for the compiler only
    "display": set(),
    "html_table": set(),
    "files": {"qcore.errors"},
    "settings": {"qcore.display", "qcore.errors"},
    "lazy_names": {"qcore.compiled_build"},
    "release": {"qcore.errors"},
    "percentiles": {"qcore.errors"},
    "time_limit": {"qcore.errors"},
    "wire_value": {"qcore.compiled_build"},
    "yaml_reader": {"qcore.errors", "yaml", "yaml.events"},
}

#: What comes with a library, and completes it.
FAMILIES = {"pydantic": {"pydantic_core", "typing_extensions"}, "typer": {"click"}}

PURE = ("core", "replica", "machines", "sim")
#: Not in a pure package: a clock, entropy, threads, I/O.
BANNED_MODULES = {"asyncio", "threading", "logging", "secrets", "uuid", "socket"}
BANNED_MODULES |= {"subprocess", "multiprocessing"}
#: Also not in these. The others parse times, or read files before a run.
BANNED_TOO = {
    "core": {"time", "datetime", "os"},
    "replica": {"time", "datetime", "os"},
    "machines": {"time"},
    "sim": set[str](),
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
#: What folders may use although it is banned. The event loops of client programs and of simulated computers are those
#: of asyncio, with the simulated clock. Sweeps start simulations in other processes; no simulated node runs them.
ALLOWED_IN = {
    "sim/world/hosts": {"asyncio"},
    "sim/world/programs": {"asyncio"},
    "sim/world/programs/lives": {"asyncio"},
    "sim/world/whole": {"asyncio"},
    "sim/sweeps": {"threading"},
    "sim/sweeps/executors": {"subprocess", "threading"},
}
#: What single modules may use although it is banned, and why.
EXEMPT = {
    # Sweeps: the rate of runs, and runs that do not end.
    "sim/sweeps/sweep_loop.py": {("time", "monotonic")},
    "sim/sweeps/executors/worker_process.py": {("time", "monotonic")},
    "sim/sweeps/executors/worker_program.py": {("time", "monotonic")},
    "sim/sweeps/executors/local_executor.py": {("time", "monotonic")},
    "sim/sweeps/executors/dask_executor.py": {("time", "monotonic")},
    # It replaces clocks and entropy for copies of a user's machine, so it must name them. No simulated node runs it.
    "sim/determinism/circumstances/shadows.py": {
        ("date", "today"),
        ("datetime", "now"),
        ("random", "getstate"),
        ("random", "seed"),
        ("random", "setstate"),
    },
    # It bounds the time of a search through many runs. No run reads it.
    "sim/shrinking/shrink_api.py": {("time", "monotonic")},
}
#: The modules of a pure package that may start a process: for copies of a user's machine, after a run; and for a
#: second run that is compared with the first.
START_A_PROCESS = {
    "sim/determinism/other_process/second_process.py",
    "sim/repetition/repeated_run.py",
}


def modules(package: str) -> list[Path]:
    found = sorted((PACKAGE / package).rglob("*.py"))
    assert found, f"there is no package {package}"
    return found


class Rule(NamedTuple):
    """What a package may import."""

    internal: set[str]
    external: set[str]

    def allows(self, package: str, name: str) -> bool:
        """Whether the package may import this module."""
        top = name.split(".")[0]
        if top != "qcore":
            # `_typeshed` has names for type checkers only.
            return top in {"_typeshed", *sys.stdlib_module_names} | self.external
        prefixes = {f"qcore.{allowed}" for allowed in self.internal | {package}} | FOUNDATION
        return any(f"{name}.".startswith(f"{prefix}.") for prefix in prefixes)


def documented() -> tuple[dict[str, Rule], set[str]]:
    """The rules of ARCHITECTURE.md, of which there is no copy: package -> rule, and the modules that all may import."""
    text = (CHECKOUT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    section = text.split("## Packages")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| [^|]* \| ([^|]*) \| ([^|]*) \|$", section, re.MULTILINE)
    packages = {package for package, _, _ in rows}
    rules: dict[str, Rule] = {}
    for package, internal, external in rows:
        named = set(re.findall(r"`([\w.]+)`", internal))
        libraries = {name for name in external.strip().split(", ") if name != "–"}
        for library in tuple(libraries):
            libraries |= FAMILIES.get(library, set())
        everything = internal.startswith("everything but")
        rules[package] = Rule(packages - named if everything else named, libraries)
    sentence = re.search(r"^Every package may import (.*?)\.\s", section, re.MULTILINE | re.DOTALL)
    assert sentence is not None
    return rules, set(re.findall(r"`([\w.]+)`", sentence[1]))


RULES, FOUNDATION = documented()


def test_every_package_and_module_has_a_rule() -> None:
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert packages == set(RULES)
    assert {path.stem for path in PACKAGE.glob("*.py")} == set(TOP_LEVEL)


@pytest.mark.parametrize(
    ("package", "name", "allowed"),
    [
        ("core", "qcore.core.raft", True),
        ("core", "qcore.errors", True),
        ("core", "pydantic_core", False),
        ("core", "qcore.replica", False),
        ("core", "qcore.core_of_another", False),
        ("core", "websockets", False),
        ("transport", "qcore.replica.messages", True),
        ("transport", "qcore.replica.replica", False),
        ("analysis", "qcore.core", False),
        ("analysis", "pydantic", False),
        ("sim", "qcore.node.node", False),
        ("cli", "qcore.node.node", True),
        ("cli", "click", True),
        ("cli", "qcore.testing", False),
    ],
)
def test_the_table_decides(package: str, name: str, allowed: bool) -> None:
    assert RULES[package].allows(package, name) is allowed


@pytest.mark.parametrize("module", sorted(TOP_LEVEL))
def test_a_top_level_module_imports_only_what_it_may(module: str) -> None:
    path = PACKAGE / f"{module}.py"
    for line, name in imports_of(ast.parse(path.read_text()), path):
        allowed = [f"{each}." for each in TOP_LEVEL[module]]
        ok = name.split(".")[0] in sys.stdlib_module_names or any(
            f"{name}.".startswith(each) for each in allowed
        )
        assert ok, f"{path}:{line}: {module} may not import {name}"


@pytest.mark.parametrize("package", sorted(RULES))
def test_a_package_imports_only_what_it_may(package: str) -> None:
    for path in modules(package):
        for line, name in imports_of(ast.parse(path.read_text()), path):
            assert RULES[package].allows(package, name), (
                f"{path}:{line}: {package} may not import {name}"
            )


@pytest.mark.parametrize("package", PURE)
def test_a_pure_package_uses_no_clock_entropy_or_print(package: str) -> None:
    for path in modules(package):
        name_of_file = path.relative_to(PACKAGE).as_posix()
        unused = set(EXEMPT.get(name_of_file, ()))
        banned = BANNED_MODULES | BANNED_TOO[package]
        if name_of_file in START_A_PROCESS:
            banned = banned - {"subprocess"}
        banned = banned - ALLOWED_IN.get(name_of_file.rpartition("/")[0], set())
        tree = ast.parse(path.read_text())
        for line, name in imports_of(tree, path):
            assert name.split(".")[0] not in banned, f"{path}:{line}: {name}"
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in BANNED_CALLS, f"{path}:{node.lineno}: {node.func.id}()"
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                pair = (node.value.id, node.attr)
                if pair in EXEMPT.get(name_of_file, ()):
                    unused.discard(pair)
                    continue
                assert pair not in BANNED_ATTRIBUTES, f"{path}:{node.lineno}: {pair}"
                if node.value.id == "random":
                    assert node.attr == "Random", f"{path}:{node.lineno}: the global generator"
        assert not unused, f"{path}: exempt without need: {unused}"


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
