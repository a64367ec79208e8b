"""Fixtures of the storage tests."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def memory_root() -> Iterator[Path]:
    """A directory on a file system in memory, if there is one, where thousands of syncs cost nothing.

    For tests of the files' content. Tests of syncs and crashes use `tmp_path`.
    """
    shm = Path("/dev/shm")
    root = shm if os.access(shm, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="qcore-storage-", dir=root) as name:
        yield Path(name)


@pytest.fixture
def scratch(memory_root: Path) -> Iterator[Path]:
    """An empty directory for one test, under `memory_root`."""
    with tempfile.TemporaryDirectory(dir=memory_root) as name:
        yield Path(name)
