"""A short soak passes, and finds a fault that is planted."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.checkout import CHECKOUT

pytestmark = [pytest.mark.process, pytest.mark.long, pytest.mark.timeout(900)]


def soak(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.soak", *options],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
        timeout=800,
    )


def test_a_short_soak_passes_and_reports() -> None:
    done = soak("--minutes", "1", "--nodes", "3", "--round-s", "30", "--seed", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Every check passed after every round" in done.stdout


def test_a_soak_finds_writes_acknowledged_too_early() -> None:
    done = soak("--minutes", "8", "--nodes", "3", "--round-s", "60", "--unsafe")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "FAILED: " in done.stdout
