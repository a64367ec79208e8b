"""Runs qcore's storage suite on a custom storage: `pytest examples/test_json_storage.py`."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from json_storage import JsonStorage

from qcore.testing import NODE_ID, Opener, StorageConformance


class TestJsonStorage(StorageConformance):
    outlives_process = True  # so the suite also kills writing processes with -9

    @pytest.fixture(autouse=True)
    def _use(self, tmp_path: Path) -> None:
        self.scratch = tmp_path

    def make(self) -> Opener:
        self.directory = Path(tempfile.mkdtemp(dir=self.scratch))
        return lambda: JsonStorage(self.directory, NODE_ID)

    def files(self) -> Sequence[Path]:
        return [self.directory / "log.json"]
