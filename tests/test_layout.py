"""The layout of the code: no import cycle, no crowded folder, no long file, distinct names of modules."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterable
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.checkout import CHECKOUT
from tests.imports import imports_of

FOLDERS = ("qcore", "tests", "benchmarks")
MAX_FILES_IN_A_FOLDER = 12
MAX_LINES_OF_A_FILE = 500
MAX_CHARACTERS_OF_A_TEST_NAME = 60

#: File names that several packages share, because each means the same for its package.
SHARED_NAMES = {
    "__init__",  # the package's public names
    "config",  # its settings
    "errors",  # its exceptions
    "events",  # what its state machine takes in
    "interface",  # the protocol that others implement
    "limits",  # its bounds
    "messages",  # what its peers send
}

#: Every folder may have these beside its files.
NOT_COUNTED = {"__init__.py", "__main__.py", "README.md", "index.md", "py.typed"}

#: A module here has the name of its command, whatever else has that name.
COMMANDS = "qcore/cli/"


def python_files(checkout: Path, folders: Iterable[str] = FOLDERS) -> list[Path]:
    return sorted(path for folder in folders for path in (checkout / folder).rglob("*.py"))


def module_name(path: Path, checkout: Path) -> str:
    parts = path.relative_to(checkout).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(checkout: Path, folders: Iterable[str] = FOLDERS) -> dict[str, set[str]]:
    """Module -> the modules of these folders that it imports, anywhere in its text.

    Imports within functions count, and so do those for type checkers only: either hides a cycle, and does not end it.
    A module that imports `a.b.c` also runs `a` and `a.b`. These count too, except the packages that hold the module.
    """
    paths = {module_name(path, checkout): path for path in python_files(checkout, folders)}
    graph: dict[str, set[str]] = {}
    for module, path in paths.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        named = {
            name if name in paths else name.rpartition(".")[0]
            for _, name in imports_of(tree, path, checkout)
        }
        packages = {
            package
            for name in named
            for package in ancestors(name)
            if package != module and package not in ancestors(module)
        }
        graph[module] = {name for name in named | packages if name in paths and name != module}
    return graph


def ancestors(module: str) -> set[str]:
    """The packages that hold a module: `a` and `a.b` for `a.b.c`."""
    parts = module.split(".")
    return {".".join(parts[:length]) for length in range(1, len(parts))}


def find_cycle(graph: dict[str, set[str]]) -> list[str]:
    """The modules of one import cycle, each of which imports the next; the last is the first one again.

    Empty if there is no cycle.
    """
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        cycle: list[str] = error.args[1]
        return cycle[::-1]
    return []


def test_no_import_cycle() -> None:
    graph = imports(CHECKOUT)
    assert {"qcore.cli.exits", "qcore.errors"} <= graph["qcore.cli.main"]
    cycle = find_cycle(graph)
    assert not cycle, f"import cycle: {' -> '.join(cycle)}"


@pytest.mark.parametrize(
    "closing",
    [
        "from package.first import a\n",
        "import package.first\n",
        "from package import first\n",
        "def f() -> None:\n    from package.first import a\n",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from package.first import a\n",
    ],
)
def test_a_planted_import_cycle_is_found(tmp_path: Path, closing: str) -> None:
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "first.py").write_text("from package.second import b\n\na = b\n")
    (package / "second.py").write_text("from package.third import b\n")
    (package / "third.py").write_text("b = 1\n")
    assert find_cycle(imports(tmp_path, ["package"])) == []
    (package / "third.py").write_text(f"{closing}\nb = 1\n")
    cycle = find_cycle(imports(tmp_path, ["package"]))
    assert cycle[0] == cycle[-1]
    graph = {"package.first": "package.second", "package.second": "package.third"}
    graph["package.third"] = "package.first"
    assert [graph[module] for module in cycle[:-1]] == cycle[1:]


def test_a_planted_cycle_through_a_package_is_found(tmp_path: Path) -> None:
    """The package's `__init__` imports the module that the cycle begins with; no module names the package."""
    package = tmp_path / "top" / "package"
    package.mkdir(parents=True)
    (tmp_path / "top" / "__init__.py").write_text("")
    (package / "__init__.py").write_text("import top.user\n")
    (package / "part.py").write_text("a = 1\n")
    (tmp_path / "top" / "user.py").write_text("b = 1\n")
    assert find_cycle(imports(tmp_path, ["top"])) == []
    (tmp_path / "top" / "user.py").write_text("from top.package.part import a\n\nb = a\n")
    assert set(find_cycle(imports(tmp_path, ["top"]))) == {"top.package", "top.user"}


