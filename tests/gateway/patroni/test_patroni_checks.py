"""The checks of the Patroni drill are silent about good records, and notice each planted mistake."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.gateway.patroni.patroni_checks import (
    CHECKS,
    WRITER,
    failover_times,
    overlaps,
    violations,
)
from tests.gateway.patroni.patroni_records import (
    DrillFault,
    Member,
    Outcome,
    PatroniRecords,
    RowId,
    Sight,
    Write,
)


def good() -> PatroniRecords:
    """A drill of 60 s: a gateway is killed at 10, the primary a at 20, and b's Patroni is paused from 40 to 50.

    The row that a got when it was killed has an unknown outcome, and no instance has it.
    """
    records = PatroniRecords()
    records.writes = [
        _write(1, "a", 1, 1),
        _write(2, "a", 11, 1),
        _write(3, "a", 16, 1),
        replace(_write(4, "a", 20, 1), outcome=Outcome.UNKNOWN, timeline=None),
        _write(5, "b", 25, 2),
        _write(6, "b", 32, 2),
        replace(_write(7, "b", 41, 2), outcome=Outcome.UNKNOWN, timeline=None, ended_s=50.0),
        _write(8, "c", 45, 3),
        _write(9, "c", 55, 3),
    ]
    records.sights = [
        *(Sight("a", at, at + 0.1, True, "a1") for at in (1.0, 10.0, 19.0)),
        *(Sight("a", at, at + 0.1, False, "a2") for at in (28.0, 59.0)),
        *(Sight("b", at, at + 0.1, False, "b1") for at in (1.0, 21.0)),
        *(Sight("b", at, at + 0.1, True, "b1") for at in (24.0, 40.0, 49.0)),
        *(Sight("b", at, at + 0.1, False, "b2") for at in (52.0, 59.0)),
        *(Sight("c", at, at + 0.1, True, "c1") for at in (44.0, 59.0)),
    ]
    records.faults = [
        DrillFault("kill_gateway", "gateway1", 10.0, 15.0, "a", "a"),
        DrillFault("kill_primary", "a", 20.0, 30.0, "a", "b"),
        DrillFault("pause_patroni", "b", 40.0, 54.0, "b", "c"),
    ]
    rows = frozenset(RowId(WRITER, number) for number in (1, 2, 3, 5, 6, 8, 9))
    records.rows = dict.fromkeys("abc", rows)
    records.members = [
        Member("a", "sync_standby", "streaming", 3),
        Member("b", "replica", "streaming", 3),
        Member("c", "leader", "running", 3),
    ]
    return records


def _write(number: int, instance: str, at_s: float, timeline: int) -> Write:
    row = RowId(WRITER, number)
    return Write(row, instance, at_s, at_s + 0.5, Outcome.ACKNOWLEDGED, timeline)


def _row_lost_everywhere(records: PatroniRecords) -> None:
    records.rows = {name: rows - {RowId(WRITER, 3)} for name, rows in records.rows.items()}


def _row_lost_on_a_replica(records: PatroniRecords) -> None:
    records.rows["b"] -= {RowId(WRITER, 3)}


def _row_that_no_client_wrote(records: PatroniRecords) -> None:
    records.rows = {name: rows | {RowId(WRITER, 99)} for name, rows in records.rows.items()}


def _refused_row_kept(records: PatroniRecords) -> None:
    records.writes[3] = replace(records.writes[3], outcome=Outcome.REFUSED)
    records.rows = {name: rows | {RowId(WRITER, 4)} for name, rows in records.rows.items()}


def _unknown_row_on_one_only(records: PatroniRecords) -> None:
    records.rows["a"] |= {RowId(WRITER, 4)}


def _old_primary_accepts(records: PatroniRecords) -> None:
    records.writes[6] = replace(_write(7, "b", 47, 2))
    records.rows = {name: rows | {RowId(WRITER, 7)} for name, rows in records.rows.items()}


def _one_timeline_of_two(records: PatroniRecords) -> None:
    records.writes[5] = replace(records.writes[5], instance="c")


def _acknowledged_without_timeline(records: PatroniRecords) -> None:
    records.writes[0] = replace(records.writes[0], timeline=None)


def _two_primaries_without_a_pause(records: PatroniRecords) -> None:
    records.sights += [Sight("c", at, at + 0.1, True, "c0") for at in (5.0, 8.0)]


def _old_primary_stays_after_the_pause(records: PatroniRecords) -> None:
    records.sights.append(Sight("b", 58.0, 58.1, True, "b1"))


def _third_primary_in_the_pause(records: PatroniRecords) -> None:
    records.sights += [Sight("a", at, at + 0.1, True, "a2") for at in (47.0, 53.0)]


def _no_failover(records: PatroniRecords) -> None:
    records.faults[1] = replace(records.faults[1], primary_after="a")


def _no_new_timeline(records: PatroniRecords) -> None:
    records.writes[4] = replace(records.writes[4], timeline=1, instance="a")


def _failover_by_a_gateway(records: PatroniRecords) -> None:
    records.faults[0] = replace(records.faults[0], primary_after="b")


def _no_row_after_a_fault(records: PatroniRecords) -> None:
    del records.writes[5]


def _two_leaders_at_the_end(records: PatroniRecords) -> None:
    records.members[1] = Member("b", "leader", "running", 3)


def _replica_does_not_stream(records: PatroniRecords) -> None:
    records.members[1] = Member("b", "replica", "start failed", 3)


def _replica_on_an_old_timeline(records: PatroniRecords) -> None:
    records.members[1] = Member("b", "replica", "streaming", 2)


def _member_missing(records: PatroniRecords) -> None:
    del records.members[1]


PLANTED: dict[Callable[[PatroniRecords], None], set[str]] = {
    _row_lost_everywhere: {"lost_rows"},
    _row_lost_on_a_replica: {"lost_rows", "wrong_rows"},
    _row_that_no_client_wrote: {"wrong_rows"},
    _refused_row_kept: {"wrong_rows"},
    _unknown_row_on_one_only: {"wrong_rows"},
    _old_primary_accepts: {"split_writes"},
    _one_timeline_of_two: {"split_writes"},
    _acknowledged_without_timeline: {"split_writes"},
    _two_primaries_without_a_pause: {"two_primaries"},
    _old_primary_stays_after_the_pause: {"two_primaries"},
    _third_primary_in_the_pause: {"two_primaries"},
    _no_failover: {"missing_failovers"},
    _no_new_timeline: {"missing_failovers"},
    _failover_by_a_gateway: {"needless_failovers"},
    _no_row_after_a_fault: {"missing_progress", "wrong_rows"},
    _two_leaders_at_the_end: {"unhealthy_end"},
    _replica_does_not_stream: {"unhealthy_end"},
    _replica_on_an_old_timeline: {"unhealthy_end"},
    _member_missing: {"unhealthy_end"},
}


def test_good_records_are_accepted() -> None:
    assert violations(good()) == []


@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__)
def test_a_planted_mistake_is_noticed(plant: Callable[[PatroniRecords], None]) -> None:
    records = good()
    plant(records)
    found = {text.partition(":")[0] for text in violations(records)}
    assert found == PLANTED[plant]


def test_each_check_notices_a_planted_mistake() -> None:
    assert {name for names in PLANTED.values() for name in names} == {
        check.__name__ for check in CHECKS
    }


def test_two_primaries_in_a_pause_are_measured() -> None:
    """The old primary is out of recovery for certain from the first sight of the new one to its own last."""
    (overlap,) = overlaps(good())
    assert {overlap.first, overlap.second} == {"b", "c"}
    assert (overlap.began_s, overlap.ended_s) == (44.1, 49.0)


def test_failover_time_is_the_longest_gap() -> None:
    times = {fault.kind: gap_s for fault, gap_s in failover_times(good())}
    assert times == {"kill_gateway": 3.5, "kill_primary": 5.5, "pause_patroni": 8.5}
