"""The version of the cluster: how and when it is raised, and that older entries keep their older meaning."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from qcore.core import RaftCore
from qcore.core.config import RaftConfig
from qcore.core.effects import Send
from qcore.core.entry import DurableState, Entry, HardState, Membership, Snapshot, SnapshotMeta
from qcore.core.events import Campaign, MessageReceived, Tick
from qcore.core.messages import AppendEntries, AppendEntriesResponse
from qcore.core.version import LATEST_RULES, ClusterVersion, VersionSupport
from qcore.errors import ChangeRefused, ConfigError, IncompatibleVersion, NotLeader
from qcore.machines.interface import ApplyContext, StateMachine, version_support
from qcore.machines.register import RegisterMachine
from qcore.replica.config import ReplicaConfig
from qcore.replica.events import (
    AddLearner,
    InitCluster,
    PeerVersionSupport,
    Reply,
    TriggerSnapshot,
    UpgradeMachine,
)
from qcore.replica.replica import Replica
from qcore.replica.sessions.session_table import open_session_payload, session_command_payload
from tests.driver.replicas import ReplicaCluster, ReplicaDriver
from tests.replica.support.client_sessions import text_of

SUPPORT = VersionSupport(1, LATEST_RULES, "register", 1, 1)


class Second(RegisterMachine):
    """The next version of the machine: it doubles what is added after the entry that raises the version."""

    versions = (1, 2)

    def apply(self, command: str, context: ApplyContext) -> str:
        request = json.loads(command)
        if context.version >= 2 and request["op"] == "add":
            request["amount"] *= 2
        return super().apply(json.dumps(request), context)


def add(key: str) -> str:
    return json.dumps({"op": "add", "key": key, "amount": 1})


def value(driver: ReplicaDriver, key: str) -> object:
    return json.loads(driver.replica.machine.query(json.dumps({"op": "get", "key": key})))["value"]


def report_support(cluster: ReplicaCluster, support: VersionSupport | None, *of: int) -> None:
    """Every node receives the Hello of these nodes (None: loses the connection)."""
    for driver in cluster.drivers.values():
        for node_id in of or tuple(cluster.drivers):
            if node_id != driver.node_id:
                driver.step(PeerVersionSupport(node_id, support))
    cluster.settle()
    cluster.pass_time(100)


def versions(cluster: ReplicaCluster) -> list[ClusterVersion]:
    return [driver.replica.versions.active for driver in cluster.drivers.values()]


def raised(cluster: ReplicaCluster) -> int:
    """How many entries of kind `version` the first node's log holds."""
    entries = cluster.drivers[1].replica.core.log_entries()
    return sum(entry.kind == "version" for entry in entries)


# -- the rules ---------------------------------------------------------------------------------------


def test_leader_raises_the_rules_once_every_member_supports_it() -> None:
    cluster = ReplicaCluster(3)
    cluster.elect(1)
    report_support(cluster, SUPPORT, 1, 2)
    assert versions(cluster) == 3 * [ClusterVersion()], "one member has not reported its support"
    report_support(cluster, SUPPORT, 3)
    assert versions(cluster) == 3 * [ClusterVersion(LATEST_RULES, "register", 1)]
    assert raised(cluster) == LATEST_RULES - 1, "one step at a time"


@pytest.mark.parametrize(
    "odd",
    [
        VersionSupport(),
        VersionSupport(1, 1, "register", 1, 1),
        VersionSupport(1, 2, "entity", 1, 1),
        VersionSupport(1, 2, "register", 2, 3),
    ],
    ids=["0.1.0", "old rules", "another machine", "machine too new"],
)
def test_one_member_that_cannot_follow_holds_the_rules_back(odd: VersionSupport) -> None:
    cluster = ReplicaCluster(3)
    cluster.elect(1)
    report_support(cluster, SUPPORT, 1, 2)
    report_support(cluster, odd, 3)
    cluster.pass_time(1000)
    assert versions(cluster) == 3 * [ClusterVersion()]
    assert raised(cluster) == 0


def test_disconnected_member_holds_the_rules_back() -> None:
    cluster = ReplicaCluster(3)
    report_support(cluster, SUPPORT)
    report_support(cluster, None, 3)
    cluster.elect(1)
    assert versions(cluster) == 3 * [ClusterVersion()]
    report_support(cluster, SUPPORT, 3)
    assert versions(cluster) == 3 * [ClusterVersion(LATEST_RULES, "register", 1)]


