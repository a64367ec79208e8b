"""Upgrades: apply rules and state machines change while older entries are not applied yet."""

from __future__ import annotations

import json

import pytest

from qcore.core.entry import Entry
from qcore.core.version import LATEST_RULES, VersionSupport
from qcore.errors import IncompatibleVersion, StateMachineFailed
from qcore.machines.entity.entity_store import EntityStore
from qcore.machines.interface import ApplyContext
from qcore.machines.register import RegisterMachine
from qcore.replica import replica as replica_module
from qcore.replica.apply import active_version as versions_module
from qcore.replica.apply.active_version import Versions
from qcore.replica.events import PeerVersionSupport, TriggerSnapshot, UpgradeMachine
from tests.driver.replicas import ReplicaCluster, ReplicaDriver

ADD = json.dumps({"op": "add", "key": "n", "amount": 1})
GET = json.dumps({"op": "get", "key": "n"})


class Doubling(RegisterMachine):
    """Version 2 adds twice as much as version 1."""

    versions = (1, 2)

    def apply(self, command: str, context: ApplyContext) -> str:
        request = json.loads(command)
        if context.version == 2 and request["op"] == "add":
            request["amount"] *= 2
        return super().apply(json.dumps(request), context)


# -- older entries, a newer program ------------------------------------------------------------------


def a_newer_program_replays_older_entries() -> set[str]:
    """Three nodes restart with the next version; two of them have snapshots, at different indexes.

    Returns:
        the state hashes of all nodes after the version was raised and one more command was applied.
    """
    cluster = ReplicaCluster(3)
    leader = cluster.elect(1)
    for number in range(9):
        leader.request(number, ADD)
        cluster.settle()
        cluster.pass_time(50)
        if number in (2, 6):
            cluster.drivers[2 if number == 2 else 3].step(TriggerSnapshot())
    cluster.machine = Doubling
    for node_id in cluster.drivers:
        cluster.restart(node_id)
    cluster.network.clear()
    leader = cluster.elect(1)
    support = VersionSupport(1, LATEST_RULES, "register", 1, 2)
    for driver in cluster.drivers.values():
        for other in cluster.drivers:
            driver.step(PeerVersionSupport(other, support))
    cluster.pass_time(200)
    leader.step(UpgradeMachine(50, 2, 1000))
    cluster.settle()
    cluster.pass_time(100)
    leader.request(51, ADD)
    cluster.settle()
    cluster.pass_time(100)
    assert leader.replica.versions.active.machine_version == 2
    return {driver.replica.machine.state_hash() for driver in cluster.drivers.values()}


def test_older_entries_keep_their_meaning() -> None:
    assert len(a_newer_program_replays_older_entries()) == 1


def newest_for_all(versions: Versions, entry: Entry) -> ApplyContext:
    """The newest behaviour of the program, regardless of the version that was active at the entry."""
    return ApplyContext(entry.index, entry.time_us, versions.support.machine_max, entry.clock_us)


def test_without_rules_per_entry_the_replicas_diverge(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Versions, "apply_context", newest_for_all)
    assert len(a_newer_program_replays_older_entries()) > 1


# -- another machine ---------------------------------------------------------------------------------


def a_restart_forgets_the_machine() -> str:
    """A single node with a state is restarted with another machine, which takes a snapshot.

    Returns:
        `refused` if the node does not start with it; otherwise the value after a restart with the right machine.
    """
    cluster = ReplicaCluster(1)
    driver = cluster.elect(1)
    driver.request(1, ADD)
    assert driver.replica.versions.active.machine == "register"
    cluster.machine = EntityStore
    try:
        driver = cluster.restart(1)
    except IncompatibleVersion:
        return "refused"
    cluster.elect(1)
    driver.step(TriggerSnapshot(keep_entries=0))
    cluster.machine = RegisterMachine
    try:
        return value_of(cluster.restart(1))
    except StateMachineFailed:
        return "gone"


def value_of(driver: ReplicaDriver) -> str:
    return str(json.loads(driver.replica.machine.query(GET))["value"])


def test_restart_that_forgets_the_machine_is_rejected() -> None:
    assert a_restart_forgets_the_machine() == "refused"


def test_without_machine_check_restart_loses_the_state(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in 0.1.0: everything looks right until the snapshot is taken."""
    monkeypatch.setattr(replica_module, "check_all_supported", lambda durable, support: None)
    monkeypatch.setattr(versions_module, "check_supported", lambda version, support, advice: None)
    assert a_restart_forgets_the_machine() == "gone"
