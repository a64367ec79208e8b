"""The benchmarks name the Python that runs qcore, and can run nodes with another one."""

from __future__ import annotations

import platform
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from benchmarks.cluster.processor_time import processor_seconds
from benchmarks.cluster.systems import QcoreSystem, measure
from benchmarks.support.python_build import PythonBuild, python_build
from qcore.core import raft


def test_the_build_says_what_figures_depend_on() -> None:
    assert str(PythonBuild("3.11.2", True, False, True)) == (
        "Python 3.11.2 built with PGO, qcore not compiled, uvloop"
    )
    here = python_build()
    assert here.version == platform.python_version()
    assert here.compiled is not (raft.__file__ or "").endswith(".py")


def test_a_program_that_cannot_run_qcore_is_refused(tmp_path: Path) -> None:
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\necho no module >&2\nexit 1\n")
    program.chmod(0o755)
    with pytest.raises(SystemExit, match="no module"):
        python_build(str(program))


@pytest.mark.process
def test_nodes_run_with_the_python_that_is_named(tmp_path: Path) -> None:
    other = tmp_path / "another-python"
    other.symlink_to(Path(sys.executable).resolve())
    with ExitStack() as stack:
        system = QcoreSystem(stack, size=1, program=str(other))
        process = system.cluster.nodes[1].pid
        assert Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")[0] == bytes(other)
        before = processor_seconds([process])[0]
        assert measure(system, "write", 2, 0.1).errors == 0
        assert processor_seconds([process])[0] > before > 0
