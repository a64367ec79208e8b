"""Runs the notebooks, and finds their texts and figures."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import nbformat
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbformat import NotebookNode

from tests.checkout import CHECKOUT

NOTEBOOKS = sorted((CHECKOUT / "notebooks").glob("*.ipynb"))
#: A path of the machine that ran a notebook.
LOCAL_PATH = re.compile(r"/home/|/Users/|/root/|/tmp/|/work/|[A-Z]:\\\\")


class ThisInterpreter(AsyncKernelManager):
    """Starts the kernel with the interpreter of the tests, whatever is installed on the machine."""

    @property
    def kernel_spec(self) -> KernelSpec:
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        return KernelSpec(argv=argv, display_name="tests", language="python")


def read(path: Path) -> NotebookNode:
    notebook = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]  # nbformat has no types
    assert isinstance(notebook, NotebookNode)
    return notebook


def execute(path: Path, folder: Path, seeds: int | None = None) -> NotebookNode:
    """Run a notebook like a reader who opens it in its folder.

    Args:
        path: the notebook.
        folder: a private folder for the settings of the kernel.
        seeds: the number of runs for the statistics. None: as many as a reader gets.
    """
    notebook = read(path)
    _write_settings(folder)
    environment = {
        **os.environ,
        "IPYTHONDIR": str(folder / "ipython"),
        "MPLCONFIGDIR": str(folder / "matplotlib"),
        "PYTHON_COLORS": "0",
    }
    environment.pop("QCORE_NOTEBOOK_SEEDS", None)
    if seeds is not None:
        environment["QCORE_NOTEBOOK_SEEDS"] = str(seeds)
    client = NotebookClient(
        notebook,
        timeout=1200,
        kernel_manager_class=ThisInterpreter,
        record_timing=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(path.parent)}},
    )
    client.execute(env=environment)
    notebook.metadata.language_info = {"name": "python"}
    return notebook


def _write_settings(folder: Path) -> None:
    """Figures as SVG, the same for the same run."""
    profile = folder / "ipython" / "profile_default"
    profile.mkdir(parents=True)
    (profile / "ipython_kernel_config.py").write_text(
        "c.InlineBackend.figure_formats = {'svg'}\n"
        "c.InlineBackend.print_figure_kwargs = {'bbox_inches': 'tight', 'metadata': {'Date': None}}\n",
        encoding="utf-8",
    )
    (folder / "matplotlib").mkdir()
    (folder / "matplotlib" / "matplotlibrc").write_text("svg.hashsalt: qcore\n", encoding="utf-8")


def texts(notebook: NotebookNode) -> str:
    """What the cells printed."""
    outputs = [out for cell in notebook.cells for out in cell.get("outputs", [])]
    return "\n".join(out.text for out in outputs if out.output_type == "stream")


def pictures(notebook: NotebookNode) -> list[str]:
    """The figures, as SVG."""
    outputs = [out for cell in notebook.cells for out in cell.get("outputs", [])]
    return [out.data["image/svg+xml"] for out in outputs if "image/svg+xml" in out.get("data", {})]
