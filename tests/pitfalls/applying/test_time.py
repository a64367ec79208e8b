"""Time: sessions end and entries get time stamps correctly while clocks or leaders fail."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from qcore.core import RaftConfig
from qcore.core.clocks import wall_time
from qcore.core.clocks.cluster_clock import ClusterClock
from qcore.core.raft_server import RaftServer
from qcore.errors import SessionExpired
from qcore.replica.events import ClientRequest, Reply
from qcore.replica.sessions import ticks
from qcore.replica.sessions.session_table import (
    keep_session_payload,
    open_session_payload,
    session_command_payload,
)
from qcore.replica.sessions.ticks import SessionTicks
from tests.driver.clock import WALL_US
from tests.driver.replicas import ReplicaCluster, ReplicaDriver

ADD = json.dumps({"op": "add", "key": "n", "amount": 1})
SECOND_US = 1_000_000
YEARS_50_US = 50 * 365 * 86_400 * SECOND_US


def ask(cluster: ReplicaCluster, driver: ReplicaDriver, payload: str, request_id: int = 1) -> Reply:
    driver.step(ClientRequest(request_id, "session", payload, 1000))
    cluster.settle()
    return driver.replies[-1]


def opened(cluster: ReplicaCluster, driver: ReplicaDriver, lifetime_s: int) -> int:
    reply = ask(cluster, driver, open_session_payload(lifetime_s * 1000))
    assert reply.result is not None, reply.error
    return int(reply.result)


def is_open(cluster: ReplicaCluster, driver: ReplicaDriver, session: int) -> bool:
    reply = ask(cluster, driver, keep_session_payload(session))
    assert reply.error is None or isinstance(reply.error, SessionExpired)
    return reply.error is None


# -- an outage -------------------------------------------------------------------------------------


def an_outage_outlasts_the_lifetime(rules: int = 2) -> bool:
    """C7: there is no leader for two minutes. The client of a session of one minute retries all the time.

    Returns:
        whether its command takes effect once there is a leader again.
    """
    cluster = ReplicaCluster(rules=rules)
    leader = cluster.elect(1)
    session = opened(cluster, leader, 60)
    assert ask(cluster, leader, session_command_payload(session, 1, 0, ADD)).error is None
    cluster.network.isolated = {1, 2, 3}
    for attempt in range(120):
        cluster.pass_time(1000)
        for driver in cluster.drivers.values():
            driver.step(
                ClientRequest(
                    10 + attempt, "session", session_command_payload(session, 2, 0, ADD), 500
                )
            )
    assert not [h for h in cluster.drivers.values() if h.replica.core.role == "leader"]
    cluster.heal()
    new = cluster.elect(2)
    return ask(cluster, new, session_command_payload(session, 2, 0, ADD), 1000).error is None


def count_the_outage(clock: ClusterClock, value_us: int, now: int) -> None:
    """The clock of a new leader counts the time since the cluster began, including outages."""
    clock.value_us = max(value_us, now)
    clock.updated_at = now
    clock._trusted_until = now + clock._limit_us


def test_session_survives_an_outage_longer_than_its_lifetime() -> None:
    assert an_outage_outlasts_the_lifetime()


def test_without_cluster_clock_sessions_expire_in_an_outage() -> None:
    """The behaviour of 0.1.0, which rules 1 keep."""
    assert not an_outage_outlasts_the_lifetime(rules=1)


def test_without_clock_reset_an_outage_ends_the_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ClusterClock, "begin", count_the_outage)
    assert not an_outage_outlasts_the_lifetime()


# -- a leader that makes no progress ----------------------------------------------------------------


def a_paused_leader_continues() -> bool:
    """The process of the only voter is frozen for an hour. Then the client's retry arrives.

    Returns:
        whether the session of one minute is still open.
    """
    cluster = ReplicaCluster(1, rules=2)
    leader = cluster.elect(1)
    session = opened(cluster, leader, 60)
    cluster.now += 3600 * SECOND_US
    return is_open(cluster, leader, session)


def an_isolated_leader_without_check_quorum_is_found_again() -> bool:
    """A leader has no followers for five minutes and does not know it. The client reaches only nodes without a leader.

    Returns:
        whether the session of one minute is still open after that.
    """
    cluster = ReplicaCluster(raft=RaftConfig(1, check_quorum=False), rules=2)
    leader = cluster.elect(1)
    session = opened(cluster, leader, 60)
    cluster.network.isolated = {1}
    cluster.pass_time(300_000)
    assert leader.replica.core.role == "leader"
    cluster.heal()
    cluster.pass_time(500)
    return is_open(cluster, leader, session)


def advance_without_quorum_contact(
    clock: ClusterClock, now: int, _quorum_contact_at: Callable[[], int]
) -> None:
    clock.value_us += now - clock.updated_at
    clock.updated_at = now


def test_pause_of_the_leader_ends_no_session() -> None:
    assert a_paused_leader_continues()


def test_leader_without_quorum_ends_no_session() -> None:
    assert an_isolated_leader_without_check_quorum_is_found_again()


@pytest.mark.parametrize(
    "conditions",
    [a_paused_leader_continues, an_isolated_leader_without_check_quorum_is_found_again],
)
def test_without_quorum_contact_limit_idle_leader_ends_session(
    monkeypatch: pytest.MonkeyPatch, conditions: Callable[[], bool]
) -> None:
    monkeypatch.setattr(ClusterClock, "advance", advance_without_quorum_contact)
    assert not conditions()


# -- an idle cluster --------------------------------------------------------------------------------


def an_idle_cluster_holds_sessions() -> tuple[int, int]:
    """Clients open 200 sessions within two seconds and then send nothing; nothing else happens.

    Returns:
        how many sessions are left on all replicas after their minute, and how many entries their end took.
    """
    cluster = ReplicaCluster(rules=2)
    leader = cluster.elect(1)
    for number in range(200):
        opened(cluster, leader, 60)
        if number % 5 == 4:
            cluster.pass_time(50)
    before = leader.replica.core.last_log_index
    cluster.pass_time(65_000)
    left = sum(len(driver.replica.sessions) for driver in cluster.drivers.values())
    return left, leader.replica.core.last_log_index - before


def test_sessions_expire_on_an_idle_cluster() -> None:
    left, entries = an_idle_cluster_holds_sessions()
    assert left == 0
    assert entries <= 30, "expiries that are close together share a tick"


def test_without_ticks_sessions_stay_on_an_idle_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SessionTicks, "advance", lambda _ticks, _wall_us: None)
    assert an_idle_cluster_holds_sessions() == (600, 0)


def leaders_change_before_anything_expires() -> int:
    """Every 20 seconds another node becomes the leader, and clients send nothing.

    Returns:
        how many sessions of one minute are left on the last leader after three minutes.
    """
    cluster = ReplicaCluster(rules=2)
    leader = cluster.elect(1)
    opened(cluster, leader, 60)
    for turn in range(9):
        cluster.pass_time(20_000)
        leader = cluster.elect((turn + 1) % 3 + 1)
    return len(leader.replica.sessions)


def test_sessions_expire_despite_leader_changes() -> None:
    assert leaders_change_before_anything_expires() == 0


def test_without_logged_clock_sessions_never_expire(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ticks, "MAX_CLOCK_GAP_US", YEARS_50_US)
    assert leaders_change_before_anything_expires() == 1


# -- a wrong wall clock -----------------------------------------------------------------------------


def a_leader_was_50_years_ahead(rules: int = 2, *, without: int = 0) -> tuple[int, bool]:
    """F12: the wall clock of a leader is 50 years ahead for one write. Then another node leads.

    Args:
        without: this node is down while the wrong clock leads.

    Returns:
        how far log time is ahead of the true time at the end, and whether a session that was opened afterwards
        expires.
    """
    cluster = ReplicaCluster(rules=rules)
    cluster.network.isolated = {without} if without else set()
    cluster.drivers[1].clock.wall_us += YEARS_50_US
    wrong = cluster.elect(1)
    wrong.request(1, ADD)
    cluster.settle()
    assert wrong.replies[-1].error is None
    cluster.heal()
    cluster.pass_time(1000)
    leader = cluster.elect(2)
    session = opened(cluster, leader, 60)
    cluster.pass_time(120_000)
    expired = not is_open(cluster, leader, session)
    newest = leader.replica.core.log_entries()[-1].time_us
    return newest - WALL_US - cluster.now, expired


def stamped_with_the_local_clock(server: RaftServer, wall_us: int) -> int:
    return max(wall_us or server.wall_us, server.last_time_us)


@pytest.mark.parametrize("without", [0, 2, 3])
def test_leader_50_years_ahead_moves_no_log_time_or_session(without: int) -> None:
    ahead_us, expired = a_leader_was_50_years_ahead(without=without)
    assert ahead_us <= SECOND_US
    assert expired


def test_without_rules_2_clock_ahead_keeps_sessions_forever() -> None:
    ahead_us, expired = a_leader_was_50_years_ahead(rules=1)
    assert ahead_us > YEARS_50_US - 3600 * SECOND_US
    assert not expired


def test_without_quorum_bound_wrong_time_stays_in_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wall_time, "stamp", stamped_with_the_local_clock)
    ahead_us, expired = a_leader_was_50_years_ahead()
    assert ahead_us > YEARS_50_US - 3600 * SECOND_US
    assert expired, "sessions do not depend on wall clocks"


def two_of_three_clocks_are_known(monkeypatch: pytest.MonkeyPatch, *, cautious: bool) -> int:
    """Node 3 is down, and the clocks of the others differ by 50 years. The leader cannot know which one is wrong.

    Returns:
        how far log time is ahead of the true time.
    """
    if not cautious:
        monkeypatch.setattr(wall_time, "bounds", take_the_later_clock)
    return a_leader_was_50_years_ahead(without=3)[0]


BOUNDS = wall_time.bounds


def take_the_later_clock(server: RaftServer, own_us: int) -> tuple[int | None, int | None]:
    high = BOUNDS(server, own_us)[1]
    return high, high


def test_earlier_of_two_clocks_bounds_the_time_stamp(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert two_of_three_clocks_are_known(monkeypatch, cautious=True) <= SECOND_US


def test_without_the_earlier_clock_the_later_moves_log_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ahead_us = two_of_three_clocks_are_known(monkeypatch, cautious=False)
    assert ahead_us > YEARS_50_US - 3600 * SECOND_US
