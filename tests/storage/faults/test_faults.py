"""Every operation of the storage, with each of its system calls failing: the layer is in `tests/storage/faults`.

Whatever fails, there are two allowed outcomes: the operation succeeds, or it ends with an error that names the cause.
No acknowledged data is lost, and the next start works.
"""

from __future__ import annotations

from collections.abc import Iterator
from errno import EIO, ENOSPC
from pathlib import Path

import pytest

from tests.storage.faults import unavailable_reason
from tests.storage.faults.cases import FOR_EVER, KILL, ONCE, SHORT, Case, FaultRunner, fault_runner
from tests.storage.faults.operations import OPERATIONS

pytestmark = pytest.mark.skipif(unavailable_reason() is not None, reason=unavailable_reason() or "")

#: Cases of each operation in the short run.
SAMPLE = 16


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory, memory_root: Path) -> Iterator[FaultRunner]:
    """In memory, syncs cost nothing, and the layer makes them fail as on any disk."""
    with fault_runner(memory_root / "faults") as each:
        yield each


def complaints(sweep: FaultRunner, cases: list[Case]) -> list[str]:
    assert cases
    return [found for case in cases if (found := sweep.complaint(case)) is not None]


@pytest.mark.parametrize("operation", OPERATIONS)
def test_sampled_system_call_failures_are_survived(sweep: FaultRunner, operation: str) -> None:
    cases = list(sweep.cases(operation))
    assert complaints(sweep, cases[:: len(cases) // SAMPLE + 1]) == []


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_system_call_failure_is_survived(sweep: FaultRunner, operation: str) -> None:
    assert complaints(sweep, list(sweep.cases(operation))) == []


@pytest.mark.parametrize("kind", [EIO, KILL])
def test_failed_write_during_creation_is_recovered(sweep: FaultRunner, kind: int) -> None:
    """The first start with a working disk creates the data again."""
    cases = [
        case
        for case in sweep.cases("create")
        if (case.call, case.kind, case.times) == ("write", kind, ONCE)
    ]
    assert complaints(sweep, cases[:20]) == []


def test_join_waits_for_a_full_disk_and_happens_once(sweep: FaultRunner) -> None:
    """Whichever write finds no space, the node waits and joins, and does nothing twice."""
    cases = [
        case
        for case in sweep.cases("join")
        if (case.call, case.kind, case.times) == ("write", ENOSPC, FOR_EVER)
    ]
    assert len(cases) > 8
    for case in cases:
        result = sweep.run_case(case.operation, case.call, case.kind, case.nth, case.times)
        assert (result["outcome"], result["next start"]) == ("done", "done"), result
        assert result["held"] == {"term": 2, "last": 2, "cluster": "red"}


@pytest.mark.parametrize("operation", ["create", "restart after a crash"])
@pytest.mark.parametrize("times", [ONCE, FOR_EVER])
def test_unreadable_disk_is_not_reported_as_corruption(
    sweep: FaultRunner, operation: str, times: int
) -> None:
    """SQLite does, if a page of the database or of the write-ahead file cannot be read."""
    cases = [
        case
        for case in sweep.cases(operation)
        if (case.call, case.kind, case.times) == ("read", EIO, times)
    ]
    assert complaints(sweep, cases[:: len(cases) // 16 + 1]) == []


def test_short_write_is_completed(sweep: FaultRunner) -> None:
    """The rest of a short write is written again."""
    cases = [case for case in sweep.cases("create") if (case.call, case.kind) == ("write", SHORT)]
    for case in cases[:24:3]:
        result = sweep.run_case(case.operation, case.call, case.kind, case.nth, case.times)
        assert (result["outcome"], result["next start"]) == ("done", "done"), result


def test_start_on_a_full_disk_reports_a_full_disk(sweep: FaultRunner) -> None:
    """If SQLite cannot create a write-ahead file, it reports only that it cannot open it."""
    found = [
        sweep.run_case(case.operation, case.call, case.kind, case.nth, case.times)
        for case in sweep.cases("restart")
        if (case.call, case.kind, case.times) == ("open", ENOSPC, FOR_EVER)
    ]
    outcomes = [str(result["outcome"]) for result in found if result["outcome"] != "done"]
    assert outcomes
    assert [text for text in outcomes if not text.startswith("DiskFull: ")] == []


def test_a_start_does_not_need_the_block_for_its_process_id(sweep: FaultRunner) -> None:
    result = sweep.run_case("restart", "write", ENOSPC, nth=1, times=ONCE)
    assert (result["outcome"], result["next start"]) == ("done", "done")
