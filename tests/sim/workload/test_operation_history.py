"""The history of a long run: read like a list, but kept in a file, with the newest operations as objects."""

from __future__ import annotations

import tempfile
import tracemalloc
from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qcore.sim import World, parse_scenario
from qcore.sim.workload import operation_history
from qcore.sim.workload.operation_history import OperationHistory
from qcore.sim.workload.operations import ClientOperation


def operation(number: int, random: Random) -> ClientOperation:
    """An operation, with values in all fields."""
    op = ClientOperation(
        random.randrange(5),
        number,
        random.choice(["write", "read", "cas"]),
        f"k{random.randrange(8)}",
        random.choice([number, f"value \udc80 {number}", None]),
        random.choice([number - 1, None]),
        number * 20_000 + random.randrange(1000),
        number * 20_000 + 1_000_000,
    )
    op.payload = f'{{"op":"set","value":{number}}}'
    op.outcome = random.choice(["ok", "refused", "unknown", None])
    op.index = random.randrange(3) * number
    if op.outcome is not None:
        op.return_us = op.invoke_us + random.randrange(10**6)
        op.output, op.answer = random.choice([True, 7, "seen", None]), f"answer {number}"
        op.served_by, op.attempt, op.note = 3, 2, "a note"
    return op


def filled(
    count: int, recent: int = 7, block: int = 4
) -> tuple[OperationHistory, list[ClientOperation]]:
    history, plain, random = OperationHistory(recent, block), list[ClientOperation](), Random(count)
    for number in range(count):
        op = operation(number, random)
        history.append(op)
        plain.append(op)
    return history, plain


@given(st.integers(0, 60), st.slices(60), st.integers(-61, 60))
def test_a_history_reads_like_a_list(count: int, part: slice, position: int) -> None:
    history, plain = filled(count)
    assert len(history) == len(plain)
    assert [*history] == plain
    assert [*reversed(history)] == plain[::-1]
    assert history[part] == plain[part]
    if -count <= position < count:
        assert history[position] == plain[position]
    else:
        with pytest.raises(IndexError, match=f"operation {position} of {count}"):
            history[position]


@given(st.integers(0, 60))
def test_the_highest_acknowledged_index_is_kept(count: int) -> None:
    history, plain = filled(count)
    indexes = (op.index for op in plain if op.is_acknowledged_write)
    assert history.highest_acknowledged == max(indexes, default=0)


def test_an_operation_in_progress_stays_the_same_object() -> None:
    history, plain = filled(60)
    waiting = next(op for op in plain if op.outcome is None)
    waiting.outcome, waiting.index = "ok", 1000
    assert history[plain.index(waiting)] is waiting
    assert waiting in [*history]


def test_a_short_history_keeps_every_object() -> None:
    history, plain = filled(10)
    assert all(one is other for one, other in zip(history, plain, strict=True))


def test_values_that_cannot_be_stored_stay_objects() -> None:
    class OwnText(str):
        __slots__ = ()

    history, plain = OperationHistory(2, 2), [operation(n, Random(n)) for n in range(6)]
    for op in plain:
        op.outcome, op.payload = "ok", OwnText("mine")
        history.append(op)
    assert all(one is other for one, other in zip(history, plain, strict=True))


def test_a_full_disk_costs_memory_only(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**_options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    history, plain = filled(60)
    assert [*history] == plain


def test_the_memory_of_a_long_history_is_bounded() -> None:
    history, random = OperationHistory(100, 100), Random(1)
    sizes = []
    tracemalloc.start()
    for _ in range(2):
        for number in range(3000):
            op = operation(number, random)
            op.outcome = "ok"
            history.append(op)
        sizes.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert sizes[1] - sizes[0] < 10 * 3000, "an object takes about 490 bytes"


def judged_like(make: Callable[[], OperationHistory], monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.setattr("qcore.sim.world.simulated_cluster.OperationHistory", make)
    world = World(parse_scenario(_MIXED), 3)
    world.run()
    result = world.result()
    return result.ok, result.metrics, result.expectations, world.history[5:90:7]


_MIXED = """
workload: {clients: 3, rate_per_s: 60, read_fraction: 0.5, cas_fraction: 0.3}
timeline: [{at_ms: 1000, crash: leader, for_ms: 700}]
expect: {min_ok_writes: 5, unavailable_at_most_ms: 3000, live_within_ms: 2000, max_unavailable_windows: 9}
until_ms: 4000
"""


def test_a_run_is_judged_the_same_with_a_stored_history(monkeypatch: pytest.MonkeyPatch) -> None:
    stored = judged_like(lambda: OperationHistory(10, 8), monkeypatch)
    assert stored == judged_like(lambda: OperationHistory(10**6, 8), monkeypatch)
    assert operation_history.RECENT_OPERATIONS > 1000, "an ordinary run is kept as a list"
