"""The staleness checker errs in neither direction, and finds planted bugs in whole runs."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations, permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qcore.replica.events import ClientRequest
from qcore.replica.requests.pending import PendingRequest
from qcore.replica.requests.reads import Reads
from qcore.sim import World, run_scenario
from qcore.sim.verdict.staleness import RegisterWrite, StaleRead, check_staleness
from qcore.trace import TraceWriter
from tests.sim.support.scenario_texts import failures, run, scenario

#: The writes of 1, 2 and 3 are acknowledged at 20, 40 and 60. There are no others.
WRITES = [
    RegisterWrite("k", 1, 10, 20, 5, "first"),
    RegisterWrite("k", 2, 30, 40, 7, "second"),
    RegisterWrite("k", 3, 50, 60, 9, "third"),
]


def read(value: str | int | None, served_us: int, bound_us: int) -> StaleRead:
    return StaleRead("k", value, served_us, bound_us, served_us + 1, "the read", 4)


def excess(value: str | int | None, served_us: int, bound_us: int) -> int | None:
    """By how much the read exceeds its bound; None if it does not."""
    found = check_staleness([read(value, served_us, bound_us)], WRITES)
    return found[0].excess_us if found else None


@pytest.mark.parametrize(
    ("value", "served_us", "bound_us", "too_old_us"),
    [
        (3, 100, 0, None),  # the newest value is never too old
        (2, 60, 0, None),  # the third write is acknowledged at the same microsecond
        (2, 61, 0, 1),
        (2, 100, 40, None),  # current until 60 at the latest, which is just within the bound
        (2, 101, 40, 1),
        (1, 101, 60, 1),  # the first write that the read misses counts
        (1, 101, 61, None),
        (None, 20, 0, None),
        (None, 100, 79, 1),
        (None, 100, 80, None),
    ],
)
def test_the_bound_is_exact_to_the_microsecond(
    value: int | None, served_us: int, bound_us: int, too_old_us: int | None
) -> None:
    assert excess(value, served_us, bound_us) == too_old_us


def test_a_value_may_be_newer_than_its_acknowledgement() -> None:
    assert excess(3, 55, 0) is None


def test_a_value_read_before_it_is_written_is_reported() -> None:
    (unknown,) = check_staleness([read("x", 100, 1000)], WRITES)
    assert unknown.missed is None
    assert "nobody had asked to write by then" in unknown.describe()
    assert check_staleness([read(3, 40, 1000)], WRITES), "the third write begins at 50"


def test_an_unanswered_write_may_take_effect_at_any_later_time() -> None:
    late = [*WRITES, RegisterWrite("k", 4, 15, None)]
    assert not check_staleness([read(4, 5000, 0)], late)
    # No read misses it, because no client knows of it.
    assert not check_staleness([read(3, 5000, 0)], late)


def test_overlapping_writes_are_ordered_by_index() -> None:
    overlapping = [RegisterWrite("k", 1, 10, 90, 8), RegisterWrite("k", 2, 20, 50, 7)]
    assert not check_staleness([read(1, 500, 0)], overlapping)
    assert check_staleness([read(2, 500, 0)], overlapping)
    without = [replace(write, index=0) for write in overlapping]
    assert not check_staleness([read(1, 500, 0), read(2, 500, 0)], without)


def test_values_are_compared_as_json() -> None:
    writes = [RegisterWrite("k", 1, 10, 20, 5), RegisterWrite("k", True, 30, 40, 7)]
    assert check_staleness([read(1, 500, 0)], writes)
    # A value that was written twice is as new as its newest write.
    assert not check_staleness([read(1, 500, 0)], [*writes, RegisterWrite("k", 1, 50, 60, 9)])


def test_each_register_is_judged_separately() -> None:
    assert not check_staleness([StaleRead("other", None, 500, 0, 501)], WRITES)
    assert check_staleness([StaleRead("other", 3, 500, 0, 501)], WRITES)


def test_the_message_names_read_value_write_and_excess() -> None:
    (found,) = check_staleness([read(1, 50_040, 40_000)], WRITES)
    assert found.describe() == (
        "the read found 1 in k and misses 2, written by second and acknowledged 50 ms before the answer: 10 ms too "
        "old, 40 ms were allowed"
    )


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[RegisterWrite], StaleRead]:
    """A few writes in a possible order, some without a response, and a read."""
    amount = draw(st.integers(0, 5))
    indexed = draw(st.booleans())
    writes: list[RegisterWrite] = []
    moment = 0
    for number in range(amount):
        moment += draw(st.integers(0, 4))  # when it takes effect
        invoked = max(0, moment - draw(st.integers(0, 6)))
        answered = draw(st.booleans())
        returned = moment + draw(st.integers(0, 6)) if answered else None
        index = number + 1 if indexed and answered else 0
        value = draw(st.integers(0, 3))
        writes.append(RegisterWrite("k", value, invoked, returned, index))
    served = draw(st.integers(0, 30))
    found = draw(st.sampled_from([None, 0, 1, 2, 3]))
    return writes, StaleRead("k", found, served, draw(st.integers(0, 12)), served + 2)


@given(histories())
def test_the_checker_agrees_with_trying_all_orders(
    history: tuple[list[RegisterWrite], StaleRead],
) -> None:
    writes, stale_read = history
    assert bool(check_staleness([stale_read], writes)) == (not some_order(writes, stale_read))


def some_order(writes: list[RegisterWrite], stale_read: StaleRead) -> bool:
    """Whether some order of the writes lets the read find its value within its bound."""
    horizon = stale_read.served_us - stale_read.bound_us
    answered = [write for write in writes if write.return_us is not None]
    open_ = [write for write in writes if write.return_us is None]
    for amount in range(len(open_) + 1):
        for some in combinations(open_, amount):
            for order in permutations([*answered, *some]):
                if not is_true_to_time(order):
                    continue
                must = [
                    at
                    for at, write in enumerate(order)
                    if write.return_us is not None and write.return_us < horizon
                ]
                first = must[-1] if must else -1
                values = [None if at < 0 else order[at].value for at in range(first, len(order))]
                asked = [
                    at < 0 or order[at].invoke_us <= stale_read.return_us
                    for at in range(first, len(order))
                ]
                if any(
                    value == stale_read.value and was
                    for value, was in zip(values, asked, strict=True)
                ):
                    return True
    return False


def is_true_to_time(order: tuple[RegisterWrite, ...]) -> bool:
    return not any(
        (
            later.index < earlier.index
            if earlier.index and later.index
            else later.return_us is not None and later.return_us < earlier.invoke_us
        )
        for earlier, later in combinations(order, 2)
    )


# -- in whole runs --------------------------------------------------------------------------------

STALE = "{clients: 3, rate_per_s: 150, keys: 2, read_kind: stale_read, max_staleness_ms: 300}"
TROUBLE = (
    "[{at_ms: 1000, isolate: follower_1, for_ms: 900}, {at_ms: 2200, pause: leader, for_ms: 700}]"
)


@pytest.mark.parametrize("machine", ["register", "entity"])
def test_stale_reads_of_both_machines_keep_their_bound(machine: str) -> None:
    result = run(
        TROUBLE,
        "{safe: true, min_ok_reads: 50}",
        cluster=f"{{nodes: 3, machine: {machine}}}",
        workload=STALE,
        until_ms="4000",
    )
    assert result.ok, failures(result)
    kinds = result.metrics["reads_by_kind"]
    assert isinstance(kinds, dict)
    assert list(kinds) == ["stale_read"]


def test_stale_reads_are_not_in_the_linearizable_history() -> None:
    world = World(scenario(workload=STALE), 1, TraceWriter())
    world.run()
    reads = [op for op in world.history if op.kind == "read" and op.outcome == "ok"]
    assert len(reads) > 50
    assert not [op for op in reads if op.as_operation() is not None]


@pytest.mark.parametrize("machine", ["register", "entity"])
def test_a_node_that_ignores_the_bound_is_caught(
    machine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def careless(self: Reads, event: ClientRequest) -> None:
        self.serve(PendingRequest(event.request_id, None, "read", event.payload, self._replica.now))

    monkeypatch.setattr(Reads, "begin_stale", careless)
    result = run(
        TROUBLE,
        "{violation: stale_read}",
        cluster=f"{{nodes: 3, machine: {machine}}}",
        workload=STALE,
        until_ms="4000",
    )
    assert {violation.check for violation in result.violations} == {"stale_read"}
    assert result.ok, failures(result)


def test_a_slow_clock_makes_the_bound_longer_in_true_time() -> None:
    """A node whose clock runs at half speed allows twice the age, and the checker accepts exactly that."""
    slow = "{nodes: 3, clocks: {1: {drift_ppm: -500000}}, max_clock_drift_percent: 60}"
    cut = (
        "[{at_ms: 1000, write: {node: 2, key: k0, value: 1}}, {at_ms: 1400, isolate: 1},"
        " {at_ms: 1450, write: {node: 2, key: k0, value: 2, outcome: ok}},"
        " {at_ms: 1800, read: {node: 1, key: k0, read_kind: stale_read, max_staleness_ms: 300, expect: 1}}]"
    )
    parts = scenario(cut, "{safe: true}", cluster=slow, workload="{clients: 0}")
    oks = [run_scenario(parts, seed) for seed in range(1, 6)]
    served = [r for r in oks if not [e for e in r.failed() if "operation" in e.name]]
    assert served, "the slow node leads in none of these runs"
    for result in served:
        assert not result.violations, result.violations
