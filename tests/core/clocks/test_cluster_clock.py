"""The cluster clock and time stamps: skewed, jumping and frozen clocks across elections, restarts and snapshots."""

from __future__ import annotations

from itertools import combinations, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qcore.core import DurableState, Entry, HardState, Membership, RaftConfig
from qcore.core.clocks.cluster_clock import CLOCK_GRANULARITY_US, ClusterClock
from qcore.core.clocks.wall_time import response_wall_us
from qcore.core.events import Bootstrap, Propose
from qcore.core.messages import (
    AppendEntries,
    AppendEntriesResponse,
    InstallSnapshot,
    RequestVote,
    RequestVoteResponse,
)
from qcore.core.version import ClusterVersion
from qcore.errors import ConfigError
from tests.core.support.single_core import THREE, receive, restored, sent_messages
from tests.driver.cores import CoreCluster
from tests.driver.first_state import membership_entry

WALL_US = 1_700_000_000_000_000
SECOND_US = 1_000_000
YEAR_US = 365 * 86_400 * SECOND_US
BOUND_US = 1000 * 1000
VERSION_2 = ClusterVersion(2, "register", 1)


def cluster_of(
    size: int, config: RaftConfig | None = None, ahead: dict[int, int] | None = None
) -> CoreCluster:
    """A cluster of rules 2 whose wall clocks are ahead of true time by these offsets."""
    membership = Membership(voters=tuple(range(1, size + 1)))
    log = [membership_entry(membership), Entry(2, 1, "version", VERSION_2.to_json(), 0)]
    durable = {
        node: DurableState(HardState(1, None, 2), None, list(log)) for node in membership.voters
    }
    cluster = CoreCluster(durable, config)
    for node_id, node in cluster.drivers.items():
        node.clock.wall_us = WALL_US + (ahead or {}).get(node_id, 0)
    return cluster


def pass_time(cluster: CoreCluster, microseconds: int) -> None:
    """True time passes: every clock advances, monotonic and wall."""
    cluster.now += microseconds


def heartbeats(cluster: CoreCluster, number: int = 3) -> None:
    for _ in range(number):
        pass_time(cluster, 50_000)
        for leader in cluster.leaders():
            cluster.timeout(leader)
        cluster.settle()


def propose(cluster: CoreCluster, node_id: int, command: str = "c") -> Entry:
    cluster.step(node_id, Propose([command], cluster.drivers[node_id].clock.wall_us))
    cluster.settle()
    return cluster.core(node_id).log_entries()[-1]


# -- the clock alone --------------------------------------------------------------------------------

LIMIT_US = 300_000


@given(
    st.lists(
        st.tuples(st.integers(0, 2_000_000), st.integers(0, 2_000_000)), min_size=1, max_size=50
    )
)
def test_clock_counts_no_more_than_a_model(steps: list[tuple[int, int]]) -> None:
    """Each step comes some time after the last, and a quorum was in contact some time before it."""
    clock = ClusterClock(LIMIT_US)
    clock.begin(7, 100)
    now, expected, best, silent_since = 100, 7, 100, 100
    for elapsed, silence in steps:
        contact = max(best, now - silence)  # never goes back, and is not later than the last step
        best = silent_since = contact
        before, now = now, now + elapsed
        expected += max(0, min(elapsed, LIMIT_US, silent_since + LIMIT_US - before))
        value = clock.value_us
        clock.advance(now, lambda contact=contact: contact)  # type: ignore[misc] # bound for the loop
        assert value <= clock.value_us <= expected
        assert clock.value_us - value <= min(elapsed, LIMIT_US)
        assert clock.updated_at == now


def test_clock_predicts_when_it_reaches_a_value() -> None:
    clock = ClusterClock(LIMIT_US)
    clock.begin(1000, 50)
    assert clock.time_when(9000) == 8050
    assert clock.time_when(900) == 50, "it is already past that value"
    assert clock.time_when(1400) == 50 + CLOCK_GRANULARITY_US, "not before the next update"
    clock.advance(1150, lambda: 1150)
    assert clock.time_when(9000) == 8050


# -- the clock in the log ---------------------------------------------------------------------------

node_ids = st.integers(1, 3)
trouble = st.one_of(
    st.tuples(st.just("pass"), st.integers(1, 2_000_000)),
    st.tuples(st.just("beat"), st.integers(1, 20)),
    st.tuples(st.just("propose"), node_ids),
    st.tuples(st.just("elect"), node_ids),
    st.tuples(st.just("restart"), node_ids),
    st.tuples(st.just("isolate"), node_ids),
    st.tuples(st.just("heal"), st.just(0)),
    st.tuples(st.just("snapshot"), node_ids),
    st.tuples(st.just("freeze"), node_ids),
    st.tuples(st.just("hurry"), node_ids),
    st.tuples(st.just("jump"), st.integers(-50 * YEAR_US, 50 * YEAR_US)),
)