def test_raise_continued_by_a_new_leader_counts_once() -> None:
    """Two leaders append the same step; the second one has no effect."""
    cluster = ReplicaCluster(3)
    cluster.elect(1)
    cluster.network.isolated = {2, 3}
    report_support(cluster, SUPPORT)
    assert raised(cluster) == 1, "appended and not committed"
    assert versions(cluster) == 3 * [ClusterVersion()]
    cluster.network.isolated = {1}
    cluster.elect(2)
    cluster.heal()
    cluster.pass_time(1000)
    assert versions(cluster) == 3 * [ClusterVersion(LATEST_RULES, "register", 1)]


def test_held_back_program_stays_with_the_rules_of_0_1_0() -> None:
    driver = alone(RegisterMachine(), max_rules=1)
    begin(driver)
    assert [entry.kind for entry in driver.core.log_entries()] == ["membership", "noop"]
    assert driver.versions.active == ClusterVersion()


def test_new_cluster_records_the_newest_rules_and_its_machine() -> None:
    driver = alone(Second())
    begin(driver)
    assert [entry.kind for entry in driver.core.log_entries()] == ["membership", "version", "noop"]
    assert driver.versions.active == ClusterVersion(LATEST_RULES, "register", 2)


def alone(
    machine: StateMachine, max_rules: int = LATEST_RULES, durable: DurableState | None = None
) -> Replica:
    config = ReplicaConfig(RaftConfig(1), max_rules=max_rules)
    return Replica(config, machine, durable or DurableState(), rng=random.Random(1), now=0)


def begin(replica: Replica) -> None:
    from qcore.core.events import WriteDurable

    membership = Membership(voters=(1,), addresses=((1, "a:1"),), cluster_id="red")
    effects = replica.step([InitCluster(1, membership, 1000)], 0, 0)
    for _ in range(5):
        newest = max((getattr(effect, "write_id", 0) for effect in effects), default=0)
        effects = replica.step([WriteDurable(newest)], 0, 0) if newest else []


# -- older entries, newer programs -------------------------------------------------------------------


def with_rules(cluster: ReplicaCluster, max_rules: int) -> None:
    """Restart every node with a program that knows the rules up to these."""
    for node_id in cluster.drivers:
        cluster.max_rules = max_rules
        cluster.restart(node_id)
    cluster.network.clear()


@pytest.mark.parametrize("lifetime_ms", [1000, 60_000])
def test_replicas_with_different_snapshots_agree_after_upgrade(
    lifetime_ms: int,
) -> None:
    """One node replays nearly all older entries with the newer program, one nearly none, one all of them."""
    cluster = ReplicaCluster(3)
    cluster.max_rules = 1
    with_rules(cluster, 1)
    leader = cluster.elect(1)
    leader.request(1, open_session_payload(lifetime_ms), "session")
    cluster.settle()
    session = int(leader.replies[-1].result or 0)
    for number in range(1, 13):
        leader.request(number + 1, session_command_payload(session, number, 0, add("n")), "session")
        cluster.settle()
        cluster.pass_time(300)
        if number == 4:
            cluster.drivers[2].step(TriggerSnapshot())
        if number == 9:
            cluster.drivers[3].step(TriggerSnapshot())
    taken = [driver.disk.durable.snapshot for driver in cluster.drivers.values()]
    assert [snapshot is not None for snapshot in taken] == [False, True, True]
    before = {value(driver, "n") for driver in cluster.drivers.values()}

    with_rules(cluster, LATEST_RULES)
    leader = cluster.elect(1)
    report_support(cluster, SUPPORT)
    assert versions(cluster) == 3 * [ClusterVersion(LATEST_RULES, "register", 1)]
    leader.request(90, session_command_payload(session, 13, 0, add("n")), "session")
    cluster.settle()
    cluster.pass_time(2000)
    leader.request(91, json.dumps({"op": "set", "key": "after", "value": 1}))
    cluster.settle()
    cluster.pass_time(100)
    states = {
        (driver.replica.machine.state_hash(), text_of(driver.replica.sessions))
        for driver in cluster.drivers.values()
    }
    assert len(states) == 1
    assert len(before) == 1


