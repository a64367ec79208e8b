"""A save that a signal ends leaves no file behind; what kill -9 leaves, where it leaves anything, the next save removes."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.storage.test_snapshot_file import write

pytestmark = pytest.mark.process


def interrupted(path: Path, number: signal.Signals, *options: str) -> int:
    """Save into the file, and send the signal when half of it is written; returns the exit code."""
    command = [sys.executable, "-m", "tests.process.saving", str(path), *options]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as save:
        assert save.stdout is not None
        assert save.stdout.readline() == "half of it is written\n", save.communicate()
        save.send_signal(number)
        _, error = save.communicate(timeout=60)
    assert "Traceback" not in error, error
    return save.returncode


@pytest.mark.parametrize("options", [(), ("--named",)], ids=["unnamed", "named"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_signal_leaves_no_file(
    tmp_path: Path, number: signal.Signals, options: tuple[str, ...]
) -> None:
    path = tmp_path / "state.snapshot"
    assert interrupted(path, number, *options) == 130
    assert list(tmp_path.iterdir()) == []


def test_kill_leaves_nothing_that_the_next_save_does_not_remove(tmp_path: Path) -> None:
    path = tmp_path / "state.snapshot"
    interrupted(path, signal.SIGKILL)
    assert list(tmp_path.iterdir()) == []
    interrupted(path, signal.SIGKILL, "--named")
    interrupted(path, signal.SIGKILL, "--named")
    assert len(list(tmp_path.iterdir())) == 1, "the second removed what the first left"
    write(path, "text")
    assert list(tmp_path.iterdir()) == [path]
