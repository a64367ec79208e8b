"""One pair of warm worker processes for all sweeps of these tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from qcore.sim.sweeps.executors.local_executor import LocalExecutor


@pytest.fixture(scope="package")
def workers() -> Iterator[LocalExecutor]:
    executor = LocalExecutor(2, timeout_s=100)
    yield executor
    executor.close()


@pytest.fixture(scope="package")
def worker() -> Iterator[LocalExecutor]:
    executor = LocalExecutor(1, timeout_s=100)
    yield executor
    executor.close()
