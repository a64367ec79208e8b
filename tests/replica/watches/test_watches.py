"""Watches at one node: what they receive, what they wait for, and their limits."""

from __future__ import annotations

import pytest

from qcore.core.events import PeerUnreachable
from qcore.errors import (
    DeadlineExceeded,
    Refused,
    WatchCompacted,
)
from qcore.replica.events import BeginWatch
from qcore.replica.sessions.session_table import open_session_payload, session_command_payload
from qcore.replica.watches import catch_up
from tests.replica.watches.watchers import WatchedCluster, Watcher, put


def led(**bounds: int) -> WatchedCluster:
    """A cluster whose leader is node 1."""
    cluster = WatchedCluster(**bounds)
    cluster.elect(1)
    return cluster


# -- where a watch begins -------------------------------------------------------------------------


@pytest.mark.parametrize("node_id", [1, 2])
def test_a_watch_begins_behind_what_was_acknowledged(node_id: int) -> None:
    cluster = led()
    leader = cluster.drivers[1]
    leader.request(1, put("x", "before"))
    cluster.settle()
    watcher = Watcher(cluster.drivers[node_id], 5)
    cluster.settle()
    cluster.write(leader, "x", "after")
    assert watcher.values == ["after"]
    assert watcher.begun_at <= watcher.places[0]


def test_a_follower_first_applies_what_was_acknowledged() -> None:
    cluster = led()
    leader, follower = cluster.drivers[1], cluster.drivers[2]
    leader.request(1, put("x", "before"))
    cluster.settle()
    assert leader.replica.applied_index > follower.replica.applied_index, "it learns of it later"
    watcher = Watcher(follower, 5)
    assert watcher.replies == [], "its own state is too old"
    cluster.pass_time(100)
    assert watcher.begun_at == (leader.replica.applied_index + 1, -1)
    assert watcher.notices == []


def test_a_watch_with_a_position_needs_no_quorum() -> None:
    cluster = led()
    cluster.write(cluster.drivers[1], "x", 1, 2)
    cluster.isolate(3)
    watcher = Watcher(cluster.drivers[3], 5, after=(1, 0))
    assert watcher.compacted is False
    assert watcher.values == [1, 2]
    assert watcher.begun_at == (1, 0)


def test_a_watch_waits_until_the_node_has_applied_its_position() -> None:
    cluster = led()
    follower = cluster.drivers[3]
    cluster.isolate(3)
    last = cluster.write(cluster.drivers[1], "x", 1, 2, 3)
    watcher = Watcher(follower, 5, after=(last - 1, 0), timeout_ms=10_000)
    follower.tick()
    assert watcher.replies == []
    cluster.heal()
    cluster.pass_time(200)
    assert watcher.values == [3]


def test_a_watch_that_waits_too_long_names_the_index() -> None:
    cluster = led()
    watcher = Watcher(cluster.drivers[2], 5, after=(1000, 0), timeout_ms=100)
    cluster.pass_time(200)
    cluster.drivers[2].tick()
    assert isinstance(watcher.rejection, DeadlineExceeded)
    assert "1000" in str(watcher.rejection)


def test_a_watch_without_a_quorum_fails_in_time() -> None:
    cluster = led()
    cluster.isolate(2)
    watcher = Watcher(cluster.drivers[2], 5, timeout_ms=100)
    cluster.pass_time(200)
    cluster.drivers[2].tick()
    assert isinstance(watcher.rejection, DeadlineExceeded)


# -- what it receives -----------------------------------------------------------------------------


def test_it_receives_only_its_topic_and_only_what_changed() -> None:
    cluster = led()
    leader = cluster.drivers[1]
    watcher = Watcher(leader, 5)
    cluster.settle()
    cluster.write(leader, "y", 1)
    cluster.write(leader, "x", 1, 1, 2)
    assert watcher.values == [1, 2]


def test_a_repeated_command_of_a_session_changes_nothing() -> None:
    cluster = led()
    leader = cluster.drivers[1]
    leader.request(1, open_session_payload(60_000), "session")
    cluster.settle()
    session = int(leader.replies[-1].result or "")
    watcher = Watcher(leader, 5)
    cluster.settle()
    for request_id in (2, 3):
        payload = session_command_payload(session, 1, 0, put("x", 1))
        leader.request(request_id, payload, "session")
        cluster.settle()
        assert leader.replies[-1].error is None
    assert watcher.values == [1]


def test_leadership_does_not_matter() -> None:
    cluster = led()
    watchers = [Watcher(driver, 5) for driver in cluster.drivers.values()]
    cluster.settle()
    for turn, node_id in enumerate((2, 3, 1)):
        cluster.elect(node_id)
        cluster.write(cluster.drivers[node_id], "x", turn)
    cluster.pass_time(100)
    assert [watcher.values for watcher in watchers] == [[0, 1, 2]] * 3
    assert len({tuple(watcher.places) for watcher in watchers}) == 1


def test_an_ended_watch_receives_nothing() -> None:
    cluster = led()
    leader = cluster.drivers[1]
    watcher = Watcher(leader, 5)
    cluster.settle()
    watcher.end()
    cluster.write(leader, "x", 1)
    assert watcher.notices == []
    assert len(leader.replica.watches) == 0


