"""The drill itself: it must find a lock with two holders, and a program that fails, and lose no record."""

from __future__ import annotations

from pathlib import Path

import pytest

from qcore.client.programs.program_context import ProgramContext, ProgramRecord
from tests.recipes.drill import drilled_locks
from tests.recipes.drill.drill import run_drill
from tests.recipes.drill.drill_records import HEALED, RecordFile, read_records
from tests.recipes.drill.drilled_locks import both_locks, two_holders

#: Enough that each of the two workers is paused: one of them holds the naive lock.
PAUSES = 3


@pytest.mark.process
def test_pauses_find_the_naive_lock_and_not_the_careful(tmp_path: Path) -> None:
    result = run_drill(
        f"{both_locks.__module__}:{both_locks.__name__}",
        tmp_path,
        workers=2,
        faults=PAUSES,
        seed=6,
        ttl_s=drilled_locks.TTL_S,
        settle_s=1,
        kinds=["pause_worker"],
    )
    assert not result.failures, result.failures
    assert result.fault_counts() == {"pause_worker": PAUSES}
    assert {fault.target for fault in result.faults} == {"worker 1", "worker 2"}, "another seed"
    violations = two_holders(result.records)
    assert any("lock naive" in text for text in violations), result.timeline()
    assert not any("lock careful" in text for text in violations), (violations, result.timeline())
    assert any(each.time_s > result.healed_s for each in result.records if each.what == "held")
    assert [each.what for each in result.records if not each.client] == [HEALED]


async def fail_soon(ctx: ProgramContext) -> None:
    """Fails in a worker, and works in the others."""
    ctx.record("seen", number=ctx.number)
    ctx.expect(ctx.number != 2, "this is not worker 2")
    while True:
        await drilled_locks.careful_lock(ctx)


@pytest.mark.process
def test_a_failing_program_ends_the_drill(tmp_path: Path) -> None:
    result = run_drill(f"{__name__}:{fail_soon.__name__}", tmp_path, workers=2, faults=1000)
    text = "\n".join(result.failures)
    assert "worker 2 ended with exit code 1" in text
    assert "ExpectationFailed: this is not worker 2" in text
    assert {each.client for each in result.records if each.what == "seen"} == {1, 2}


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


def held(token: int, at: float, what: str = "held", lock: str = "a") -> ProgramRecord:
    return ProgramRecord(1, at, what, {"lock": lock, "token": token, "at": at})


def test_the_checker_finds_a_holder_that_stays_too_long() -> None:
    good = [held(1, 0.0, "acquired"), held(1, 1.0), held(2, 1.5, "acquired"), held(2, 1.6)]
    assert two_holders(good) == []
    assert two_holders([*good, held(9, 1.7, "acquired", lock="b"), held(2, 1.8)]) == []
    (text,) = two_holders([*good, held(1, 2.0)])
    assert text == "lock a: token 1 held at 2.000, and token 2 acquired at 1.500"
