"""The records that a long run keeps: compact, and equal to plain dictionaries."""

from __future__ import annotations

import gc
import pickle
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qcore.core.entry import Entry
from qcore.sim import World, parse_scenario
from qcore.sim.determinism.packed_table import PackedTable, Record
from qcore.sim.records.first_entries import FirstEntries

INDEXES = st.lists(st.integers(1, 9000), max_size=60)


@given(INDEXES, st.lists(st.integers(1, 9000), max_size=30))
def test_a_packed_table_is_a_dictionary(indexes: list[int], asked: list[int]) -> None:
    table = PackedTable()
    plain: dict[int, Record] = {}
    for number, index in enumerate(indexes):
        assert table.get(index) == plain.get(index)
        if index not in plain:
            record = (f"command {number} \udc80", number, -number, 0, 1 << 40, "result", 3)
            table.set(index, record)
            plain[index] = record
    for index in asked:
        assert table.get(index) == plain.get(index)
    assert list(table.items()) == sorted(plain.items())


@given(INDEXES)
def test_first_entries_are_a_dictionary(indexes: list[int]) -> None:
    found = FirstEntries()
    plain: dict[int, tuple[Entry, int | None, int]] = {}
    for number, index in enumerate([1, 2, 3, *indexes]):
        entry = Entry(index, number, "noop", "", 0)
        previous = None if number % 2 else number
        assert found.get(index) == plain.get(index)
        found.set(index, entry, 7, previous)
        plain[index] = (entry, previous, 7)
    for index, expected in plain.items():
        assert found.get(index) == expected
        assert found.entry(index) is expected[0]


def test_old_records_take_little_memory() -> None:
    records: dict[int, Record] = {
        index: (f'{{"op":"set","key":"k{index % 8}","value":{index}}}', index, 0, 0, 0, "", 1)
        for index in range(1, 20_001)
    }
    tracemalloc.start()
    table = PackedTable()
    for index, record in records.items():
        table.set(index, pickle.loads(pickle.dumps(record)))
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert size < 60 * len(records), "a plain dictionary takes about 300 bytes a record"


@pytest.mark.long
def test_the_memory_of_a_long_run_grows_by_each_write() -> None:
    """Without snapshots, and while the operations are in memory: an operation, an entry, its place in five logs."""
    world = World(
        parse_scenario(
            """
            cluster: {nodes: 5}
            workload: {clients: 5, rate_per_s: 50, read_fraction: 0, cas_fraction: 0}
            until_ms: 200000
            """
        )
    )
    tracemalloc.start()
    sizes = []
    for now_ms in (50_000, 190_000):
        world.run_until(now_ms)
        gc.collect()
        sizes.append((tracemalloc.get_traced_memory()[0], len(world.history)))
    tracemalloc.stop()
    (size, writes), (later_size, later_writes) = sizes
    assert later_writes - writes > 5000
    assert (later_size - size) / (later_writes - writes) < 1800