class Watch:
    """Disturbs three servers and compares the times in the log with what true time allows.

    Clocks run at full, double or no speed. `led_us` is the most that leaders' clocks can have counted.
    """

    def __init__(self, config: RaftConfig) -> None:
        self.cluster = cluster_of(3, config)
        self.speed = dict.fromkeys(self.cluster.drivers, 1)
        self.led_us = 0

    def pass_time(self, microseconds: int) -> None:
        cluster = self.cluster
        led = [self.speed[leader] for leader in cluster.leaders()]
        self.led_us += max(led, default=0) * microseconds
        before = {node_id: node.clock.wall_us for node_id, node in cluster.drivers.items()}
        for node_id, node in cluster.drivers.items():
            node.clock.speed = 1000 * self.speed[node_id]
        cluster.now += microseconds
        for node_id, node in cluster.drivers.items():
            node.clock.wall_us = max(1, before[node_id] + self.speed[node_id] * microseconds)

    def run_action(self, what: str, value: int) -> None:
        cluster = self.cluster
        match what:
            case "pass":
                self.pass_time(value)
            case "beat":
                for _ in range(value):
                    self.pass_time(50_000)
                    for leader in cluster.leaders():
                        cluster.tick(leader)
                    cluster.settle()
            case "propose":
                if cluster.core(value).role == "leader":
                    propose(cluster, value)
            case "elect":
                self.pass_time(700_000)
                cluster.campaign(value)
                cluster.settle()
            case "restart":
                cluster.crash(value, survive=1)
                cluster.restart(value)
            case "isolate":
                cluster.isolate(value)
            case "heal":
                cluster.heal()
            case "snapshot":
                cluster.take_snapshot(value)
                cluster.settle()
            case "freeze":
                self.speed[value] = 0 if self.speed[value] else 1
            case "hurry":
                self.speed[value] = 2
            case "jump":
                node = cluster.drivers[abs(value) % 3 + 1]
                node.clock.wall_us = max(1, node.clock.wall_us + value)

    def check(self) -> None:
        for node in self.cluster.drivers.values():
            snapshot = node.disk.durable.snapshot
            entries = node.up.log_entries()
            clocks = [entry.clock_us for entry in entries if entry.index > 2]
            times = [entry.time_us for entry in entries if entry.index > 2]
            first = entries[0].index if entries else 0
            if snapshot is not None and first == snapshot.meta.last_included_index + 1:
                clocks.insert(0, snapshot.meta.last_included_clock_us)
                times.insert(0, snapshot.meta.last_included_time_us)
            assert all(a <= b for a, b in pairwise(clocks)), "the clock went back"
            assert all(a <= b for a, b in pairwise(times)), "log time went back"
            assert all(entry.clock_us >= 1 for entry in entries if entry.index > 2)
            assert node.up.last_clock_us <= self.led_us + 1, "more than leaders' time"


@settings(max_examples=60)
@given(st.booleans(), st.lists(trouble, min_size=5, max_size=40))
def test_logged_clock_is_monotonic_and_needs_a_leader(
    check_quorum: bool, steps: list[tuple[str, int]]
) -> None:
    watch = Watch(RaftConfig(1, check_quorum=check_quorum))
    watch.run_action("elect", 1)
    for what, value in steps:
        watch.run_action(what, value)
        watch.check()


def test_new_leader_continues_the_logged_clock() -> None:
    cluster = cluster_of(3)
    cluster.elect(1)
    assert propose(cluster, 1).clock_us == 1, "an entry of rules 2 never carries 0"
    heartbeats(cluster, 20)
    assert propose(cluster, 1).clock_us == 20 * 50_000
    pass_time(cluster, 3600 * SECOND_US)
    cluster.elect(2)
    assert propose(cluster, 2).clock_us == 20 * 50_000


def test_clock_starts_when_rules_2_take_effect() -> None:
    cluster = CoreCluster.of(3)
    cluster.elect(1)
    heartbeats(cluster, 10)
    assert propose(cluster, 1).clock_us == 0
    cluster.step(1, Propose([VERSION_2.to_json()], 5, ["version"]))
    cluster.settle()
    assert cluster.core(1).log_entries()[-1].clock_us == 0, "appended under the old rules"
    assert propose(cluster, 1).clock_us == 1, "time under the old rules does not count"
    heartbeats(cluster, 10)
    assert propose(cluster, 1).clock_us == 500_000


