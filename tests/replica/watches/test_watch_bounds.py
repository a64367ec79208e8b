"""The limits of watches: requests, steps, memory, and machines that break their promises."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import ClassVar, cast

import pytest

from qcore.errors import (
    Overloaded,
    QcoreError,
    Refused,
    ResultInvalid,
    StateMachineFailed,
    StoreError,
    TooLarge,
    WatchCompacted,
)
from qcore.machines.interface import (
    Change,
    StateReplaced,
    TopicChange,
    WatchFilter,
)
from qcore.machines.register import RegisterMachine
from qcore.replica.events import BeginWatch, Notice
from qcore.replica.watches import catch_up, watch_table
from qcore.replica.watches.catch_up import CatchUp, Watch
from qcore.replica.watches.change_history import ChangeHistory, Position
from tests.driver.replicas import ReplicaCluster
from tests.replica.watches.watchers import WatchedCluster, Watcher, put


def led(**bounds: int) -> WatchedCluster:
    cluster = WatchedCluster(**bounds)
    cluster.elect(1)
    return cluster


# -- requests -------------------------------------------------------------------------------------


def test_the_number_of_watches_is_bounded() -> None:
    """Those that wait count too; those that ended do not."""
    cluster = led(watches=2)
    leader = cluster.drivers[1]
    first = Watcher(leader, 1)
    cluster.settle()
    Watcher(leader, 2, after=(1000, 0), timeout_ms=60_000)
    assert isinstance(Watcher(leader, 3).rejection, Overloaded)
    first.end()
    again = Watcher(leader, 4)
    cluster.settle()
    assert again.begun_at


def test_the_length_of_a_request_is_bounded() -> None:
    cluster = led()
    leader = cluster.drivers[1]
    longest = "x" * watch_table.MAX_REQUEST_CHARS
    allowed = Watcher(leader, 1, longest)
    cluster.settle()
    assert allowed.begun_at
    assert isinstance(Watcher(leader, 2, longest + "x").rejection, TooLarge)


def test_requests_that_ended_are_forgotten() -> None:
    """Clients may name indexes that the node never reaches."""
    cluster = led()
    leader = cluster.drivers[1]
    for number in range(500):
        Watcher(leader, number, after=(10**9, 0)).end()
    held = leader.replica.watches._behind
    assert len(held) <= 65


def test_a_machine_without_changes_cannot_be_watched() -> None:
    class Mute(RegisterMachine):
        last_changes = None  # type: ignore[assignment] # it has no such method

    watcher = Watcher(machine_of(Mute).drivers[1], 1)
    assert isinstance(watcher.rejection, Refused)
    assert "last_changes" in str(watcher.rejection)


# -- steps ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("after", [None, (1, 0)])
def test_a_step_begins_a_bounded_number_of_watches(
    after: Position | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch_table, "MAX_BEGUN_PER_STEP", 10)
    monkeypatch.setattr("qcore.replica.requests.reads.MAX_READ_COST", 10)
    cluster = led()
    leader = cluster.drivers[1]
    leader.step(*[BeginWatch(n, n, "x", after, 1000) for n in range(35)])
    for envelope in cluster.network.hold_back(lambda envelope: envelope.to != 1):
        cluster.deliver_envelope(envelope)
    begun = [0, len(leader.replica.watches)]
    for _ in range(20):
        if cluster.network.messages:
            cluster.deliver()
        else:
            leader.tick()
        begun.append(len(leader.replica.watches))
    assert begun[-1] == 35
    assert max(after - before for before, after in pairwise(begun)) <= 10


def test_an_entry_with_many_changes_is_read_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catch_up, "MAX_STEP_COST", 50)
    history = ChangeHistory(1000, 1 << 20)
    history.add(3, [TopicChange(("x",), str(n)) for n in range(200)])
    seen: list[Position] = []
    live: list[Watch] = []

    def note(_: Watch, index: int, sequence: int, __: Change) -> int:
        seen.append((index, sequence))
        return 1

    reader = CatchUp(history, note, live.append, _never)
    for number in range(3):
        reader.add(Watch(number, _any_filter(), "x", (3, 9)))
    before = 0
    while reader.busy:
        reader.advance()
        assert len(seen) - before <= 51
        before = len(seen)
    assert len(live) == 3
    assert seen == [(3, n) for n in range(10, 200) for _ in range(3)]


def test_notices_delay_the_entries_behind_them() -> None:
    """A field that many clients watch must not make a step long."""
    cluster = led(watches=20_000)
    follower = cluster.drivers[2]
    cluster.pass_time(100)
    at = follower.replica.applied_index
    follower.step(*[BeginWatch(n, n, "x", (at, 0), 1000) for n in range(4_200)])
    while len(follower.replica.watches) < 4_200 or follower.replica.watches.busy:
        follower.tick()
    cluster.network.cut.add((1, 2))
    cluster.write(cluster.drivers[1], "x", *range(6))
    cluster.heal()
    most = 0
    while follower.replica.applied_index < cluster.drivers[1].replica.applied_index:
        before = len(follower.notices)
        cluster.pass_time(50) if not follower.replica.has_apply_backlog else follower.tick()
        most = max(most, len(follower.notices) - before)
    assert len(follower.notices) == 6 * 4_200
    assert most < 3 * 4_200


class Repeats(RegisterMachine):
    """Names the topic of each change twice."""

    def last_changes(self) -> Sequence[Change]:
        return [
            TopicChange((*each.topics, *each.topics), each.body) for each in super().last_changes()
        ]


def test_a_change_comes_once_whatever_its_topics() -> None:
    cluster = machine_of(Repeats)
    leader = cluster.drivers[1]
    live = Watcher(leader, 1)
    cluster.settle()
    for value in (1, 2):
        leader.request(100, put("x", value))
        cluster.settle()
    late = Watcher(leader, 2, after=(1, 0))
    assert live.values == late.values == [1, 2]


class Costly:
    """A filter whose notices cost as much as two commands."""

    topic, last_cost = "x", 2

    def notice(self, change: Change, *, live: bool) -> str:
        return "live" if live else "late"


@pytest.mark.parametrize(("most", "expected"), [(1, 0), (136, 1), (682, 5)])
def test_one_entry_costs_a_step_a_bounded_amount(
    most: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The watches that are left receive the rest from the history, each change once and in order."""
    monkeypatch.setattr(watch_table, "MAX_LIVE_COST", most)
    monkeypatch.setattr(catch_up, "MAX_STEP_COST", 40)

    class ManyChanges(Filters):
        filter = Costly()

        def last_changes(self) -> Sequence[Change]:
            return [change for change in super().last_changes() for _ in range(4)]

    cluster = machine_of(ManyChanges)
    leader = cluster.drivers[1]
    watchers = [Watcher(leader, number) for number in range(3)]
    cluster.settle()
    before = len(leader.notices)
    leader.request(100, put("x", 1))
    cluster.settle()
    index = leader.replica.applied_index
    lives = sum(isinstance(each, Notice) and each.body == "live" for each in leader.notices)
    assert lives == expected
    while leader.replica.watches.busy:
        seen = len(leader.notices)
        leader.tick()
        assert len(leader.notices) - seen <= 4, "the history is read in parts, too"
    assert len(leader.notices) - before == 12
    leader.request(100, put("x", 2))
    cluster.settle()
    cluster.pass_time(100)
    for watcher in watchers:
        assert watcher.places == [(index + n // 4, n % 4) for n in range(8)]


class Wide:
    """A change with many topics, which notes when they are read."""

    body, size_bytes = "7", 100
    reads: ClassVar[list[int]] = []

    def __init__(self, number: int) -> None:
        self.number = number

    @property
    def topics(self) -> tuple[str, ...]:
        self.reads.append(self.number)
        return tuple(f"{self.number}.{part}" for part in range(100))


def test_a_step_looks_up_a_bounded_number_of_topics(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if hardly any of them is watched."""
    monkeypatch.setattr(watch_table, "MAX_LIVE_COST", 250)
    monkeypatch.setattr(catch_up, "MAX_STEP_COST", 40)
    Wide.reads.clear()

    class Many(RegisterMachine):
        def last_changes(self) -> Sequence[Change]:
            return [Wide(number) for _ in super().last_changes() for number in range(20)]

    cluster = machine_of(Many)
    leader = cluster.drivers[1]
    watchers = [Watcher(leader, 1, "1.5"), Watcher(leader, 2, "19.5"), Watcher(leader, 3, "quiet")]
    cluster.settle()
    leader.request(100, put("x", 1))
    cluster.settle()
    index = leader.replica.applied_index
    assert len(Wide.reads) < 15, "three, and what the next steps read of the history"
    while leader.replica.watches.busy:
        before = len(Wide.reads)
        leader.tick()
        assert len(Wide.reads) - before <= 4
    assert Wide.reads == [*range(20)]
    assert [watcher.places for watcher in watchers] == [[(index, 1)], [(index, 19)], []]
    assert len(leader.replica.watches) == 3


# -- memory ---------------------------------------------------------------------------------------


def test_the_history_drops_whole_entries() -> None:
    history = ChangeHistory(4, 1 << 20)
    history.add(5, [TopicChange(("x",), "1")] * 3)
    history.add(7, [TopicChange(("x",), "1")] * 2)
    assert history.dropped == (5, 2)
    assert history.first_index == 6
    found = history.entry_after((5, 2))
    assert found is not None
    assert found.index == 7
    history.add(8, [TopicChange(("x",), "1")] * 9)
    assert history.entry_after((5, 2)) is None
    assert history.first_index == 9


def test_the_history_is_bounded_in_bytes() -> None:
    history = ChangeHistory(1000, 10_000)
    for index in range(1, 100):
        history.add(index, [TopicChange(("x",), "1" * 1000)])
    kept = 100 - history.first_index
    assert 5 <= kept <= 10


def test_a_loss_ends_only_the_watches_that_it_concerns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catch_up, "MAX_STEP_COST", 5)
    history = ChangeHistory(20, 1 << 20)
    for index in range(1, 21):
        history.add(index, [TopicChange(("x",), "1")])
    seen: dict[int, list[int]] = {1: [], 2: []}
    live: list[int] = []
    lost: list[int] = []

    def note(watch: Watch, index: int, _: int, __: Change) -> int:
        seen[watch.watch_id].append(index)
        return 1

    reader = CatchUp(
        history,
        note,
        lambda watch: live.append(watch.watch_id),
        lambda watch: lost.append(watch.watch_id),
    )
    reader.add(Watch(1, _any_filter(), "x", (0, 2**63 - 1)))
    reader.add(Watch(2, _any_filter(), "x", (18, 0)))
    reader.advance()
    for index in range(21, 36):
        history.add(index, [TopicChange(("x",), "1")])
    while reader.busy:
        reader.advance()
    assert (lost, live) == ([1], [2])
    assert seen[2] == [*range(19, 36)]


# -- machines ------------------------------------------------------------------------------------


def machine_of(machine: Callable[[], RegisterMachine]) -> ReplicaCluster:
    cluster = ReplicaCluster(machine=machine)
    cluster.elect(1)
    return cluster


def test_a_command_that_replaces_the_state_ends_all_watches() -> None:
    class Replaces(RegisterMachine):
        def last_changes(self) -> Sequence[Change]:
            changes = super().last_changes()
            return [StateReplaced()] if changes and "replace" in changes[0].body else changes

    cluster = machine_of(Replaces)
    leader = cluster.drivers[1]
    live, reading = Watcher(leader, 1), Watcher(leader, 2, after=(1, 0))
    cluster.settle()
    for value in (1, "replace", 2):
        leader.request(100, put("x", value))
        cluster.settle()
    last = leader.replica.applied_index
    for watcher in (live, reading):
        assert watcher.values == [1]
        assert watcher.compacted
    late = [Watcher(leader, 3 + n, after=(last - 2 + n, 0)) for n in range(3)]
    assert [watcher.compacted for watcher in late] == [True, True, False]
    assert Watcher(leader, 9, after=(last, -1)).values == [2]


class Reuses(RegisterMachine):
    """Returns the same list for each command."""

    held: list[Change]

    def last_changes(self) -> Sequence[Change]:
        self.held = getattr(self, "held", [])
        self.held[:] = super().last_changes()
        return self.held


def test_the_history_does_not_change_with_the_machine() -> None:
    cluster = machine_of(Reuses)
    leader = cluster.drivers[1]
    for value in (1, 2, 3):
        leader.request(100, put("x", value))
        cluster.settle()
    assert Watcher(leader, 1, after=(1, 0)).values == [1, 2, 3]


class BadChange:
    """A change one of whose attributes raises."""

    def __init__(self, change: Change, bad: str) -> None:
        self._change, self._bad = change, bad

    def __getattr__(self, name: str) -> object:
        if name == self._bad:
            raise ValueError(f"no {name}")
        return getattr(self._change, name)


@pytest.mark.parametrize("bad", ["topics", "size_bytes"])
def test_a_new_change_that_raises_stops_the_node(bad: str) -> None:
    cluster = machine_of(raising(bad))
    Watcher(cluster.drivers[1], 1, after=(1, 0))
    cluster.drivers[1].request(100, put("x", 1))
    with pytest.raises(StateMachineFailed, match=f"no {bad}"):
        cluster.settle()


def test_an_old_change_that_raises_stops_the_node() -> None:
    cluster = machine_of(raising("topics"))
    cluster.drivers[1].request(100, put("x", 1))
    cluster.settle()
    with pytest.raises(StateMachineFailed, match="no topics"):
        Watcher(cluster.drivers[1], 2, after=(1, 0))


def raising(bad: str) -> type[RegisterMachine]:
    class Raises(RegisterMachine):
        def last_changes(self) -> Sequence[Change]:
            return [cast(Change, BadChange(change, bad)) for change in super().last_changes()]

    return Raises


def test_last_changes_that_raise_stop_the_node() -> None:
    class Raises(RegisterMachine):
        def last_changes(self) -> Sequence[Change]:
            raise ValueError("no changes")

    cluster = machine_of(Raises)
    cluster.drivers[1].request(100, put("x", 1))
    with pytest.raises(StateMachineFailed, match="no changes"):
        cluster.settle()


class Filters(RegisterMachine):
    """Gives its watches what a test sets."""

    filter: object = None
    error: Exception | None = None

    def watch_filter(self, request: str, *, resumes: bool) -> WatchFilter:
        if self.error is not None:
            raise self.error
        return cast(WatchFilter, self.filter)


class Filter:
    """A filter with any topic that gives or raises `outcome`."""

    def __init__(self, outcome: object, topic: object = "x") -> None:
        self.topic, self._outcome = topic, outcome

    def notice(self, change: Change, *, live: bool) -> str | None:
        if isinstance(self._outcome, Exception):
            raise self._outcome
        return cast(str, self._outcome)


def _any_filter() -> WatchFilter:
    return cast(WatchFilter, Filter("1"))


def _never(_: object) -> None:
    raise AssertionError("not expected")


def filters(found: object = None, error: Exception | None = None) -> ReplicaCluster:
    class Machine(Filters):
        pass

    Machine.filter, Machine.error = found, error
    return machine_of(Machine)


@pytest.mark.parametrize(
    ("found", "error", "text"),
    [
        (None, None, "topic"),
        (Filter("1", topic=7), None, "int"),
        (Filter("1", topic=[]), None, "list"),
        (None, StoreError("no such field"), "no such field"),
        (None, StoreError("no \ud800"), "no ?"),
        (None, ValueError("oops"), "ValueError: oops"),
    ],
)
@pytest.mark.parametrize("after", [None, (1, 0)])
def test_a_request_that_the_machine_rejects_is_answered(
    found: object, error: Exception | None, text: str, after: Position | None
) -> None:
    cluster = filters(found, error)
    watcher = Watcher(cluster.drivers[1], 1, after=after)
    cluster.settle()
    assert isinstance(watcher.rejection, StoreError)
    assert text in str(watcher.rejection)
    assert len(cluster.drivers[1].replica.watches) == 0


@pytest.mark.parametrize(
    ("outcome", "error"),
    [(ValueError("oops"), StoreError), (7, ResultInvalid), ('"\ud800"', ResultInvalid)],
)
@pytest.mark.parametrize("live", [True, False])
def test_a_faulty_notice_ends_only_its_watch(
    outcome: object, error: type[QcoreError], live: bool
) -> None:
    cluster = filters(Filter(outcome))
    leader = cluster.drivers[1]
    if not live:
        leader.request(100, put("x", 1))
        cluster.settle()
    watcher = Watcher(leader, 1, after=(1, 0))
    for value in (2, 3):
        leader.request(100, put("x", value))
        cluster.settle()
        assert leader.replies[-1].error is None
    assert watcher.notices == []
    assert [type(each) for each in watcher.ended] == [error]
    assert len(leader.replica.watches) == 0


class RestoresSlowly(RegisterMachine):
    """Needs many steps to restore."""

    def restore_gradually(self, chunks: Iterable[str]) -> Iterator[None]:
        yield from super().restore_gradually(chunks)
        for _ in range(20):
            yield


def test_nothing_happens_while_a_snapshot_is_being_restored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The state is that of no index."""
    cluster = led(snapshot_entries=300)
    cluster.machine = RestoresSlowly
    follower = cluster.restart(3)
    cluster.write(cluster.drivers[1], "x", *range(200))
    cluster.isolate(3)
    cluster.write(cluster.drivers[1], "x", *range(200))
    monkeypatch.setattr(catch_up, "MAX_STEP_COST", 2)
    reading = Watcher(follower, 2, after=(follower.replica.applied_index - 150, 0))
    cluster.heal()
    for _ in range(200):
        if follower.replica.restoring:
            break
        cluster.advance(5)
        cluster.drivers[1].tick()
        while cluster.network.messages and not follower.replica.restoring:
            cluster.deliver()
    assert follower.replica.restoring
    received = len(reading.notices)
    assert 0 < received < 140, "it still reads"
    watcher = Watcher(follower, 1, after=(1, 0))
    assert follower.replica.restoring
    assert (watcher.replies, len(reading.notices)) == ([], received)
    cluster.pass_time(300)
    while follower.replica.has_apply_backlog:
        follower.tick()
    follower.tick()
    assert isinstance(watcher.rejection, WatchCompacted)
    assert reading.compacted
    assert len(reading.notices) == received