def test_snapshot_carries_the_version_to_a_lagging_node() -> None:
    cluster = ReplicaCluster(3)
    leader = cluster.elect(1)
    cluster.network.isolated = {3}
    report_support(cluster, SUPPORT)
    for number in range(8):
        leader.request(number, add("n"))
        cluster.settle()
    leader.step(TriggerSnapshot())
    assert cluster.drivers[3].replica.versions.active == ClusterVersion()
    cluster.heal()
    cluster.pass_time(1000)
    assert cluster.drivers[3].replica.core.snapshot is not None, "it installed the snapshot"
    assert versions(cluster) == 3 * [ClusterVersion(LATEST_RULES, "register", 1)]
    assert cluster.restart(3).replica.versions.active == ClusterVersion(LATEST_RULES, "register", 1)


# -- the machine's version ---------------------------------------------------------------------------


def upgraded(cluster: ReplicaCluster, driver: ReplicaDriver, version: int | None = None) -> Reply:
    driver.step(UpgradeMachine(77, version, 5000))
    cluster.settle()
    cluster.pass_time(100)
    return next(reply for reply in reversed(driver.replies) if reply.request_id == 77)


def test_a_machine_is_upgraded_across_a_rolling_restart() -> None:
    """The procedure of docs/operate/upgrades.md: new code on one node after the other, then one entry."""
    cluster = ReplicaCluster(3)
    report_support(cluster, SUPPORT)
    leader = cluster.elect(1)
    leader.request(1, add("n"))
    cluster.settle()
    cluster.machine = Second
    newer = replace(SUPPORT, machine_max=2)
    for node_id in (3, 2, 1):
        if node_id == 1:
            leader = cluster.elect(2)
        cluster.restart(node_id)
        for other in cluster.drivers.values():
            other.step(PeerVersionSupport(node_id, newer))
            cluster.drivers[node_id].step(PeerVersionSupport(other.node_id, newer))
        leader.request(1, add("n"))
        cluster.settle()
        cluster.pass_time(100)
    assert {value(driver, "n") for driver in cluster.drivers.values()} == {4}, (
        "version 1 stays active"
    )
    reply = upgraded(cluster, leader)
    assert reply.error is None
    assert ClusterVersion.from_json(reply.result or "") == ClusterVersion(
        LATEST_RULES, "register", 2
    )
    leader.request(2, add("n"))
    cluster.settle()
    cluster.pass_time(100)
    assert {value(driver, "n") for driver in cluster.drivers.values()} == {6}
    for node_id in (1, 3):  # node 2 leads, and its messages carry the commit index
        driver = cluster.restart(node_id)
        cluster.pass_time(100)
        assert value(driver, "n") == 6, "older entries keep their meaning"


def test_upgrade_unsupported_by_a_member_is_rejected_naming_it() -> None:
    cluster = ReplicaCluster(3, machine=Second)
    report_support(cluster, replace(SUPPORT, machine_max=2))
    leader = cluster.elect(1)
    report_support(cluster, SUPPORT, 3)
    error = upgraded(cluster, leader).error
    assert isinstance(error, ChangeRefused)
    assert error.name == "unsupported"
    assert (
        "node 3 cannot follow: this program supports version 1 of state machine 'register'"
        in str(error)
    )
    assert leader.replica.versions.active.machine_version == 1


@pytest.mark.parametrize(
    ("prepare", "version", "name"),
    [
        (lambda cluster: None, None, "not_ready"),
        (lambda cluster: report_support(cluster, SUPPORT), 3, "unsupported"),
        (lambda cluster: report_support(cluster, SUPPORT, 1, 3), 2, "not_ready"),
    ],
    ids=["rules 1", "too new", "one has not reported"],
)
def test_impossible_upgrade_is_rejected(
    prepare: Callable[[ReplicaCluster], None], version: int | None, name: str
) -> None:
    cluster = ReplicaCluster(3, machine=Second)
    leader = cluster.elect(1)
    prepare(cluster)
    error = upgraded(cluster, leader, version).error
    assert isinstance(error, ChangeRefused)
    assert error.name == name


