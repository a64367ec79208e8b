"""The public names are those of `tests/api/public_names.py`. They work, and documents and examples use no others."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import qcore
import qcore.node
from qcore.compiled_build import LIBRARY
from qcore.node.main import _loop_factory
from tests.checkout import CHECKOUT, EXAMPLES
from tests.documents import DOCUMENTS, blocks, name

#: Packages whose `__all__` is public.
PACKAGES = (
    "qcore",
    "qcore.analysis",
    "qcore.client",
    "qcore.core",
    "qcore.kv",
    "qcore.recipes",
    "qcore.machines",
    "qcore.node",
    "qcore.sim",
    "qcore.sim.oracles",
    "qcore.storage",
    "qcore.testing",
    "qcore.view",
)
#: Modules in which every name without an underscore is public.
MODULES = (
    "qcore.core.effects",
    "qcore.core.events",
    "qcore.core.messages",
    "qcore.testing.pytest_plugin",
)
#: Only its classes are public: the errors.
ERRORS = "qcore.errors"

COMMITTED = Path(__file__).parent / "public_names.py"


def names_in(module: ModuleType) -> set[str]:
    """The public names that a package or module has now."""
    if module.__name__ in PACKAGES:
        return set(module.__all__)
    if module.__name__ == ERRORS:
        return {public for public in module.__all__ if inspect.isclass(getattr(module, public))}
    found: set[str] = set()
    source = CHECKOUT.joinpath(*module.__name__.split(".")).with_suffix(".py")
    for node in ast.parse(source.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign):
            found.update(ast.unparse(target) for target in node.targets)
        elif isinstance(node, ast.AnnAssign):
            found.add(ast.unparse(node.target))
    # Only pytest calls its hooks.
    return {public for public in found if not public.startswith(("_", "pytest_"))}


def imported(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """(module, name) of each import from qcore; the name is empty for `import qcore`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "qcore":
            yield from ((node.module or "", alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (
                (alias.name, "") for alias in node.names if alias.name.split(".")[0] == "qcore"
            )


def committed() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {module: set() for module in (*PACKAGES, *MODULES, ERRORS)}
    for module, public in imported(ast.parse(COMMITTED.read_text(encoding="utf-8"))):
        if public:
            found[module].add(public)
    return found


@pytest.mark.parametrize("package", [*PACKAGES, *MODULES, ERRORS])
def test_the_public_names_are_the_committed_ones(package: str) -> None:
    now = names_in(importlib.import_module(package))
    assert now == committed()[package], f"{COMMITTED.name} does not list the names of {package}"


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_works_and_is_explained(package: str) -> None:
    module = importlib.import_module(package)
    assert sorted(module.__all__) == sorted(set(module.__all__))
    for public in module.__all__:
        value = getattr(module, public)
        assert public in dir(module)
        assert public in vars(module), "the next use imports nothing"
        if inspect.isclass(value) or inspect.isfunction(value):
            assert (value.__doc__ or "").strip(), f"{package}.{public} has no docstring"


@pytest.mark.parametrize("package", PACKAGES)
def test_an_unknown_name_is_an_attribute_error(package: str) -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        importlib.import_module(package).no_such_name  # noqa: B018 - reading it is the test


@pytest.mark.parametrize("package", [name for name in PACKAGES if name != "qcore.core"])
def test_type_checkers_see_the_lazy_names(package: str) -> None:
    """Each lazy name is imported for type checkers from the module that it comes from."""
    path = CHECKOUT / package.replace(".", "/") / "__init__.py"
    tree = ast.parse(path.read_text(encoding="utf-8"))
    (choice,) = [node for node in tree.body if isinstance(node, ast.If)][:1]
    assert ast.unparse(choice.test) == "TYPE_CHECKING"
    (lazy,) = [node for node in ast.walk(choice) if isinstance(node, ast.Call)]
    homes: dict[str, tuple[str, ...]] = ast.literal_eval(lazy.args[1])
    at_run_time = {(module, public) for module, names in homes.items() for public in names}
    assert at_run_time == set(imported(ast.Module(choice.body, [])))


def programs() -> Iterator[tuple[str, str]]:
    """(where, Python text) of the examples, the notebooks, and the blocks of the documents."""
    for path in sorted(EXAMPLES.rglob("*.py")):
        yield path.name, path.read_text(encoding="utf-8")
    for path in sorted((CHECKOUT / "notebooks").glob("*.ipynb")):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        texts = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
        yield path.name, "\n".join(texts).replace(";\n", "\n")
    for path in DOCUMENTS:
        for number, block in enumerate(blocks(path)):
            if block.language == "python":
                indented = "\n".join(f"    {line}" for line in block.text.splitlines())
                yield f"{name(path)} {number}", f"async def block():\n{indented}\n"


def private_imports(text: str) -> list[str]:
    public = committed()
    return [
        f"{module}.{imported_name}".rstrip(".")
        for module, imported_name in imported(ast.parse(text))
        if module not in public or (imported_name and imported_name not in public[module])
    ]


#: The documents for users, in contrast to those about the code.
FOR_USERS = [
    path
    for path in DOCUMENTS
    if name(path) in ("README.md", "SECURITY.md", "docs/index.md", "docs/scenarios.md")
    or name(path).startswith(("docs/how-to/", "docs/reference/", "docs/tutorial/"))
]


def private_paths(text: str) -> list[str]:
    """The names of Python in a text, written as `qcore.package.Name`, that are not public."""
    public = committed()
    found: list[str] = []
    for path in re.findall(r"\bqcore(?:\.\w+)+", text):
        top = CHECKOUT.joinpath(*path.split(".")[:2])
        if not (top.is_dir() or top.with_suffix(".py").is_file()) or path in public:
            continue
        module = max((each for each in public if path.startswith(f"{each}.")), key=len)
        if path.removeprefix(f"{module}.").split(".")[0] not in public[module]:
            found.append(path)
    return found


@pytest.mark.parametrize("path", FOR_USERS, ids=name)
def test_documents_for_users_name_only_public_names(path: Path) -> None:
    assert private_paths(path.read_text(encoding="utf-8")) == []


def test_a_private_name_in_a_document_is_found() -> None:
    harmless = (
        "`qcore.client`, `qcore.NodeConfig.of`, `qcore.core.events.Tick`; `qcore.stored` in /status"
    )
    assert private_paths(harmless) == []
    planted = [
        "qcore.node.main.run_node",
        "qcore.replica",
        "qcore.core.raft",
        "qcore.errors.to_wire",
    ]
    assert private_paths(f"{harmless} {' '.join(planted)}") == planted


def test_the_example_of_the_node_package_makes_valid_settings() -> None:
    names: dict[str, object] = {each: getattr(qcore.node, each) for each in qcore.node.__all__}
    names["Path"] = Path
    text = inspect.getdoc(qcore.node) or ""
    (line,) = [each.strip() for each in text.splitlines() if "NodeConfig" in each]
    exec(line, names)
    assert isinstance(names["config"], qcore.NodeConfig)


def test_examples_and_documents_use_only_public_names() -> None:
    assert private_imports("from qcore.client.client import Client") == [
        "qcore.client.client.Client"
    ]
    assert private_imports("from qcore import Hidden") == ["qcore.Hidden"]
    texts = dict(programs())
    assert {"client.py", "elections.ipynb"} <= set(texts)
    private = {where: found for where, text in texts.items() if (found := private_imports(text))}
    assert not private


def test_importing_qcore_loads_only_a_few_small_modules() -> None:
    code = (
        "import sys; before = set(sys.modules); import qcore\n"
        "assert {*qcore.__all__} <= {*dir(qcore)}, 'dir lists a name before its first use'\n"
        "print(*set(sys.modules) - before)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {module for module in out.stdout.split() if module.startswith("qcore")}
    loaded -= {LIBRARY}  # of the compiled modules, if there are any
    errors = {name for name in loaded if name.startswith("qcore.errors")}
    assert loaded - errors == {
        "qcore",
        "qcore.compiled_build",
        "qcore.display",
        "qcore.lazy_names",
        "qcore.release",
    }


@pytest.mark.parametrize(
    ("missing", "use", "expected"),
    [
        ("pytest", "from qcore.testing import NODE_ID", "the suites of qcore.testing need pytest"),
        (
            "hypothesis",
            "from qcore.testing import StateMachineConformance",
            "the suites of qcore.testing need hypothesis",
        ),
        (
            "pytest",
            "import qcore.testing.pytest_plugin",
            "qcore.testing.pytest_plugin needs pytest",
        ),
    ],
)
def test_an_extra_that_is_missing_is_named(missing: str, use: str, expected: str) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None; {use}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert f"{expected}: pip install 'qcore-raft[testing]'" in done.stderr


def test_uvloop_that_is_missing_is_named_with_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The start ends before the node writes anything."""
    monkeypatch.setitem(sys.modules, "uvloop", None)
    config = qcore.NodeConfig.of(1, tmp_path / "data", uvloop=True)
    with pytest.raises(qcore.ConfigError, match=r"pip install 'qcore-raft\[uvloop\]'"):
        qcore.run_node(config)
    assert list(tmp_path.iterdir()) == []
    assert _loop_factory(None) is None


def test_a_scenario_runs_by_name_by_file_and_from_python(tmp_path: Path) -> None:
    """With the same seed, all of them give the same run."""
    short = qcore.Scenario.model_validate(
        {"name": "short", "cluster": {"nodes": 3}, "until_ms": 600}
    )
    file = tmp_path / "short.yaml"
    file.write_text("cluster: {nodes: 3}\nuntil_ms: 600\n")
    built, read = qcore.run_scenario(short, seed=5), qcore.run_scenario(file, seed=5)
    assert built.ok
    assert built.trace_sha256 == read.trace_sha256
    assert qcore.run_scenario(short, seed=6).trace_sha256 != built.trace_sha256
    assert qcore.run_scenario("steady_state", seed=5).scenario == "steady_state"
