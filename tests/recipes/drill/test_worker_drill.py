"""The drill itself: it must find a lock with two holders, and a program that fails, and lose no record."""

from __future__ import annotations

from pathlib import Path

import pytest

from qcore.client.programs.program_context import ProgramContext
from qcore.errors import ConfigError
from tests.recipes.checks.exclusion_check import exclusion_violations
from tests.recipes.drill.drill import KINDS, run_drill
from tests.recipes.drill.drill_records import (
    HEALED,
    RecordFile,
    load_function,
    progress_failures,
    read_records,
)
from tests.recipes.drill.drilled_locks import both_locks, careful_lock

#: Of the leases of `fail_soon`.
TTL_S = 0.5
#: Enough that each of the two workers is paused: one of them holds the naive lock.
PAUSES = 3


@pytest.mark.process
def test_pauses_find_the_naive_lock_and_not_the_careful(tmp_path: Path) -> None:
    result = run_drill(
        f"{both_locks.__module__}:{both_locks.__name__}",
        tmp_path,
        workers=2,
        faults=PAUSES,
        seed=2,
        settle_s=1,
        aimed=0,
        kinds=["pause_worker"],
    )
    assert not result.failures, result.failures
    assert result.fault_counts() == {"pause_worker": PAUSES}
    assert {fault.target for fault in result.faults} == {"worker 1", "worker 2"}, "another seed"
    violations = exclusion_violations(result.records)
    assert any(text.startswith("naive: ") for text in violations), result.timeline()
    assert not any(text.startswith("careful: ") for text in violations), result.timeline()
    assert progress_failures(result.records, "held", 1) == []
    (text,) = progress_failures(result.records, "held", 9999)
    assert text.endswith("records after the faults, not 9999")
    assert [each.what for each in result.records if not each.client] == [HEALED]


async def fail_soon(ctx: ProgramContext) -> None:
    """Fails in one worker, and works in the others."""
    ctx.record("seen", number=ctx.number)
    ctx.expect(ctx.number != 2, "this is not worker 2")
    while True:
        await careful_lock(ctx)


@pytest.mark.process
def test_a_failing_program_ends_the_drill(tmp_path: Path) -> None:
    result = run_drill(f"{__name__}:{fail_soon.__name__}", tmp_path, workers=2, faults=1000)
    text = "\n".join(result.failures)
    assert "worker 2 ended with exit code 1" in text
    assert "ExpectationFailed: this is not worker 2" in text
    assert 2 in {each.client for each in result.records if each.what == "seen"}


def test_a_record_that_was_cut_off_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    assert read_records(path) == []
    out = RecordFile(path)
    for number in (1, 2):
        out.write(7, "held", {"token": number})
    for length in range(path.stat().st_size, 0, -1):
        path.write_bytes(path.read_bytes()[:length])
        found = [(each.client, each.what, each.details["token"]) for each in read_records(path)]
        assert found == [(7, "held", 1), (7, "held", 2)][: path.read_bytes().count(b"\n")]


@pytest.mark.parametrize(
    ("program", "kinds", "wrong"),
    [
        ("tests.recipes.drill.drilled_locks", None, "write MODULE:FUNCTION"),
        ("tests.recipes.drill.drilled_locks:no_lock", None, "has no function no_lock"),
        (f"{load_function.__module__}:{load_function.__name__}", None, "has no TTL_S"),
        (f"{__name__}:fail_soon", ["pause_worker", "pause"], r"\['pause'\] are not among"),
    ],
)
def test_a_wrong_argument_starts_no_process(
    tmp_path: Path, program: str, kinds: list[str] | None, wrong: str
) -> None:
    with pytest.raises(ConfigError, match=wrong):
        run_drill(program, tmp_path / "drill", kinds=KINDS if kinds is None else kinds)
    assert not (tmp_path / "drill").exists()