def test_only_the_leader_upgrades_and_never_backwards() -> None:
    cluster = ReplicaCluster(3, machine=Second)
    leader = cluster.elect(1)
    report_support(cluster, replace(SUPPORT, machine_max=2))
    assert upgraded(cluster, leader, 2).error is None
    assert upgraded(cluster, leader, 2).error is None, "it is active already"
    back = upgraded(cluster, leader, 1).error
    assert isinstance(back, ChangeRefused)
    assert back.name == "going_back"
    assert isinstance(upgraded(cluster, cluster.drivers[2], 2).error, NotLeader)


@pytest.mark.parametrize("compacted", [False, True])
def test_a_new_node_without_the_old_version_needs_a_snapshot(compacted: bool) -> None:
    """The last step of docs/operate/upgrades.md: the leader's log must begin after the upgrade."""
    cluster = ReplicaCluster(3, machine=Second)
    leader = cluster.elect(1)
    report_support(cluster, replace(SUPPORT, machine_max=2))
    leader.request(1, add("n"))
    cluster.settle()
    assert upgraded(cluster, leader).error is None
    leader.step(TriggerSnapshot(0 if compacted else 1000))
    cluster.machine = Newer
    joins = cluster.join(4)
    leader.step(AddLearner(100, 4, "10.0.0.4:80", 5000))
    if compacted:
        cluster.pass_time(1000)
        assert joins.replica.versions.active.machine_version == 2
        assert value(joins, "n") == value(leader, "n")
    else:
        with pytest.raises(IncompatibleVersion, match="supports versions 2 to 3"):
            cluster.pass_time(1000)


# -- incompatible programs ---------------------------------------------------------------------------


class Other(RegisterMachine):
    name = "other"


class Newer(RegisterMachine):
    versions = (2, 3)


def stored(*, snapshot: bool) -> DurableState:
    """The disk of a node of a cluster that runs version 1 of machine register."""
    membership = Membership(voters=(1,), addresses=((1, "a:1"),), cluster_id="red")
    version = ClusterVersion(2, "register", 1)
    if snapshot:
        meta = SnapshotMeta(2, 1, 0, membership, 0, version)
        return DurableState(
            HardState(1), Snapshot(meta, "[]\n" + "".join(RegisterMachine().snapshot()))
        )
    entries = [
        Entry(1, 1, "membership", membership.to_json(), 0),
        Entry(2, 1, "version", version.to_json(), 0),
    ]
    return DurableState(HardState(1, None, 2), None, entries)


@pytest.mark.parametrize("snapshot", [False, True])
@pytest.mark.parametrize(
    ("machine", "rules", "text"),
    [
        (Other, 2, "state machine is 'register', this program runs 'other'"),
        (
            Newer,
            2,
            "this program supports versions 2 to 3 of state machine 'register', and not version 1",
        ),
        (RegisterMachine, 1, "apply rules are version 2, this program supports version 1"),
    ],
)
def test_incompatible_program_does_not_start(
    machine: type[RegisterMachine], rules: int, text: str, *, snapshot: bool
) -> None:
    with pytest.raises(IncompatibleVersion, match=text):
        alone(machine(), rules, stored(snapshot=snapshot))
    alone(RegisterMachine(), 2, stored(snapshot=snapshot))


def test_log_of_0_1_0_counts_as_version_1_of_any_machine() -> None:
    durable = stored(snapshot=False)
    del durable.entries[1:]
    alone(Other(), 2, durable)
    with pytest.raises(IncompatibleVersion):
        alone(Newer(), 2, stored(snapshot=False))


def test_machine_must_declare_name_versions_and_apply() -> None:
    class Nameless(RegisterMachine):
        name = "machines/mine.py"

    class Backwards(RegisterMachine):
        versions = (3, 2)

    class Boolean(RegisterMachine):
        versions = (True, True)

    class HalfBoolean(RegisterMachine):
        versions = (1, True)

    class Old(RegisterMachine):
        def apply(self, command: str, index: int, time_us: int) -> str:  # type: ignore[override]  # as 0.1.0 had it
            return ""

    cases: list[tuple[RegisterMachine, str]] = [
        (Nameless(), "declares the name 'machines/mine.py'"),
        (Backwards(), "declares the versions"),
        (Boolean(), r"declares the versions \(True, True\)"),
        (HalfBoolean(), "declares the versions"),
        (Old(), r"apply must take \(command, context\)"),
    ]
    for machine, text in cases:
        with pytest.raises(ConfigError, match=text):
            version_support(machine)