def mutual_folders(graph: dict[str, set[str]]) -> set[tuple[str, str]]:
    """Pairs of folders of one package that import each other, neither of which holds the other."""
    imported: set[tuple[str, str]] = set()
    for module, names in graph.items():
        for name in names:
            here, there = module.rpartition(".")[0], name.rpartition(".")[0]
            apart = not (f"{here}.".startswith(f"{there}.") or f"{there}.".startswith(f"{here}."))
            if apart and here.split(".")[:2] == there.split(".")[:2]:
                imported.add((here, there))
    return {(here, there) for here, there in imported if here < there and (there, here) in imported}


def test_folders_do_not_import_each_other() -> None:
    """A folder is a layer: one of two folders is below the other. Known exceptions may only become fewer."""
    graph = {module: names for module, names in imports(CHECKOUT).items() if module[:6] == "qcore."}
    assert mutual_folders({"qcore.p.a.x": {"qcore.p.b.y"}, "qcore.p.b.z": {"qcore.p.a.x"}})
    assert mutual_folders(graph) == {
        ("qcore.core.log", "qcore.core.reads"),
        ("qcore.replica.apply", "qcore.replica.requests"),
        ("qcore.sim.faults", "qcore.sim.verdict"),
        ("qcore.sim.faults", "qcore.sim.world"),
        ("qcore.sim.verdict", "qcore.sim.world"),
        ("qcore.sim.verdict", "qcore.sim.world.node"),
        ("qcore.sim.workload", "qcore.sim.world"),
    }


def test_no_folder_is_crowded() -> None:
    """`scenarios` is exempt: it is one catalogue, whose paths stand in documents and in users' commands."""
    files: defaultdict[Path, int] = defaultdict(int)
    for folder in [*FOLDERS, "examples", "docs", "notebooks"]:
        for path in (CHECKOUT / folder).rglob("*"):
            built = path.suffix == ".so" or path.name == "compiled.json"  # by `make compile`
            hidden = {"__pycache__", ".ipynb_checkpoints"} & set(path.parts)
            if path.is_file() and not hidden and not built:
                files[path.parent] += path.name not in NOT_COUNTED
    crowded = {
        folder.relative_to(CHECKOUT).as_posix(): count
        for folder, count in files.items()
        if count > MAX_FILES_IN_A_FOLDER
    }
    assert not crowded, (
        f"group the files of folders with more than {MAX_FILES_IN_A_FOLDER}: {crowded}"
    )


def test_no_file_of_the_package_is_long() -> None:
    lines = {
        path.relative_to(CHECKOUT).as_posix(): path.read_text(encoding="utf-8").count("\n")
        for path in python_files(CHECKOUT, ["qcore"])
    }
    long = {name: count for name, count in lines.items() if count > MAX_LINES_OF_A_FILE}
    assert not long, f"split the files of more than {MAX_LINES_OF_A_FILE} lines by job: {long}"


def test_names_of_tests_are_short_and_state_the_behaviour() -> None:
    bad: list[str] = []
    for path in python_files(CHECKOUT, [*FOLDERS, "examples"]):
        text = path.read_text(encoding="utf-8")
        for match in re.finditer(r"^ *(?:async )?def (test_\w+)", text, re.MULTILINE):
            name = match[1]
            if len(name) > MAX_CHARACTERS_OF_A_TEST_NAME or re.search(r"(?:is|are)_right", name):
                line = text.count("\n", 0, match.start()) + 1
                bad.append(f"{path.relative_to(CHECKOUT)}:{line}: {name} ({len(name)})")
    assert not bad, "\n".join(
        [
            f"state the behaviour in at most {MAX_CHARACTERS_OF_A_TEST_NAME} characters, "
            "without is_right or are_right:",
            *bad,
        ]
    )


def test_no_two_modules_share_a_file_name() -> None:
    places: defaultdict[str, list[str]] = defaultdict(list)
    for path in python_files(CHECKOUT, ["qcore"]):
        name = path.relative_to(CHECKOUT).as_posix()
        if path.stem not in SHARED_NAMES and not name.startswith(COMMANDS):
            places[path.stem].append(name)
    shared = {stem: names for stem, names in places.items() if len(names) > 1}
    assert not shared, "\n".join(
        ["give each module a name of one meaning, or add the name to SHARED_NAMES:"]
        + [f"{stem}: {', '.join(names)}" for stem, names in shared.items()]
    )
