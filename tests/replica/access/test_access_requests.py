"""Requests of users: who may send them, where that is checked, and what every replica does with them."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from qcore.core.effects import Send
from qcore.core.entry import Entry, Snapshot, SnapshotMeta
from qcore.core.entry import Membership as Configuration
from qcore.core.events import Propose, SnapshotTaken
from qcore.core.messages import AppendEntries, InstallSnapshot
from qcore.core.version import LATEST_RULES
from qcore.errors import (
    ChangeRefused,
    PermissionDenied,
    QcoreError,
    SessionExpired,
    StateMachineFailed,
    Unauthenticated,
)
from qcore.machines.entity.entity_store import EntityStore
from qcore.replica.access.access_commands import (
    AccessCommand,
    DeleteUser,
    SetPassword,
    SetRole,
    SetUser,
    command_text,
)
from qcore.replica.access.access_records import ADMIN, EntityRule, Role
from qcore.replica.access.access_table import AccessTable
from qcore.replica.apply.active_version import Versions
from qcore.replica.apply.apply_entry import apply_entry
from qcore.replica.events import (
    BeginWatch,
    ClientRequest,
    Notice,
    Reply,
    TriggerSnapshot,
    WatchEnded,
)
from qcore.replica.messages import Forward, RequestKind
from qcore.replica.requests.pending import PendingRequest
from qcore.replica.sessions.session_table import (
    SessionTable,
    close_session_payload,
    open_session_payload,
    session_command_payload,
)
from qcore.replica.watches.watch_table import ChangeRecorder
from qcore.transport.codec.codec import Codec
from qcore.transport.wire.peers import PEER_REQUESTS, wrap_request
from tests.driver.replicas import ReplicaCluster, ReplicaDriver
from tests.machines.entity.harness import OBJECT, read, write

HASH = "$argon2id$v=19$m=65536,t=3,p=4$c29tZXNhbHQ$RdescudvJCsgt3ub+b31dWJWJTmaaJObG"


class Users:
    """A cluster with users: the administrator `root`, `ann` who may read and write, and `eve` who may do nothing."""

    def __init__(self, cluster: ReplicaCluster, *, active: bool = True) -> None:
        self.cluster = cluster
        self.leader = cluster.elect(1)
        self._number = 0
        if active:
            self.change(SetUser("root", HASH, (ADMIN,)), "")
            self.change(SetRole(Role("worker", ("read", "write"))))
            self.change(SetUser("ann", HASH, ("worker",)))
            self.change(SetUser("eve", HASH, ()))

    def send(
        self,
        payload: str,
        user: str = "",
        kind: RequestKind = "write",
        at: ReplicaDriver | None = None,
    ) -> Reply:
        """Send a request, and return its outcome."""
        driver = at or self.leader
        self._number += 1
        driver.step(ClientRequest(self._number, kind, payload, 1000, 500, user))
        self.cluster.settle()
        self.cluster.pass_time(60)
        return next(each for each in driver.replies if each.request_id == self._number)

    def change(self, command: AccessCommand, user: str = "root") -> None:
        """Change users, which succeeds."""
        reply = self.send(command_text(command), user, "access")
        assert reply.error is None

    def open_session(self, user: str) -> int:
        """Open a session."""
        reply = self.send(open_session_payload(10_000), user, "session")
        assert reply.result is not None
        return int(reply.result)

    def digests(self) -> list[str]:
        """The digest of users of each node."""
        return [driver.replica.access.digest for driver in self.cluster.alive()]

    def value(self, key: str, at: ReplicaDriver | None = None) -> object:
        """A register at a node."""
        machine = (at or self.leader).replica.machine
        return json.loads(machine.query(json.dumps({"op": "get", "key": key})))["value"]


def put(key: str, value: object = 1) -> str:
    return json.dumps({"op": "set", "key": key, "value": value})


def get(key: str) -> str:
    return json.dumps({"op": "get", "key": key})


def users(size: int = 3) -> Users:
    return Users(ReplicaCluster(size, rules=LATEST_RULES))


def test_everything_is_allowed_until_the_first_user() -> None:
    found = Users(ReplicaCluster(rules=LATEST_RULES), active=False)
    assert found.send(put("a")).error is None
    assert found.send(get("a"), kind="read").error is None
    found.change(SetUser("root", HASH, (ADMIN,)), "")
    for kind, payload in (("write", put("a", 2)), ("read", get("a")), ("stale_read", get("a"))):
        assert isinstance(found.send(payload, kind=kind).error, Unauthenticated)  # type: ignore[arg-type]  # the kinds above
    assert found.value("a") == 1


@pytest.mark.parametrize("kind", ["read", "lease_read", "follower_read", "stale_read"])
@pytest.mark.parametrize("node", [1, 2])
def test_reads_are_for_users_with_the_action(kind: RequestKind, node: int) -> None:
    found = users()
    at = found.cluster.drivers[node]
    for user in ("", "eve", "unknown"):
        reply = found.send(get("a"), user, kind, at)
        assert isinstance(reply.error, PermissionDenied if user else Unauthenticated)
        assert reply.result is None
    for user in ("ann", "root"):
        assert found.send(get("a"), user, kind, at).error is None


def test_entries_name_the_user_also_of_a_forwarded_request() -> None:
    found = users()
    follower = found.cluster.drivers[2]
    assert found.send(put("a"), "ann", at=follower).error is None
    assert found.send(put("a"), "root").error is None
    for driver in found.cluster.alive():
        entries = driver.disk.durable.entries
        assert [each.user for each in entries if each.kind == "command"] == ["ann", "root"]
        assert [each.user for each in entries if each.kind == "access"] == ["", *["root"] * 3]
    assert len({*found.digests()}) == 1


def test_a_request_without_permission_is_not_appended() -> None:
    found = users()
    last = found.leader.core.status().last_log_index
    follower = found.cluster.drivers[2]
    for at in (found.leader, follower):
        for user in ("", "eve", "unknown"):
            session = open_session_payload(1000)
            role = command_text(SetRole(Role("more")))
            for kind, payload in (("write", put("a")), ("session", session), ("access", role)):
                reply = found.send(payload, user, kind, at)  # type: ignore[arg-type]  # the kinds above
                assert isinstance(reply.error, PermissionDenied if user else Unauthenticated)
    assert found.leader.core.status().last_log_index == last
    assert isinstance(found.send("{}", "root", "access").error, QcoreError)
    assert found.leader.core.status().last_log_index == last


def test_a_name_that_no_user_can_have_is_not_appended() -> None:
    found = Users(ReplicaCluster(rules=LATEST_RULES), active=False)
    for name in ("a" * 65, "é"):
        assert isinstance(found.send(put("a"), name).error, PermissionDenied)
    assert found.value("a") is None


def test_a_command_behind_the_revocation_does_not_apply() -> None:
    """It was appended when its user still had the permission: only the check at its index can refuse it."""
    found = users()
    leader, last = found.leader, found.leader.core.status().last_log_index
    revoke = command_text(SetUser("ann", None, ()))
    leader.step(
        ClientRequest(901, "write", put("a", "before"), 1000, user="ann"),
        ClientRequest(902, "access", revoke, 1000, user="root"),
        ClientRequest(903, "write", put("a", "after"), 1000, user="ann"),
        ClientRequest(904, "session", open_session_payload(1000), 1000, user="ann"),
    )
    assert leader.core.status().last_log_index == last + 4
    found.cluster.settle()
    found.cluster.pass_time(100)
    outcomes = {each.request_id: each.error for each in leader.replies}
    assert outcomes[901] is outcomes[902] is None
    assert isinstance(outcomes[903], PermissionDenied)
    assert isinstance(outcomes[904], PermissionDenied)
    for driver in found.cluster.alive():
        assert found.value("a", driver) == "before"
        assert len(driver.replica.sessions) == 0


def test_a_stale_follower_cannot_let_a_revoked_user_write() -> None:
    found = users()
    follower = found.cluster.drivers[2]
    found.cluster.isolate(2)
    found.change(SetUser("ann", None, ()))
    follower.step(ClientRequest(950, "write", put("a"), 5000, user="ann"))
    assert follower.replica.access.denial("ann", "write") is None
    found.cluster.heal()
    found.cluster.pass_time(500)
    found.cluster.settle()
    assert found.value("a") is None
    assert found.value("a", follower) is None
    assert all(isinstance(each.error, QcoreError) for each in follower.replies)


def test_a_session_remembers_a_denial() -> None:
    found = users()
    session = found.open_session("ann")
    command = session_command_payload(session, 1, 0, put("a"))
    revoke = command_text(SetUser("ann", None, ()))
    found.leader.step(
        ClientRequest(901, "access", revoke, 1000, user="root"),
        ClientRequest(902, "session", command, 1000, user="ann"),
    )
    found.cluster.settle()
    found.change(SetUser("ann", None, ("worker",)))
    for driver in found.cluster.alive():
        driver.step(TriggerSnapshot())
    found.cluster.settle()
    found.cluster.restart(1)
    found.leader = found.cluster.elect(1)
    again = found.send(command, "ann", "session")
    assert isinstance(again.error, PermissionDenied)
    assert found.value("a") is None
    assert (
        found.send(session_command_payload(session, 2, 1, put("a")), "ann", "session").error is None
    )
    assert found.value("a") == 1


def test_a_session_is_only_for_its_user() -> None:
    found = Users(ReplicaCluster(rules=LATEST_RULES), active=False)
    early = found.open_session("")
    found.change(SetUser("root", HASH, (ADMIN,)), "")
    found.change(SetRole(Role("worker", ("read", "write"))))
    found.change(SetUser("ann", HASH, ("worker",)))
    secret = session_command_payload(found.open_session("ann"), 1, 0, get("a"))
    assert found.send(secret, "ann", "session").error is None
    assert isinstance(found.send(secret, "", "session").error, Unauthenticated)
    for payload, user in ((secret, "root"), (close_session_payload(early), "ann")):
        assert isinstance(found.send(payload, user, "session").error, SessionExpired)
    found.change(DeleteUser("ann"))
    found.change(SetUser("ann", HASH, ("worker",)))
    assert isinstance(found.send(secret, "ann", "session").error, SessionExpired)


def test_users_are_part_of_every_snapshot() -> None:
    found = users()
    session = found.open_session("ann")
    behind = found.cluster.drivers[3]
    found.cluster.isolate(3)
    found.change(SetRole(Role("more", ("observe",), (EntityRule("*", "*", "read"),), ("p",))))
    for number in range(8):
        assert found.send(put(f"k{number}"), "ann").error is None
    found.leader.step(TriggerSnapshot())
    found.cluster.settle()
    found.cluster.heal()
    found.cluster.pass_time(1000)
    assert behind.core.snapshot is not None
    assert len({*found.digests()}) == 1
    for driver in found.cluster.alive():
        driver.step(TriggerSnapshot())
    found.cluster.settle()
    found.cluster.restart(3)
    found.cluster.pass_time(100)
    assert len({*found.digests()}) == 1
    assert len(found.cluster.drivers[3].replica.sessions) == 1
    command = session_command_payload(session, 1, 0, put("a"))
    assert found.send(command, "ann", "session").error is None


def test_rules_4_have_no_users_and_the_same_entries() -> None:
    found = Users(ReplicaCluster(rules=4), active=False)
    command = command_text(SetUser("root", HASH, (ADMIN,)))
    assert isinstance(found.send(command, kind="access").error, ChangeRefused)
    assert found.send(put("a")).error is None
    assert found.leader.replica.versions.active.rules == 4
    outcome = apply_entry(
        Entry(9, 1, "access", command, 0),
        ChangeRecorder(found.leader.replica.machine),
        SessionTable(),
        found.leader.replica.versions,
        table := AccessTable(),
    )
    assert outcome[1] is not None
    assert not table.active
    found.leader.step(TriggerSnapshot())
    snapshot = found.leader.core.snapshot
    assert snapshot is not None
    assert str(snapshot.data).startswith('{"sessions":')


def test_nothing_of_a_user_is_written_without_one() -> None:
    entry = Entry(1, 1, "command", "x", 5, 6)
    codec = Codec({cls.__name__: cls for cls in PEER_REQUESTS})
    for message in (AppendEntries(1, 1, 0, 0, 0, [entry]), Forward(1, "write", "x", 5)):
        assert b"user" not in codec.encode(wrap_request("1", message))
    named = AppendEntries(1, 1, 0, 0, 0, [replace(entry, user="ann")])
    assert b'"user":"ann"' in codec.encode(wrap_request("1", named))


def test_watch_ends_with_the_permission_of_its_user() -> None:
    found = users()
    for number, user in ((901, "ann"), (902, "eve"), (903, ""), (904, "root")):
        found.leader.step(BeginWatch(number, number, "a", None, 1000, user))
    found.cluster.settle()
    outcomes = {each.request_id: each.error for each in found.leader.replies}
    assert [number for number in (901, 902, 903, 904) if outcomes[number] is None] == [901, 904]
    assert found.send(put("a"), "root").error is None
    found.change(SetUser("ann", None, ()))
    assert found.send(put("a", 2), "root").error is None
    seen = [(type(each), each.watch_id) for each in found.leader.notices]
    assert seen == [(Notice, 901), (Notice, 904), (WatchEnded, 901), (Notice, 904)]


def test_entity_store_gets_the_permissions_of_the_user() -> None:
    found = Users(ReplicaCluster(machine=EntityStore, rules=LATEST_RULES))
    follower = found.cluster.drivers[2]
    assert found.send(json.dumps({"SetSchema": {"entity_schema": OBJECT}}), "root").error is None
    create = {"entity_type": "Object", "parent_id": None, "name": "x"}
    made = found.send(json.dumps({"CreateEntity": create}), "root").result
    assert made is not None
    entity_id = json.loads(made)["CreateEntity"]["response"]
    ask = json.dumps({"UpdateEntity": {"request": [read(entity_id, "Name")]}})
    rename = json.dumps({"UpdateEntity": {"request": [write(entity_id, "Name", {"String": "y"})]}})
    found.change(
        SetRole(Role("worker", ("read", "write"), (EntityRule("Object", "Name", "read"),)))
    )
    for at in (found.leader, follower):
        assert '"error":null' in str(found.send(ask, "ann", "read", at).result)
        assert '"code":"PermissionDenied"' in str(found.send(rename, "ann", at=at).result)
    watch = {
        "EntityType": {
            "entity_type": "Object",
            "field_type": "Children",
            "trigger_on_change": True,
            "context": [],
        }
    }
    found.leader.step(BeginWatch(901, 901, json.dumps(watch), None, 1000, "ann"))
    found.cluster.settle()
    assert isinstance(found.leader.replies[-1].error, PermissionDenied)


def test_no_representation_holds_a_password_hash() -> None:
    secret = command_text(SetPassword("ann", HASH))
    entry = Entry(1, 1, "access", secret, 0, 0, "ann")
    meta = SnapshotMeta(1, 1, 0, Configuration(voters=(1,)))
    for value in (
        entry,
        ClientRequest(1, "access", secret, 1, user="ann"),
        PendingRequest(1, None, "access", secret, 1),
        Forward(1, "access", secret, 1),
        Propose([secret], 0, ["access"]),
        Send(1, AppendEntries(1, 1, 0, 0, 0, [entry]), 0),
        SnapshotTaken(1, HASH),
        Snapshot(meta, HASH),
        InstallSnapshot(1, 1, 1, 1, 0, meta.membership, 0, 9, 0, HASH, 0),
    ):
        assert "argon2id" not in repr(value)
        assert "argon2id" not in str(value)


def test_an_error_while_applying_shows_no_password_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    found = users()

    def fail(*_: object) -> None:
        raise ValueError("broken")

    monkeypatch.setattr(AccessTable, "apply", fail)
    replica = found.leader.replica
    versions: Versions = replica.versions
    entry = Entry(9, 1, "access", command_text(SetPassword("ann", HASH)), 0)
    with pytest.raises(StateMachineFailed) as caught:
        apply_entry(
            entry, ChangeRecorder(replica.machine), replica.sessions, versions, replica.access
        )
    assert "argon2id" not in str(caught.value)
    assert "(hidden)" in str(caught.value)