def test_program_without_a_version_in_the_log_does_not_start() -> None:
    """It supports the first and the last version in the log, but not one in between."""
    durable = stored(snapshot=False)
    second = Entry(3, 1, "version", ClusterVersion(2, "register", 2).to_json(), 0)
    durable.entries.append(second)
    for commit in (0, 2, 3):
        durable.hard_state.commit = commit
        with pytest.raises(IncompatibleVersion, match="and not version 1"):
            alone(Newer(), 2, durable)
    alone(Second(), 2, durable)


def test_entry_without_effect_does_not_keep_a_program_out() -> None:
    """Two leaders may have appended the same step; the second one may follow a newer version."""
    durable = stored(snapshot=True)
    assert durable.snapshot is not None
    meta = replace(durable.snapshot.meta, version=ClusterVersion(2, "register", 2))
    durable.snapshot = replace(durable.snapshot, meta=meta)
    durable.entries.append(Entry(3, 1, "version", ClusterVersion(2, "register", 1).to_json(), 0))
    alone(Newer(), 2, durable)


def test_rules_1_program_without_version_1_does_not_start() -> None:
    """These rules know only version 1: the machine would have to run a version that it does not declare."""
    durable = stored(snapshot=False)
    durable.entries[1:] = [Entry(2, 1, "command", add("k"), 0)]
    with pytest.raises(
        IncompatibleVersion,
        match=r"which allow only version 1 of a state machine, .* does not support that version",
    ):
        alone(Newer(), 2, durable)
    alone(Newer(), 2, DurableState())


def test_raise_truncated_from_the_log_is_undone() -> None:
    """Otherwise this node would send messages that 0.1.0 rejects, and a restart would change its behaviour."""
    membership = Membership(voters=(1, 2, 3))
    first = Entry(1, 1, "membership", membership.to_json(), 0)
    durable = DurableState(HardState(1, None, 1), None, [first])
    core = RaftCore(RaftConfig(1), durable, rng=random.Random(1), now=0)
    raising = Entry(2, 2, "version", ClusterVersion(2, "register", 1).to_json(), 5)
    core.step(MessageReceived(2, AppendEntries(2, 2, 1, 1, 1, [raising])), 1_000_000)
    assert (core.rules, core.newest_version.machine) == (2, "register")
    other = Entry(2, 3, "noop", "", 6)
    effects = core.step(MessageReceived(3, AppendEntries(3, 3, 1, 1, 1, [other])), 2_000_000)
    (response,) = [effect.message for effect in effects if isinstance(effect, Send)]
    assert isinstance(response, AppendEntriesResponse)
    assert (core.rules, response.sent_us, response.wall_us) == (1, 0, 0)
    assert core.newest_version == ClusterVersion()


def test_upgrade_waits_until_the_leader_has_applied_all_commits() -> None:
    """A raise may be among them, so the active version is not known yet."""
    cluster = ReplicaCluster(3, machine=Second, rules=2)
    raising = Entry(6000, 1, "version", ClusterVersion(2, "register", 2).to_json(), 6000, 6000)
    commands = [Entry(index, 1, "command", add("k"), index, index) for index in range(3, 6000)]
    for node_id, driver in cluster.drivers.items():
        driver.disk.durable.entries.extend([*commands, raising])
        driver.disk.durable.hard_state.commit = 2
        cluster.restart(node_id)
    cluster.now += 1_000_000
    leader = cluster.drivers[1]
    leader.step(Campaign())
    while not leader.replica.core.has_committed_in_term:
        cluster.deliver()
    assert leader.replica.has_apply_backlog
    early = upgraded(cluster, leader, 1).error
    assert isinstance(early, ChangeRefused)
    assert early.name == "not_ready"
    cluster.settle()
    for _ in range(20):
        leader.step(Tick())
    late = upgraded(cluster, leader, 1).error
    assert isinstance(late, ChangeRefused)
    assert late.name == "going_back"


def test_a_program_that_reports_no_machine_name_is_described() -> None:
    """0.1.0 does not report the name of its state machine."""
    reason = VersionSupport().incompatibility_with(ClusterVersion(1, "register", 1))
    assert str(reason).endswith("'register', this program runs one that does not report its name")