@pytest.mark.parametrize("after", [None, (1000, 0)])
def test_a_request_that_is_ended_early_has_one_reply(after: tuple[int, int] | None) -> None:
    """Also if the leader, to which the node turned, becomes unreachable afterwards."""
    cluster = led()
    follower = cluster.drivers[2]
    cluster.network.cut.update({(1, 2), (2, 1)})
    watcher = Watcher(follower, 5, after=after)
    watcher.end()
    follower.step(PeerUnreachable(1))
    cluster.heal()
    cluster.pass_time(100)
    assert isinstance(watcher.rejection, Refused)
    cluster.write(cluster.drivers[1], "x", 1)
    assert watcher.notices == []


# -- resuming -------------------------------------------------------------------------------------


def test_a_restarted_node_serves_positions_before_its_restart() -> None:
    cluster = led()
    last = cluster.write(cluster.drivers[1], "x", *range(10))
    follower = cluster.restart(2)
    cluster.pass_time(100)
    watcher = Watcher(follower, 5, after=(last - 6, 0))
    assert watcher.values == [4, 5, 6, 7, 8, 9]


@pytest.mark.parametrize("after", [(0, -1), (0, 0), (1, -1)])
def test_a_position_before_the_first_change_gives_all_changes(after: tuple[int, int]) -> None:
    """As long as the history has dropped nothing."""
    cluster = led(changes=10)
    leader = cluster.drivers[1]
    early = Watcher(leader, 4, after=after)
    cluster.write(leader, "x", *range(10))
    late = Watcher(leader, 5, after=after)
    assert early.values == late.values == [*range(10)]
    cluster.write(leader, "x", 10)
    assert isinstance(Watcher(leader, 6, after=after).rejection, WatchCompacted)


def test_the_answer_of_a_registration_is_enough_to_resume() -> None:
    cluster = led()
    begun = Watcher(cluster.drivers[1], 5)
    cluster.settle()
    begun.end()
    cluster.write(cluster.drivers[1], "x", 1, 2)
    resumed = Watcher(cluster.drivers[2], 6, after=begun.begun_at)
    cluster.pass_time(100)
    assert resumed.values == [1, 2]


def test_a_position_before_the_history_is_compacted() -> None:
    cluster = led(changes=3)
    leader = cluster.drivers[1]
    last = cluster.write(leader, "x", *range(10))
    kept = Watcher(leader, 5, after=(last - 3, 0))
    gone = Watcher(leader, 6, after=(last - 4, 0))
    assert kept.values == [7, 8, 9]
    assert isinstance(gone.rejection, WatchCompacted)
    assert gone.rejection.first_index == last - 2
    # A client that reads first would lose a change between the two.
    assert str(gone.rejection).endswith("watch without a position, then read the state again")


def test_an_installed_snapshot_ends_the_watches_before_it() -> None:
    cluster = led(snapshot_entries=4)
    follower = cluster.drivers[3]
    watcher = Watcher(follower, 5)
    cluster.settle()
    cluster.pass_time(100)
    cluster.isolate(3)
    cluster.write(cluster.drivers[1], "x", *range(30))
    waiting = Watcher(
        follower, 6, after=(follower.replica.applied_index + 20, 0), timeout_ms=60_000
    )
    cluster.heal()
    cluster.pass_time(300)
    assert follower.replica.applied_index == cluster.drivers[1].replica.applied_index
    assert [type(error) for error in watcher.ended] == [WatchCompacted]
    assert watcher.notices == []
    assert waiting.compacted, "the snapshot has passed its position"


def test_a_watch_becomes_live_without_gap_or_repeat(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each step reads a little of the history, while commands are applied at the same time."""
    monkeypatch.setattr(catch_up, "MAX_STEP_COST", 7)
    cluster = led()
    leader = cluster.drivers[1]
    cluster.write(leader, "x", *range(40))
    watcher = Watcher(leader, 5, after=(1, 0))
    assert 0 < len(watcher.values) < 40, "one step must not do all"
    assert leader.next_deadline() <= leader.now, "the next step is due immediately"
    for value in range(40, 60):
        leader.request(value, put("x", value))
        cluster.settle()
    while leader.replica.watches.busy:
        leader.tick()
    cluster.write(leader, "x", 60)
    assert watcher.values == [*range(61)]


def test_many_watches_that_resume_share_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = led()
    leader = cluster.drivers[1]
    cluster.write(leader, "x", *range(300))
    monkeypatch.setattr(catch_up, "MAX_STEP_COST", 100)
    looked_at = 0
    read = catch_up.CatchUp._advance

    def counted(self: catch_up.CatchUp, current: catch_up._Pass, budget: int) -> int:
        nonlocal looked_at
        cost = read(self, current, budget)
        looked_at += cost
        return cost

    monkeypatch.setattr(catch_up.CatchUp, "_advance", counted)
    leader.step(*[BeginWatch(n, n, "quiet", (1, 0), 1000) for n in range(200)])
    assert looked_at <= 110, "one step reads a bounded part, however many watches resume"
    while leader.replica.watches.busy:
        leader.tick()
    assert looked_at < 1500, "not each watch reads the 300 changes"
    assert len(leader.replica.watches) == 200