def test_snapshot_carries_the_clock_to_the_next_leader() -> None:
    cluster = cluster_of(3)
    cluster.isolate(3)
    cluster.elect(1)
    heartbeats(cluster, 20)
    clock_us = propose(cluster, 1).clock_us
    cluster.take_snapshot(1)
    cluster.settle()
    cluster.heal()
    heartbeats(cluster, 20)
    assert cluster.core(3).snapshot is not None
    assert cluster.core(3).last_clock_us == clock_us
    cluster.elect(3)
    assert cluster.core(3).log_entries()[-1].clock_us == clock_us


# -- time stamps ------------------------------------------------------------------------------------


def quorum_bounds(clocks: dict[int, int], size: int) -> tuple[int, int]:
    """Low and high by brute force: over all majorities of the voters whose clocks are known."""
    majorities = list(combinations(clocks.values(), size // 2 + 1))
    return max(min(some) for some in majorities), min(max(some) for some in majorities)


offsets = st.one_of(
    st.integers(-3 * BOUND_US, 3 * BOUND_US), st.integers(-50 * YEAR_US, 50 * YEAR_US)
)


@settings(max_examples=150)
@given(st.sampled_from([1, 2, 3, 4, 5]), st.data())
def test_a_stamp_lies_within_the_bound_of_a_quorums_clocks(size: int, data: st.DataObject) -> None:
    """Clocks are wrong, some voters are down, and the leader's clock is set while it leads."""
    ahead = {node: data.draw(offsets) for node in range(1, size + 1)}
    down = data.draw(st.integers(0, (size - 1) // 2))
    cluster = cluster_of(size, ahead=ahead)
    for node in range(size - down + 1, size + 1):
        cluster.isolate(node)
    cluster.elect(1)
    last = cluster.core(1).log_entries()[-1].time_us
    for _ in range(data.draw(st.integers(1, 3))):
        heartbeats(cluster)
        cluster.drivers[1].clock.wall_us = max(
            1, cluster.drivers[1].clock.wall_us + data.draw(offsets)
        )
        known = {node: cluster.drivers[node].clock.wall_us for node in range(1, size - down + 1)}
        low, high = quorum_bounds(known, size)
        stamped = propose(cluster, 1).time_us
        assert stamped >= last
        assert stamped == last or low - BOUND_US <= stamped <= high + BOUND_US
        if low - BOUND_US <= known[1] <= low + BOUND_US:
            assert stamped == max(last, known[1]), "a correct clock is not adjusted"
        status = cluster.core(1).status()
        assert status.wall_skew_us is not None
        if known[1] > low:
            assert status.wall_skew_us == known[1] - low
        ahead_us = stamped - high
        assert (status.log_time_ahead_us or 0) == (ahead_us if ahead_us > BOUND_US else 0)
        last = stamped


def test_votes_carry_the_time_to_the_first_leader() -> None:
    """The initialised node is 50 years ahead; the logs of the others are empty, so they do not know the rules."""
    cluster = CoreCluster({node: DurableState() for node in THREE.voters})
    for node_id, node in cluster.drivers.items():
        node.clock.wall_us = WALL_US + (50 * YEAR_US if node_id == 1 else 0)
    cluster.step(1, Bootstrap(THREE, cluster.drivers[1].clock.wall_us, VERSION_2))
    cluster.settle()
    assert cluster.core(1).role == "leader"
    assert [entry.time_us for entry in cluster.core(1).log_entries()[:2]] == [0, 0]
    assert cluster.core(1).log_entries()[2].time_us == WALL_US + BOUND_US
    assert propose(cluster, 1).time_us == WALL_US + BOUND_US
    assert cluster.core(1).status().wall_skew_us == 50 * YEAR_US


def test_single_node_uses_its_wall_clock() -> None:
    cluster = CoreCluster({1: DurableState()})
    cluster.drivers[1].clock.wall_us = WALL_US
    cluster.step(1, Bootstrap(Membership(voters=(1,)), WALL_US, VERSION_2))
    cluster.settle()
    assert {entry.time_us for entry in cluster.core(1).log_entries()} == {WALL_US}
    cluster.drivers[1].clock.wall_us += YEAR_US
    assert propose(cluster, 1).time_us == WALL_US + YEAR_US


def test_unknown_clocks_do_not_extend_the_time_stamp() -> None:
    """The rules were raised in this term, and no voter has responded since; the leader's clock jumps a year ahead."""
    cluster = CoreCluster.of(3)
    for node in cluster.drivers.values():
        node.clock.wall_us = WALL_US
    cluster.elect(1)
    raised_at = WALL_US
    cluster.step(1, Propose([VERSION_2.to_json()], raised_at, ["version"]))
    pass_time(cluster, 10_000)
    cluster.drivers[1].clock.wall_us += YEAR_US
    cluster.step(1, Propose(["c"], cluster.drivers[1].clock.wall_us))
    assert cluster.core(1).log_entries()[-1].time_us == raised_at + 10_000
    assert cluster.core(1).status().wall_skew_us is None
    cluster.settle()
    heartbeats(cluster)
    assert cluster.core(1).status().wall_skew_us == YEAR_US


def test_log_time_left_ahead_by_a_wrong_clock_is_reported() -> None:
    """A leader of 0.1.0 left it. Time stamps stand still, and the status reports how far they are ahead."""
    log = [
        membership_entry(THREE),
        Entry(2, 1, "command", "c", WALL_US + YEAR_US),
        Entry(3, 1, "version", VERSION_2.to_json(), WALL_US + YEAR_US),
    ]
    durable = {node: DurableState(HardState(1, None, 3), None, list(log)) for node in THREE.voters}
    cluster = CoreCluster(durable)
    for node in cluster.drivers.values():
        node.clock.wall_us = WALL_US
    cluster.elect(1)
    assert propose(cluster, 1).time_us == WALL_US + YEAR_US
    status = cluster.core(1).status()
    assert status.log_time_ahead_us == YEAR_US - SECOND_US, "`elect` lets a second pass"
    assert status.wall_skew_us == 0


def test_a_joint_configuration_needs_both_majorities() -> None:
    """The incoming voters' clocks are right, the outgoing ones' an hour behind: neither majority is ignored."""
    hour = 3600 * SECOND_US
    joint = Membership(voters=(1, 2, 3), voters_outgoing=(1, 4, 5))
    log = [membership_entry(joint), Entry(2, 1, "version", VERSION_2.to_json(), 0)]
    durable = {node: DurableState(HardState(1, None, 2), None, list(log)) for node in range(1, 6)}
    cluster = CoreCluster(durable)
    for node_id, node in cluster.drivers.items():
        node.clock.wall_us = WALL_US - (hour if node_id > 3 else 0)
    cluster.advance(1000)
    cluster.campaign(1)
    cluster.settle()
    assert cluster.core(1).role == "leader"
    assert cluster.core(1).log_entries()[2].time_us == WALL_US + SECOND_US - hour + BOUND_US


# -- which messages carry clocks ------------------------------------------------------------------


def old_requests() -> list[AppendEntries | InstallSnapshot | RequestVote]:
    return [
        AppendEntries(1, 2, 1, 1, 1, []),
        InstallSnapshot(1, 2, 1, 1, 0, THREE, 0, 0, 0, ""),
        RequestVote(1, 2, 1, 1),
    ]


def new_requests() -> list[AppendEntries | InstallSnapshot | RequestVote]:
    return [
        AppendEntries(1, 2, 1, 1, 1, [], is_current=True),
        AppendEntries(1, 2, 1, 1, 1, [], echo_us=1),
        AppendEntries(1, 2, 1, 1, 1, [], confirmed_ago_us=1),
        InstallSnapshot(1, 2, 1, 1, 0, THREE, 0, 0, 0, "", version=VERSION_2),
        RequestVote(1, 2, 1, 1, rules=2),
    ]


def test_rules_1_server_sends_its_clock_only_if_understood() -> None:
    server = restored()._server
    server.wall_us = WALL_US
    assert [response_wall_us(server, request) for request in old_requests()] == [0] * 3
    assert [response_wall_us(server, request) for request in new_requests()] == [WALL_US] * 5
    server.rules = 2
    assert [response_wall_us(server, request) for request in old_requests()] == [WALL_US] * 3


def test_responses_and_votes_carry_the_clock() -> None:
    core = restored()
    core._server.rules = 2
    core._server.wall_us = WALL_US
    (response,) = sent_messages(
        receive(core, 2, AppendEntries(1, 2, 1, 1, 1, [])), AppendEntriesResponse
    )
    assert response.wall_us == WALL_US
    vote = RequestVote(9, 3, 5, 5, leadership_transfer=True)
    (granted,) = sent_messages(receive(core, 3, vote), RequestVoteResponse)
    assert granted.vote_granted
    assert granted.wall_us == WALL_US


def test_rules_1_candidate_requests_votes_as_0_1_0_did() -> None:
    cluster = CoreCluster.of(3)
    cluster.advance(1000)
    cluster.campaign(1)
    cluster.persist(1)
    while not any(isinstance(sent.message, RequestVote) for sent in cluster.network):
        cluster.persist(2)
        cluster.persist(3)
        cluster.deliver()
        cluster.persist(1)
    (first, *_) = [s.message for s in cluster.network if isinstance(s.message, RequestVote)]
    assert first.rules == 0


def test_bound_below_one_is_refused() -> None:
    with pytest.raises(ConfigError, match="max_wall_skew_ms is 0; it must be at least 1"):
        RaftConfig(1, max_wall_skew_ms=0)
