"""The archives and the installed wheel. They are made once, also if several processes run the tests."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from tests.packaging.installation import Archives, Installation, archives_in, build, install


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the archives (`dist`) and with an environment that has the wheel (`environment`)."""
    base = tmp_path_factory.getbasetemp()
    # Each process of pytest-xdist has a folder, beside those of the others.
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "packaging"
    shared.mkdir(exist_ok=True)
    with open(shared / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (shared / "done").exists():
            install(build(shared).wheel, shared)
            (shared / "done").touch()
    return shared


@pytest.fixture(scope="session")
def archives(shared_folder: Path) -> Archives:
    return archives_in(shared_folder)


@pytest.fixture(scope="session")
def installed(shared_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    return Installation(shared_folder / "environment", tmp_path_factory.mktemp("empty"))
