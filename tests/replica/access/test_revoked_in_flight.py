"""Users lose and get roles while requests are under way and the network is cut: the log alone decides.

Every node must have the state that a simple reading of the log gives: a command counts if, and only if, its user has
the role at that position.
"""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qcore.core.entry import Entry
from qcore.core.events import Campaign
from qcore.core.version import LATEST_RULES
from qcore.errors import QcoreError
from qcore.replica.access.access_commands import SetRole, SetUser, command_text
from qcore.replica.access.access_records import ADMIN, Role
from qcore.replica.events import ClientRequest, TriggerSnapshot
from qcore.replica.messages import RequestKind
from tests.driver.replicas import ReplicaCluster, ReplicaDriver

USERS = ("ann", "bob")
NODES = (1, 2, 3)

ACTION = st.one_of(
    st.tuples(st.just("write"), st.sampled_from(NODES), st.sampled_from([*USERS, "", "root"])),
    st.tuples(st.just("write"), st.sampled_from(NODES), st.sampled_from(USERS)),
    st.tuples(st.sampled_from(["roles", "race"]), st.sampled_from(NODES), st.sampled_from(USERS)),
    st.tuples(st.sampled_from(["isolate", "elect", "restart", "snapshot"]), st.sampled_from(NODES)),
    st.tuples(st.sampled_from(["heal", "settle", "time"])),
)


def increment(user: str) -> str:
    return json.dumps({"op": "add", "key": user or "none", "amount": 1})


def expected(log: list[Entry]) -> dict[str, int]:
    """How often each user's command counts, from a simple reading of the log."""
    roles: dict[str, list[str]] = {}
    counts: dict[str, int] = {}
    for entry in log:
        if entry.kind == "access":
            ((name, body),) = json.loads(entry.data).items()
            if name == "set_user":
                roles[body["name"]] = body["roles"]
        elif entry.kind == "command" and roles.get(entry.user):
            counts[entry.user] = counts.get(entry.user, 0) + 1
    return counts


class _Run:
    def __init__(self) -> None:
        self.cluster = ReplicaCluster(rules=LATEST_RULES)
        self.number = 0
        #: Every entry that a node has applied, by index.
        self.log: dict[int, Entry] = {}
        self.granted = dict.fromkeys(USERS, False)
        self.cluster.elect(1)
        self.send(1, "access", command_text(SetUser("root", "", (ADMIN,))), "")
        self.cluster.settle()
        self.send(1, "access", command_text(SetRole(Role("writer", ("write",)))), "root")
        for user in USERS:
            self.send(1, "access", command_text(SetUser(user, "", ())), "root")
        self.cluster.settle()
        self.note()

    def send(self, node: int, kind: RequestKind, payload: str, user: str) -> None:
        self.cluster.drivers[node].step(self.request(kind, payload, user))

    def request(self, kind: RequestKind, payload: str, user: str) -> ClientRequest:
        self.number += 1
        return ClientRequest(self.number, kind, payload, 2000, user=user)

    def change(self, user: str) -> ClientRequest:
        """Give the role to a user, or take it away."""
        self.granted[user] = not self.granted[user]
        roles = ("writer",) if self.granted[user] else ()
        return self.request("access", command_text(SetUser(user, None, roles)), "root")

    def act(self, action: tuple[object, ...]) -> None:
        cluster = self.cluster
        match action:
            case ("write", int() as node, str() as user):
                self.send(node, "write", increment(user), user)
            case ("roles", int() as node, str() as user):
                cluster.drivers[node].step(self.change(user))
            case ("race", int() as node, str() as user):
                if self.granted[user]:
                    cluster.settle()
                change = self.change(user)
                cluster.drivers[node].step(change, self.request("write", increment(user), user))
            case ("isolate", int() as node):
                cluster.isolate(node)
            case ("elect", int() as node):
                cluster.drivers[node].step(Campaign())
            case ("restart", int() as node):
                cluster.restart(node)
            case ("snapshot", int() as node):
                self.note()
                cluster.drivers[node].step(TriggerSnapshot())
            case ("heal",):
                cluster.heal()
            case ("settle",):
                cluster.settle()
            case _:
                cluster.run(400)
        self.note()

    def note(self) -> None:
        for driver in self.cluster.alive():
            for entry in driver.disk.durable.entries:
                if entry.index <= driver.replica.applied_index:
                    assert self.log.setdefault(entry.index, entry) == entry

    def check(self, driver: ReplicaDriver) -> None:
        applied = driver.replica.applied_index
        counts = expected([self.log[index] for index in range(1, applied + 1)])
        for user in ("ann", "bob", "root", "none"):
            found = json.loads(
                driver.replica.machine.query(json.dumps({"op": "get", "key": user}))
            )["value"]
            assert (found or 0) == counts.get(user, 0), user


def _check_run(actions: list[tuple[object, ...]]) -> _Run:
    run = _Run()
    for action in actions:
        run.act(action)
        for driver in run.cluster.alive():
            run.check(driver)
    run.cluster.heal()
    run.cluster.run(3000)
    run.note()
    for driver in run.cluster.alive():
        run.check(driver)
        assert all(
            reply.error is None or isinstance(reply.error, QcoreError) for reply in driver.replies
        )
    assert len({driver.replica.access.digest for driver in run.cluster.alive()}) == 1
    return run


@settings(max_examples=25)
@given(st.lists(ACTION, min_size=20, max_size=40))
def test_no_command_counts_without_a_role_at_its_position(
    actions: list[tuple[object, ...]],
) -> None:
    _check_run(actions)


@pytest.mark.long
@settings(max_examples=400)
@given(st.lists(ACTION, max_size=60))
def test_no_command_counts_without_a_role_in_long_runs(actions: list[tuple[object, ...]]) -> None:
    _check_run(actions)


def test_a_write_from_before_the_cut_counts_by_its_position() -> None:
    """The old leader has appended it, cut off; the new one has revoked the role; then the old one returns."""
    run = _check_run(
        [
            ("roles", 1, "ann"),
            ("settle",),
            ("write", 1, "ann"),
            ("settle",),
            ("isolate", 1),
            ("write", 1, "ann"),
            ("time",),
            ("time",),
            ("roles", 2, "ann"),
            ("settle",),
            ("write", 1, "ann"),
            ("heal",),
            ("time",),
            ("write", 3, "ann"),
            ("settle",),
        ]
    )
    access = [entry for entry in run.log.values() if entry.kind == "access"]
    assert len(access) == 6, "the role was given and taken"
    assert expected([*run.log.values()]) == {"ann": 1}
