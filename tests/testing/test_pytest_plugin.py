"""The fixtures of `qcore.testing.pytest_plugin`, in real runs of pytest."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.checkout import DOCS
from tests.documents import blocks

pytestmark = pytest.mark.process


def run_pytest(path: Path) -> tuple[int, str]:
    """Run one test file in its directory: the exit code and the output."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", path.name],
        cwd=path.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_the_documented_test_file_passes(tmp_path: Path) -> None:
    page = blocks(DOCS / "how-to/testing.md")
    shop, scenarios = [block.text for block in page if block.language == "python"]
    path = tmp_path / "test_shop.py"
    path.write_text(f"{shop}\n{scenarios}".replace("seeds=20", "seeds=2"))
    code, output = run_pytest(path)
    assert code == 0, output
    assert "5 passed" in output


FAILING = """
import pytest

pytest_plugins = ["qcore.testing.pytest_plugin"]


@pytest.fixture(scope="module")
def shared(local_clusters):
    with local_clusters(size=1) as cluster:
        yield cluster


def test_passes(shared):
    assert shared.is_started


def test_fails_with_a_shared_cluster(shared):
    assert not shared.ids


def test_fails_after_the_end_of_a_cluster(local_clusters):
    with local_clusters(size=1, settings={"log_format": "json"}):
        pass
    assert False


def test_fails_without_a_cluster():
    assert False


def test_fails_later(local_clusters):
    assert False
"""


def test_a_failed_test_reports_the_logs_of_its_nodes(tmp_path: Path) -> None:
    path = tmp_path / "test_failing.py"
    path.write_text(FAILING)
    code, output = run_pytest(path)
    assert code == 1
    assert "4 failed, 1 passed" in output
    reports = output.split("____ test_fails_")[1:]
    shared, ended, none, later = reports
    assert shared.count("log of node 1") == 1
    assert "listens" in shared or "listening" in shared
    # The shared cluster still runs here, and this test did not ask for it: only its own logs are JSON.
    assert '{"' in ended
    assert "log of node" not in none
    assert '{"' not in later, "the cluster of an earlier test that has ended is forgotten"


@pytest.mark.parametrize("missing", ["pytest", "hypothesis"])
def test_a_cluster_needs_no_extra(missing: str) -> None:
    hide = f"import sys; sys.modules[{missing!r}] = None"
    code = f"{hide}; from qcore.testing import LocalCluster; print(LocalCluster(1).ids)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "[1]\n", done.stderr
