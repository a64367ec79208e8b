"""A short soak passes, and finds a fault that is planted."""

from __future__ import annotations

import subprocess
import sys

import pytest

from qcore.sim.linearizability import Operation
from tests.checkout import CHECKOUT
from tests.soak.availability import longest_pause_s, outage_s

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


def write(invoke_s: int, return_s: int | None) -> Operation:
    return_us = None if return_s is None else return_s * 1_000_000
    return Operation(1, invoke_s, "0.Text", "write", "x", None, invoke_s * 1_000_000, return_us)


def test_a_pause_counts_only_while_a_majority_lives() -> None:
    history = [write(0, 1), write(2, None), write(10, 21), write(22, 23)]
    assert longest_pause_s(history, 30_000_000, []) == 20
    assert longest_pause_s(history, 30_000_000, [(0, 5_000_000), (6_000_000, 20_000_000)]) == 7
    assert outage_s(history, 2_500_000) == 18.5
    assert outage_s(history, 24_000_000) is None


def test_a_short_soak_passes_and_reports() -> None:
    done = soak("--minutes", "1", "--nodes", "3", "--round-s", "30", "--seed", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Every check passed after every round" in done.stdout


def test_a_soak_finds_writes_acknowledged_too_early() -> None:
    done = soak("--minutes", "8", "--nodes", "3", "--round-s", "60", "--unsafe")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "FAILED: " in done.stdout
