"""The installed wheel gives everything in an empty directory: commands, scenarios, examples and notebooks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import qcore
from qcore.processes import ProcessCluster
from qcore.sim import run_scenario
from tests.checkout import CHECKOUT, SCENARIOS
from tests.packaging.installation import Installation, copy_sources, install
from tests.packaging.test_archives import tracked

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def examples(installed: Installation) -> Path:
    """The examples, as `qcore examples copy` gives them."""
    installed.qcore("examples", "copy", "examples_of_qcore")
    return installed.folder / "examples_of_qcore"


def test_the_wheel_is_what_runs_and_not_the_checkout(installed: Installation) -> None:
    where = installed.run_python("-c", "import qcore; print(qcore.__file__)").strip()
    assert Path(where).is_relative_to(installed.environment)
    assert f"qcore {qcore.__version__} " in installed.qcore("--version")


def test_every_scenario_is_listed_in_an_empty_directory(installed: Installation) -> None:
    listed = installed.qcore("sim", "list").splitlines()[1:]
    assert [line.split()[0] for line in listed] == sorted(path.stem for path in SCENARIOS.iterdir())


def test_a_scenario_runs_in_an_empty_directory(installed: Installation) -> None:
    seen = json.loads(installed.qcore("sim", "run", "leader_isolated", "--seed", "7", "-o", "json"))
    expected = run_scenario(SCENARIOS / "leader_isolated.yaml", 7)
    assert seen["ok"]
    assert seen["trace_sha256"] == expected.trace_sha256
    assert seen["replay"] == "qcore sim run leader_isolated --seed 7"


def test_the_copied_examples_are_those_of_the_checkout(
    installed: Installation, examples: Path
) -> None:
    copied = {
        path.relative_to(examples).as_posix(): path.read_bytes()
        for path in examples.rglob("*")
        if path.is_file()
    }
    listed = [line.split()[0] for line in installed.qcore("examples", "list").splitlines()[1:]]
    assert sorted(listed) == sorted(copied)
    assert copied == {
        name: (CHECKOUT / folder / name).read_bytes()
        for folder in ("examples", "notebooks")
        for name in tracked(folder)
    }
    seen = installed.qcore("sim", "run", f"{examples.name}/counter_partition.yaml", "-o", "json")
    assert json.loads(seen)["ok"]


def test_the_copied_client_talks_to_an_installed_node(
    installed: Installation, examples: Path, tmp_path: Path
) -> None:
    start_script = "import os, sys; os.execv(sys.argv[1], sys.argv[1:])"
    with ProcessCluster(tmp_path, 1, environment={"PYTHONPATH": ""}) as cluster:
        cluster.nodes[1].program = ("-c", start_script, str(installed.script))
        cluster.start()
        (endpoint,) = cluster.endpoints
        installed.qcore("cluster", "init", "--endpoints", endpoint)
        printed = installed.run_python(str(examples / "client.py"), endpoint)
    assert "ada has 70" in printed


@pytest.mark.long
def test_the_demo_runs_in_an_empty_directory(installed: Installation) -> None:
    printed = installed.qcore("demo")
    assert "Everything held." in printed
    assert (installed.folder / "out" / "leader_isolated.png").stat().st_size > 10_000


@pytest.mark.long
@pytest.mark.timeout(600)
def test_the_copied_notebook_runs(installed: Installation, examples: Path) -> None:
    code = (
        "import sys, nbformat; from nbclient import NotebookClient; from tests_kernel import kernel\n"
        "notebook = nbformat.read(sys.argv[1], as_version=4)\n"
        "NotebookClient(notebook, timeout=300, kernel_manager_class=kernel()).execute()\n"
        "print(*(out.text for cell in notebook.cells for out in cell.get('outputs', [])\n"
        "        if out.output_type == 'stream'))"
    )
    (installed.folder / "tests_kernel.py").write_text(_KERNEL, encoding="utf-8")
    printed = installed.run_python("-c", code, str(examples / "elections.ipynb"))
    assert "everything as expected: True" in printed


#: A kernel of the installed environment, whatever is installed on the machine.
_KERNEL = """
import os, sys
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager

os.environ["QCORE_NOTEBOOK_SEEDS"] = "12"

def kernel():
    class ThisInterpreter(AsyncKernelManager):
        @property
        def kernel_spec(self):
            argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
            return KernelSpec(argv=argv, display_name="installed", language="python")
    return ThisInterpreter
"""


@pytest.mark.long
def test_an_editable_install_finds_the_folders_of_the_checkout(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    copy_sources(source)
    options = ["--no-build-isolation", "--editable"]
    work = tmp_path / "empty"
    work.mkdir()
    made = Installation(install(source, tmp_path, *options), work)
    where = made.run_python("-c", "import qcore.release as r; print(r.shipped_folder('scenarios'))")
    assert Path(where.strip()) == source / "scenarios"
    assert "leader_isolated" in made.qcore("sim", "list")
