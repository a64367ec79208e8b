"""The token bucket: never more than the burst and what the rate brings, in any time, and never much less."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from qcore.node.quotas.token_bucket import TokenBucket

SECOND = 1_000_000
STEPS = st.lists(st.tuples(st.integers(0, 3 * SECOND), st.integers(0, 60)), max_size=40)


@given(st.integers(1, 40), st.integers(1, 50), STEPS)
def test_no_window_has_more_than_burst_and_rate(
    rate: int, burst: int, steps: list[tuple[int, int]]
) -> None:
    bucket, now = TokenBucket(rate, burst, 0), 0
    taken: list[tuple[int, int]] = []
    for pause, amount in steps:
        now += pause
        if not bucket.wait_us(amount, now):
            bucket.take(amount)
            taken.append((now, amount))
    for first, (begin, largest) in enumerate(taken):
        total = 0
        for at, amount in taken[first:]:
            total += amount
            largest = max(largest, amount)
            assert total <= max(burst, largest) + rate * (at - begin) / SECOND


@given(st.integers(1, 40), st.integers(1, 50), STEPS)
def test_the_wait_is_exact(rate: int, burst: int, steps: list[tuple[int, int]]) -> None:
    bucket, now = TokenBucket(rate, burst, 0), 0
    for pause, amount in steps:
        now += pause
        wait = bucket.wait_us(amount, now)
        if wait > 1:
            assert bucket.wait_us(amount, now + wait - 1) == 1
        now += wait
        assert bucket.wait_us(amount, now) == 0
        bucket.take(amount)


def test_an_amount_above_the_burst_leaves_a_debt() -> None:
    bucket = TokenBucket(10, 20, 0)
    assert bucket.wait_us(50, 0) == 0
    bucket.take(50)
    assert bucket.wait_us(1, 0) == 3.1 * SECOND
    assert not bucket.is_full(4 * SECOND)
    assert bucket.is_full(5 * SECOND)


def test_a_clock_that_goes_back_brings_nothing() -> None:
    bucket = TokenBucket(10, 1, SECOND)
    bucket.take(1)
    assert bucket.wait_us(1, 0) == SECOND // 10
    assert bucket.wait_us(1, SECOND + SECOND // 10) == 0
