"""A save that a signal interrupts leaves no file behind. If kill -9 leaves one, the next save removes it."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
from pathlib import Path
from random import Random
from typing import Any

import pytest

from qcore.client import snapshot_download
from qcore.client.endpoints import Endpoints
from qcore.runtime.real import REAL
from qcore.storage.files import atomic_file
from qcore.storage.files.snapshot_file import SnapshotFileWriter
from tests.process.programs.save_snapshot import answer, no_unnamed_files
from tests.storage.files.test_snapshot_file import write

pytestmark = pytest.mark.process


def interrupted(path: Path, number: signal.Signals, *options: str) -> int:
    """Save to the file, send the signal when half of it is written, and return the exit code."""
    command = [sys.executable, "-m", "tests.process.programs.save_snapshot", str(path), *options]
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
def test_an_interrupted_save_leaves_no_file(
    tmp_path: Path, number: signal.Signals, options: tuple[str, ...]
) -> None:
    path = tmp_path / "state.snapshot"
    assert interrupted(path, number, *options) == 130
    assert list(tmp_path.iterdir()) == []


def test_the_next_save_removes_what_a_killed_one_left(tmp_path: Path) -> None:
    path = tmp_path / "state.snapshot"
    interrupted(path, signal.SIGKILL)
    assert list(tmp_path.iterdir()) == []
    interrupted(path, signal.SIGKILL, "--named")
    interrupted(path, signal.SIGKILL, "--named")
    assert len(list(tmp_path.iterdir())) == 1, (
        "the second save removed the file that the first one left"
    )
    write(path, "text")
    assert list(tmp_path.iterdir()) == [path]


def test_a_cancelled_save_waits_for_its_writer_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the thread could create the file after the cleanup."""
    monkeypatch.setattr(atomic_file, "_unnamed", no_unnamed_files)
    begun, go_on = threading.Event(), threading.Event()

    def slowly(*arguments: Any, **options: Any) -> SnapshotFileWriter:
        begun.set()
        go_on.wait()
        return SnapshotFileWriter(*arguments, **options)

    monkeypatch.setattr(snapshot_download, "SnapshotFileWriter", slowly)

    async def cancelled() -> None:
        path = tmp_path / "state.snapshot"
        save = asyncio.create_task(
            snapshot_download.save_snapshot(
                answer,
                Endpoints(["a:1"], Random(), runtime=REAL),
                path,
                stale=False,
                force=False,
                timeout_s=60,
                runtime=REAL,
            )
        )
        await asyncio.to_thread(begun.wait)
        save.cancel()
        await asyncio.sleep(0)
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await save

    asyncio.run(cancelled())
    assert list(tmp_path.iterdir()) == []
