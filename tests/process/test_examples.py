"""What a newcomer runs first: the demo and the example client."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from qcore.cli.processes import LocalCluster

pytestmark = pytest.mark.process

CHECKOUT = Path(__file__).parents[2]


def test_the_demo_holds(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "qcore", "demo", "--out", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
        cwd=CHECKOUT,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.rstrip().endswith("Everything held.")
    assert (tmp_path / "leader_isolated.png").stat().st_size > 10_000
    assert len(done.stdout.splitlines()) < 50


def test_the_example_client_moves_money(ready_cluster: LocalCluster) -> None:
    done = subprocess.run(
        [sys.executable, "examples/client.py", *ready_cluster.endpoints],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=CHECKOUT,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
    )
    assert done.returncode == 0, done.stderr
    assert "ada has 70" in done.stdout
    assert "grace has 30" in done.stdout
