"""The log compared with a naive model: a dictionary of terms by index."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qcore.core import Entry
from qcore.core.entry import ENTRY_OVERHEAD_BYTES
from qcore.core.log.raft_log import RaftLog


def entry(index: int, term: int, data: str = "") -> Entry:
    return Entry(index, term, "command", data, 0)


def log_of(*terms: int, offset: int = 0, offset_term: int | None = 0) -> RaftLog:
    entries = [entry(offset + position, term) for position, term in enumerate(terms, start=1)]
    return RaftLog(entries, offset=offset, offset_term=offset_term)


operations = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(1, 4)),
        st.tuples(st.just("truncate"), st.integers(0, 30)),
        st.tuples(st.just("compact"), st.integers(0, 30)),
        st.tuples(st.just("reset"), st.integers(0, 5)),
    ),
    max_size=40,
)


@given(operations)
def test_every_operation_agrees_with_a_naive_model(done: list[tuple[str, int]]) -> None:
    log, model, offset, term = RaftLog(), {0: 0}, 0, 1
    for operation, number in done:
        last = max(model)
        if operation == "append":
            term += number % 2
            log.append([entry(last + 1 + extra, term) for extra in range(number)])
            model |= {last + 1 + extra: term for extra in range(number)}
        elif operation == "truncate" and offset < number <= last:
            log.truncate(number)
            model = {index: held for index, held in model.items() if index < number}
        elif operation == "compact" and number <= last:
            log.compact(number)
            offset = max(offset, number)
            model = {index: held for index, held in model.items() if index >= offset}
        elif operation == "reset":
            term += 1
            offset = last + number
            log.reset(offset, term)
            model = {offset: term}
        agrees_with(log, model, offset)


def agrees_with(log: RaftLog, model: dict[int, int], offset: int) -> None:
    last = max(model)
    assert (log.offset, log.last_index, log.last_term) == (offset, last, model[last])
    for index in range(-1, last + 3):
        assert log.term(index) == model.get(index)
        assert log.matches(index, model.get(index, 99)) == (index in model)
        assert not log.matches(index, 98)
    held = [(index, model[index]) for index in sorted(model) if index > offset]
    assert [(e.index, e.term) for e in log.between(offset + 1, last)] == held
    for limit_term in range(max(model.values()) + 2):
        for start in range(offset, last + 2):
            # By definition: the largest index up to `start`, or else the compaction point.
            fitting = [i for i, t in model.items() if i <= start and t <= limit_term and i > offset]
            expected = max(fitting, default=min(start, offset))
            assert log.find_conflict_by_term(start, limit_term) == expected


@given(st.lists(st.integers(0, 100), max_size=12), st.integers(1, 400), st.integers(1, 13))
def test_a_batch_takes_what_fits_and_at_least_one(sizes: list[int], limit: int, first: int) -> None:
    log = RaftLog([entry(index, 1, "x" * size) for index, size in enumerate(sizes, start=1)])
    batch = log.batch(first, limit)
    rest = log.entries[first - 1 :]
    assert batch == rest[: len(batch)]
    assert bool(batch) == bool(rest)
    total = sum(held.size_bytes() for held in batch)
    assert total <= limit or len(batch) == 1
    if len(batch) < len(rest):
        assert total + rest[len(batch)].size_bytes() > limit


def test_an_entry_counts_its_data_and_an_overhead() -> None:
    assert entry(1, 1, "abc").size_bytes() == 3 + ENTRY_OVERHEAD_BYTES


def test_the_term_before_the_first_entry_may_be_unknown() -> None:
    log = log_of(3, 3, offset=5, offset_term=None)
    assert log.term(5) is None
    assert not log.matches(5, 3)
    assert log.find_conflict_by_term(7, 2) == 5


@pytest.mark.parametrize(
    "misuse",
    [
        lambda log: log.append([entry(9, 3)]),
        lambda log: log.truncate(2),
        lambda log: log.between(2, 4),
        lambda log: log.between(4, 6),
    ],
)
def test_impossible_calls_fail_an_assertion(misuse: object) -> None:
    assert callable(misuse)
    with pytest.raises(AssertionError):
        misuse(log_of(2, 3, 3, offset=2, offset_term=1))
