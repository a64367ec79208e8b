"""The pinned requirements agree with `pyproject.toml`, and every package that is imported is declared there."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from typing import Final, NamedTuple, cast

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.checkout import CHECKOUT
from tests.imports import imports_of

PROJECT: Final = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))
DEPENDENCIES = cast("list[str]", PROJECT["project"]["dependencies"])
EXTRAS = cast("dict[str, list[str]]", PROJECT["project"]["optional-dependencies"])
GROUPS = cast("dict[str, list[str | dict[str, str]]]", PROJECT["dependency-groups"])
DEV_EXTRAS: Final = (
    "testing",
    "uvloop",
    "notebook",
    "web",
    "gateway",
    "dask",
    "mdns",
    "otel",
    "pandas",
    "polars",
)


def group(name: str) -> list[str]:
    """The requirements of a dependency group and of those that it includes."""
    found: list[str] = []
    for line in GROUPS[name]:
        found += group(line["include-group"]) if isinstance(line, dict) else [line]
    return found


#: Pinned file -> what it must hold.
FILES: Final[dict[str, list[str]]] = {
    "build": PROJECT["build-system"]["requires"],
    "run": DEPENDENCIES,
    "dev": DEPENDENCIES + [line for extra in DEV_EXTRAS for line in EXTRAS[extra]] + group("dev"),
    "deploy": group("deploy"),
}
#: Import name -> distribution, where they differ.
DISTRIBUTION: Final = {
    "argon2": "argon2-cffi",
    "cel": "common-expression-language",
    "jwt": "pyjwt",
    "opentelemetry": "opentelemetry-sdk",
    "yaml": "pyyaml",
}
#: These come with pydantic, whose types they complete.
PYDANTIC_FAMILY: Final = {"annotated_types", "pydantic_core", "typing_extensions"}


class Pin(NamedTuple):
    """One line of a pinned file."""

    name: str
    version: str
    marker: str | None


def pins(text: str) -> list[Pin]:
    """The lines of a pinned file. A line that is more than name, version and marker fails."""
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    matches = [re.fullmatch(r"([a-z0-9.-]+)==([\w.!+]+)(?: ; (.+))?", line) for line in lines]
    assert all(matches), [line for line, match in zip(lines, matches, strict=True) if not match]
    return [Pin(match[1], match[2], match[3]) for match in matches if match]


def pinned(file: str) -> list[Pin]:
    return pins((CHECKOUT / f"requirements/{file}.txt").read_text(encoding="utf-8"))


def missing(wanted: list[str], found: list[Pin]) -> list[str]:
    """The requirements without a pin, or with a pin that their bounds exclude."""
    versions: dict[str, list[str]] = {}
    for pin in found:
        versions.setdefault(pin.name, []).append(pin.version)
    problems: list[str] = []
    for requirement in map(Requirement, wanted):
        name = canonicalize_name(requirement.name)
        fits = [requirement.specifier.contains(version) for version in versions.get(name, [])]
        if not fits or not all(fits):
            problems.append(f"{requirement}: pinned {versions.get(name, 'nowhere')}")
    return problems


@pytest.mark.parametrize("file", FILES)
def test_pinned_versions_satisfy_pyproject(file: str) -> None:
    assert FILES[file]
    assert not missing(FILES[file], pinned(file)), "run `make lock`"


def test_a_pin_that_is_missing_or_out_of_bounds_is_found() -> None:
    wanted = ["simpy>=4.1", "rich>=13", "mkdocs>=1.6,<2", "mkdocstrings[python]>=1"]
    found = pins("# a comment\nsimpy==4.0.2\nmkdocs==2.0\nmkdocstrings==1.0.8 ; os_name == 'nt'\n")
    assert missing(wanted, found) == [
        "simpy>=4.1: pinned ['4.0.2']",
        "rich>=13: pinned nowhere",
        "mkdocs<2,>=1.6: pinned ['2.0']",
    ]


@pytest.mark.parametrize(
    "line", ["--index-url https://host/simple", "a @ file:///a", "a", "a==1  # via /b"]
)
def test_a_pinned_file_holds_only_pins(line: str) -> None:
    """No address of a package index, no path, no open bound."""
    with pytest.raises(AssertionError):
        pins(line)


def test_files_that_are_installed_together_agree() -> None:
    assert {pin[:2] for pin in pinned("run")} <= {pin[:2] for pin in pinned("dev")}


def test_make_lock_pins_for_the_oldest_python_and_all_groups() -> None:
    makefile = (CHECKOUT / "Makefile").read_text(encoding="utf-8")
    oldest = PROJECT["project"]["requires-python"].removeprefix(">=")
    assert re.findall(r"--python-version (\S+)", makefile) == [oldest]
    included = {
        line["include-group"]
        for lines in GROUPS.values()
        for line in lines
        if isinstance(line, dict)
    }
    assert {*re.findall(r"--group (\S+)", makefile)} | included == set(GROUPS)
    assert tuple(re.findall(r"--extra (\S+)", makefile)) == DEV_EXTRAS
    assert group("build") == PROJECT["build-system"]["requires"]


@pytest.mark.parametrize(
    ("folder", "declared"),
    [
        ("qcore", DEPENDENCIES + [line for lines in EXTRAS.values() for line in lines]),
        ("tests", FILES["dev"]),
        ("benchmarks", FILES["dev"]),
        ("examples", FILES["dev"]),
    ],
)
def test_every_imported_package_is_a_declared_dependency(folder: str, declared: list[str]) -> None:
    names = {canonicalize_name(Requirement(line).name) for line in declared}
    beside = {path.stem for path in (CHECKOUT / folder).glob("*.py")}
    known = {"qcore", "tests", "benchmarks", "_typeshed", *sys.stdlib_module_names}
    paths = sorted((CHECKOUT / folder).rglob("*.py"))
    assert paths
    for path in paths:
        for line, name in imports_of(ast.parse(path.read_text(encoding="utf-8")), path):
            top = name.split(".")[0]
            if (path.parent.name, top) == ("peers", "pysyncobj"):
                continue  # `make bench-peers` installs it into a separate environment
            if top == "mypy_extensions":
                continue  # only the compiler reads it, and mypy brings it
            if top not in known | PYDANTIC_FAMILY | beside:
                assert canonicalize_name(DISTRIBUTION.get(top, top)) in names, (
                    f"{path}:{line}: {top}"
                )
