"""Release 0.1.0, built once in a test session, also if several processes run the tests."""

from __future__ import annotations

import fcntl
import os

import pytest

from tests.packaging.installation import Installation
from tests.process.upgrades.release_0_1_0 import NotAvailable, build


@pytest.fixture(scope="session")
def old_release(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    base = tmp_path_factory.getbasetemp()
    # Each process of pytest-xdist has a folder, beside those of the others.
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "release-0.1.0"
    shared.mkdir(exist_ok=True)
    with open(shared / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (shared / "done").exists():
            try:
                build(shared)
            except NotAvailable as error:
                pytest.skip(str(error))
            (shared / "done").touch()
    return Installation(shared / "environment", shared / "work")
