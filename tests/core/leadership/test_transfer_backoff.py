"""The transfer backoff: how long servers that failed or soon lost their leadership are not asked again."""

from __future__ import annotations

from qcore.core.leadership.transfer_backoff import (
    FIRST_BACKOFF,
    MAX_BACKOFF_US,
    MIN_FAILURES_OF_LOST_TERM,
    PROOF_TIMEOUTS,
    TransferBackoff,
)
from qcore.core.log.sync_times import REMEMBERED_TIMEOUTS, RecentSyncs

UNIT = 300_000


def wait_of(memory: TransferBackoff, target: int, now: int) -> int:
    """How long the server may not be asked, in election timeouts."""
    units = 0
    while not memory.allows_transfer_to(target, now + units * UNIT):
        units += 1
    return units


def test_each_attempt_doubles_the_wait_up_to_a_limit() -> None:
    memory, now = TransferBackoff(UNIT), 0
    waits = []
    for _ in range(12):
        memory.on_attempt(2, now)
        waits.append(wait_of(memory, 2, now))
        now += waits[-1] * UNIT
    assert waits[:4] == [FIRST_BACKOFF, 2 * FIRST_BACKOFF, 4 * FIRST_BACKOFF, 8 * FIRST_BACKOFF]
    assert waits[-1] == MAX_BACKOFF_US // UNIT
    assert memory.allows_transfer_to(3, 0), "another server is not affected"


def test_request_pre_vote_and_vote_are_one_attempt() -> None:
    memory = TransferBackoff(UNIT)
    for later in (0, 1000, 2000, UNIT):
        memory.on_attempt(2, later)
    assert wait_of(memory, 2, 0) == FIRST_BACKOFF


def led(memory: TransferBackoff, units: int, *, by_transfer: bool, since: int = 0) -> int:
    """Server 2 leads for this many election timeouts; returns when its term ended."""
    memory.on_leader(2, 7, since)
    for unit in range(units + 1):
        memory.on_leader_message(since + unit * UNIT)
    end = since + units * UNIT
    memory.on_term_ended(end, by_transfer=by_transfer)
    return end


def test_lost_leadership_counts_more_than_an_attempt() -> None:
    memory = TransferBackoff(UNIT)
    end = led(memory, 5, by_transfer=False)
    assert wait_of(memory, 2, end) == FIRST_BACKOFF << (MIN_FAILURES_OF_LOST_TERM - 1)


def test_early_transfer_restarts_the_wait_without_doubling_it() -> None:
    memory = TransferBackoff(UNIT)
    memory.on_attempt(2, 0)
    end = led(memory, 8, by_transfer=True)
    assert wait_of(memory, 2, end) == FIRST_BACKOFF
    fresh = TransferBackoff(UNIT)
    assert wait_of(fresh, 2, led(fresh, 8, by_transfer=True)) == 0, "it was elected, not asked"


def test_a_long_tenure_erases_all_failures() -> None:
    memory = TransferBackoff(UNIT)
    memory.on_attempt(2, 0)
    end = led(memory, PROOF_TIMEOUTS, by_transfer=False)
    assert wait_of(memory, 2, end) == 0
    end = led(memory, 5, by_transfer=False, since=end)
    assert wait_of(memory, 2, end) == FIRST_BACKOFF << (MIN_FAILURES_OF_LOST_TERM - 1), (
        "the past is forgotten"
    )


def test_the_proof_is_as_long_as_the_wait() -> None:
    memory, now = TransferBackoff(UNIT), 0
    for _ in range(2):
        now = led(memory, 5, by_transfer=False, since=now)
    wait = wait_of(memory, 2, now)
    assert wait > PROOF_TIMEOUTS
    end = led(memory, PROOF_TIMEOUTS + 1, by_transfer=False, since=now)
    assert wait_of(memory, 2, end) > wait


def test_the_same_leader_in_the_same_term_has_one_tenure() -> None:
    """A follower that missed some heartbeats asks for pre-votes, and hears the leader again."""
    memory = TransferBackoff(UNIT)
    memory.on_leader(2, 7, 0)
    memory.on_leader_message(60 * UNIT)
    memory.on_leader(2, 7, 61 * UNIT)
    memory.on_leader_message(PROOF_TIMEOUTS * UNIT)
    memory.on_term_ended(PROOF_TIMEOUTS * UNIT, by_transfer=False)
    assert memory.allows_transfer_to(2, PROOF_TIMEOUTS * UNIT)


def test_the_memory_holds_only_members() -> None:
    memory = TransferBackoff(UNIT)
    for server in range(2, 1000):
        memory.on_attempt(server, 0)
    memory.retain((1, 2, 3))
    assert [server for server in range(2, 1000) if not memory.allows_transfer_to(server, 0)] == [
        2,
        3,
    ]


def test_a_slow_sync_is_remembered_for_a_while() -> None:
    syncs = RecentSyncs(UNIT)
    syncs.record(90_000, 0)
    syncs.record(1_000, 10)
    assert syncs.slowest_us(REMEMBERED_TIMEOUTS * UNIT) == 90_000
    syncs.record(2_000, REMEMBERED_TIMEOUTS * UNIT + 1)
    assert syncs.slowest_us(2 * REMEMBERED_TIMEOUTS * UNIT - 1) == 90_000
    assert syncs.slowest_us(2 * REMEMBERED_TIMEOUTS * UNIT) == 2_000
    assert syncs.slowest_us(9 * REMEMBERED_TIMEOUTS * UNIT) == 0
