"""`KeyIndex` does what a sorted list does, with so many keys that its blocks are cut and emptied."""

from __future__ import annotations

import random
from bisect import bisect_left

from hypothesis import given, settings
from hypothesis import strategies as st

from qcore.machines.kv.key_index import KeyIndex

#: `sortedcontainers` cuts a block in two when it has twice as many keys.
BLOCK_KEYS = 1000
BOUNDS = st.integers(-1, 4 * BLOCK_KEYS + 1)


def key(number: int) -> bytes:
    return b"" if number < 0 else number.to_bytes(2, "big")


def assert_same(index: KeyIndex, expected: list[bytes], begin: bytes, end: bytes | None) -> None:
    stop = len(expected) if end is None else bisect_left(expected, end)
    held = expected[bisect_left(expected, begin) : stop]
    assert [*index.ascending(begin, end)] == held
    assert [*index.descending(begin, end)] == held[::-1]
    assert index.count(begin, end) == len(held)
    assert len(index) == len(expected)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32),
    st.sampled_from([0, 1, BLOCK_KEYS, BLOCK_KEYS + 1, 3 * BLOCK_KEYS]),
    st.lists(st.tuples(BOUNDS, BOUNDS | st.none()), min_size=1, max_size=8),
)
def test_an_index_is_a_sorted_list(
    seed: int, size: int, ranges: list[tuple[int, int | None]]
) -> None:
    chosen = random.Random(seed)
    index, expected = KeyIndex(), list[bytes]()
    for number in chosen.sample(range(4 * BLOCK_KEYS), size):
        index.add(key(number))
        expected.append(key(number))
    expected.sort()
    while True:
        for first, last in ranges:
            assert_same(index, expected, key(first), None if last is None else key(last))
        if not expected:
            return
        for gone in chosen.sample(expected, 1 + len(expected) // 2):
            index.remove(gone)
            expected.remove(gone)


def test_keys_that_are_added_in_order_fill_blocks() -> None:
    for numbers in (range(3 * BLOCK_KEYS), range(3 * BLOCK_KEYS - 1, -1, -1)):
        index = KeyIndex()
        for number in numbers:
            index.add(key(number))
        assert_same(index, sorted(map(key, numbers)), b"", None)


def test_a_key_can_be_added_again() -> None:
    index = KeyIndex()
    for _ in range(2):
        index.add(b"a")
        assert [*index.ascending(b"", None)] == [b"a"]
        index.remove(b"a")
        assert [*index.ascending(b"", None)] == []
