"""Directories in memory, if the machine has such a file system: hundreds of syncs cost nothing there."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


def _directory() -> tempfile.TemporaryDirectory[str]:
    memory = Path("/dev/shm")
    root = memory if os.access(memory, os.W_OK) else None
    return tempfile.TemporaryDirectory(prefix="qcore-recovery-", dir=root)


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """An empty directory for one test."""
    with _directory() as name:
        yield Path(name)


@pytest.fixture(scope="module")
def module_path() -> Iterator[Path]:
    """An empty directory for the tests of a module."""
    with _directory() as name:
        yield Path(name)
