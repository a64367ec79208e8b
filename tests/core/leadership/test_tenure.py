"""The memory of servers that took over and did not last: waits, proofs, and its bounds."""

from __future__ import annotations

from qcore.core.leadership.tenure import (
    FIRST_WAIT,
    LONG_TENURE,
    LONGEST_WAIT_US,
    LOST_AT_LEAST,
    Tenures,
)
from qcore.core.log.sync_times import REMEMBERED, RecentSyncs

UNIT = 300_000


def wait_of(memory: Tenures, target: int, now: int) -> int:
    """For how long the server may not be asked, in election timeouts."""
    units = 0
    while not memory.may_try(target, now + units * UNIT):
        units += 1
    return units


def test_each_attempt_doubles_the_wait_up_to_a_limit() -> None:
    memory, now = Tenures(UNIT), 0
    waits = []
    for _ in range(12):
        memory.attempted(2, now)
        waits.append(wait_of(memory, 2, now))
        now += waits[-1] * UNIT
    assert waits[:4] == [FIRST_WAIT, 2 * FIRST_WAIT, 4 * FIRST_WAIT, 8 * FIRST_WAIT]
    assert waits[-1] == LONGEST_WAIT_US // UNIT
    assert memory.may_try(3, 0), "another server is none the worse for it"


def test_request_pre_vote_and_vote_are_one_attempt() -> None:
    memory = Tenures(UNIT)
    for later in (0, 1000, 2000, UNIT):
        memory.attempted(2, later)
    assert wait_of(memory, 2, 0) == FIRST_WAIT


def led(memory: Tenures, units: int, *, handed_over: bool, since: int = 0) -> int:
    """Server 2 leads for so many election timeouts; returns when it ended."""
    memory.began(2, 7, since)
    for unit in range(units + 1):
        memory.heard(since + unit * UNIT)
    end = since + units * UNIT
    memory.ended(end, handed_over=handed_over)
    return end


def test_lost_leadership_counts_more_than_an_attempt() -> None:
    memory = Tenures(UNIT)
    end = led(memory, 5, handed_over=False)
    assert wait_of(memory, 2, end) == FIRST_WAIT << (LOST_AT_LEAST - 1)


def test_early_handover_restarts_the_wait_without_doubling_it() -> None:
    memory = Tenures(UNIT)
    memory.attempted(2, 0)
    end = led(memory, 8, handed_over=True)
    assert wait_of(memory, 2, end) == FIRST_WAIT
    fresh = Tenures(UNIT)
    assert wait_of(fresh, 2, led(fresh, 8, handed_over=True)) == 0, "it was elected, not asked"


def test_a_long_tenure_proves_a_server_good() -> None:
    memory = Tenures(UNIT)
    memory.attempted(2, 0)
    end = led(memory, LONG_TENURE, handed_over=False)
    assert wait_of(memory, 2, end) == 0
    end = led(memory, 5, handed_over=False, since=end)
    assert wait_of(memory, 2, end) == FIRST_WAIT << (LOST_AT_LEAST - 1), "the past is forgotten"


def test_the_proof_is_as_long_as_the_wait() -> None:
    memory, now = Tenures(UNIT), 0
    for _ in range(2):
        now = led(memory, 5, handed_over=False, since=now)
    wait = wait_of(memory, 2, now)
    assert wait > LONG_TENURE
    end = led(memory, LONG_TENURE + 1, handed_over=False, since=now)
    assert wait_of(memory, 2, end) > wait


def test_the_same_leader_in_the_same_term_has_one_tenure() -> None:
    """A follower that missed some heartbeats asks for pre-votes, and hears the leader again."""
    memory = Tenures(UNIT)
    memory.began(2, 7, 0)
    memory.heard(60 * UNIT)
    memory.began(2, 7, 61 * UNIT)
    memory.heard(LONG_TENURE * UNIT)
    memory.ended(LONG_TENURE * UNIT, handed_over=False)
    assert memory.may_try(2, LONG_TENURE * UNIT)


def test_the_memory_holds_members_only() -> None:
    memory = Tenures(UNIT)
    for server in range(2, 1000):
        memory.attempted(server, 0)
    memory.keep((1, 2, 3))
    assert [server for server in range(2, 1000) if not memory.may_try(server, 0)] == [2, 3]


def test_a_slow_sync_is_remembered_for_a_while() -> None:
    syncs = RecentSyncs(UNIT)
    syncs.note(90_000, 0)
    syncs.note(1_000, 10)
    assert syncs.slowest_us(REMEMBERED * UNIT) == 90_000
    syncs.note(2_000, REMEMBERED * UNIT + 1)
    assert syncs.slowest_us(2 * REMEMBERED * UNIT - 1) == 90_000
    assert syncs.slowest_us(2 * REMEMBERED * UNIT) == 2_000
    assert syncs.slowest_us(9 * REMEMBERED * UNIT) == 0
