"""Which build a process runs: pure Python, or the compiled modules."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

from tests.checkout import CHECKOUT
from tests.packaging.installation import Installation, copy_sources, install, run

SUFFIX = EXTENSION_SUFFIXES[0]
PROGRAM = "import qcore.part; print(qcore.BUILD, qcore.part.VALUE)"


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A small `qcore` with one module, and files in the places of compiled ones that no interpreter can load."""
    folder = tmp_path / "qcore"
    folder.mkdir()
    shutil.copyfile(CHECKOUT / "qcore/compiled_build.py", folder / "compiled_build.py")
    (folder / "__init__.py").write_text("from qcore.compiled_build import BUILD\n")
    part = folder / "part.py"
    part.write_text("VALUE = 'of the source'\n")
    (folder / f"part{SUFFIX}").write_text("not a library")
    (tmp_path / f"qcore_compiled__mypyc{SUFFIX}").write_text("not a library")
    state = part.stat()
    (folder / "compiled.json").write_text(
        json.dumps({"part.py": [state.st_mtime_ns, state.st_size]})
    )
    return folder


def start(package: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(package.parent), **variables}
    command = [sys.executable, "-S", "-c", PROGRAM]  # without the editable install of the checkout
    return subprocess.run(
        command, cwd=package.parent, env=environment, capture_output=True, text=True, check=False
    )


def test_a_variable_chooses_pure_python(package: Path) -> None:
    done = start(package, QCORE_PURE="1")
    assert (done.stdout, done.stderr) == ("pure of the source\n", "")


@pytest.mark.parametrize("variables", [{}, {"QCORE_PURE": "0"}, {"QCORE_PURE": ""}])
def test_compiled_modules_are_loaded_if_there_are_any(
    package: Path, variables: dict[str, str]
) -> None:
    done = start(package, **variables)
    assert done.returncode == 1
    assert "ImportError" in done.stderr  # of what stands in the place of the library


def test_a_changed_source_means_pure_python(package: Path) -> None:
    (package / "part.py").write_text("VALUE = 'of the changed source'\n")
    done = start(package)
    assert done.stdout == "pure of the changed source\n"
    assert (
        "part.py has changed since `make compile`: run it again, or set QCORE_PURE=1" in done.stderr
    )


def test_a_source_that_is_gone_means_pure_python(package: Path) -> None:
    stamps = package / "compiled.json"
    stamps.write_text(json.dumps({**json.loads(stamps.read_text()), "gone.py": [1, 1]}))
    done = start(package)
    assert done.stdout == "pure of the source\n"
    assert "gone.py has changed" in done.stderr


def test_a_checkout_without_compiled_modules_is_pure(package: Path) -> None:
    for library in [*package.glob("*.so"), *package.parent.glob("*.so"), package / "compiled.json"]:
        library.unlink()
    done = start(package)
    assert (done.stdout, done.stderr) == ("pure of the source\n", "")


TRACES = """
import json, sys
from pathlib import Path
from qcore import BUILD, run_scenario
found = {each.stem: run_scenario(each, 1).trace_sha256 for each in sorted(Path(sys.argv[1]).glob("*.yaml"))}
print(json.dumps([BUILD, found]))
"""


@pytest.mark.long
@pytest.mark.process
@pytest.mark.timeout(3600)  # the compiler takes minutes
def test_both_builds_of_a_wheel_make_the_same_traces(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    copy_sources(source)
    run(
        ["env", "QCORE_COMPILE=1", sys.executable, "-m", "build", "--wheel", "--no-isolation"],
        source,
        timeout_s=3000,
    )
    (wheel,) = (source / "dist").glob("*.whl")
    assert "none-any" not in wheel.name
    home = tmp_path / "home"
    home.mkdir()
    installed = Installation(install(wheel, home), tmp_path)
    assert "(compiled, Python" in installed.qcore("version")
    command = [str(installed.python), "-c", TRACES, str(CHECKOUT / "scenarios")]
    compiled = json.loads(run(command, tmp_path, timeout_s=1200))
    pure = json.loads(run(["env", "QCORE_PURE=1", *command], tmp_path, timeout_s=1200))
    assert (compiled[0], pure[0]) == ("compiled", "pure")
    assert len(pure[1]) > 50
    assert compiled[1] == pure[1]
