"""Three real nodes with users: what strangers, users and administrators get, on every node, over sockets and HTTP."""

from __future__ import annotations

import base64
import http.client
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from qcore.client import SyncClient
from qcore.errors import AccessRefused, PermissionDenied, Refused, Unauthenticated
from qcore.processes import ProcessCluster, wait_for
from qcore.transport.wire.users import RuleInfo
from tests.process.conftest import ARGUMENTS, assert_no_traceback, initialise
from tests.process.support.commands import run_here
from tests.process.support.wire_client import WireClient, string_schema

PASSWORD: Final = "correct horse battery"
SECRET: Final = "bobs own secret"
AUDIT: Final = "audit.jsonl"


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("users")


@pytest.fixture(scope="module")
def nodes(directory: Path) -> Iterator[ProcessCluster]:
    """A cluster with the users `root` (admin), and `bob`, who may read everything and write `User.Phone`."""
    options = ("--audit-log", str(directory / AUDIT), "--log-level", "debug")
    with ProcessCluster(directory, size=3, arguments=(*ARGUMENTS, *options)) as cluster:
        cluster.start()
        initialise(cluster)
        with WireClient(cluster.endpoints[1]) as early_client:  # off until the first user
            early_client.perform("SetSchema", entity_schema=string_schema("User", "Email", "Phone"))
            assert early_client.ask("WhoAmI")["Ok"]["users_exist"] is False
            early = early_client.ask("Authenticate", user="root", password=PASSWORD)
            assert "has no users" in early["Err"]
            with SyncClient(cluster.endpoints) as client:
                with pytest.raises(AccessRefused, match="first user needs the role"):
                    client.set_user("bob", password=PASSWORD, roles=[])
                with pytest.raises(AccessRefused, match="there are no users"):
                    client.set_user("root", password=PASSWORD)
                words = ("user", "add", "root", "--role", "admin", "--no-password")
                refused_add = run_here(*words, "--endpoints", cluster.endpoints[0])
                assert (refused_add.code, client.list_users()) == (2, [])
                assert "Give the first user a password" in refused_add.stderr
                client.set_user("root", password=PASSWORD, roles=["admin"])
            wait_refused(early_client)
        with SyncClient(cluster.endpoints, user="root", password=PASSWORD) as root:
            rules = [RuleInfo("*", "*", "read"), RuleInfo("User", "Phone", "write")]
            root.set_role("reader", actions=["read", "write", "observe"], rules=rules)
            root.set_user("bob", password=SECRET, roles=["reader"])
            root.create_entity("User", "ada")
        for address in cluster.endpoints:
            wait_page(address, basic("bob", SECRET))
        yield cluster
    assert_no_traceback(cluster)


@pytest.fixture(scope="module")
def root(nodes: ProcessCluster) -> Iterator[SyncClient]:
    with SyncClient(nodes.endpoints, user="root", password=PASSWORD) as client:
        yield client


def refused(client: WireClient) -> str | None:
    """The code of the refusal of a `GetMetrics`, or None."""
    _, value = client.exchange({"GetMetrics": {"id": "1"}})
    return value["detail"]["code"] if "error" in value else None


def page(address: str, path: str, authorization: str | None = None) -> tuple[int, str]:
    """Status and text of an HTTP page."""
    host, port = address.split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=20)
    headers = {} if authorization is None else {"Authorization": authorization}
    connection.request("GET", path, headers=headers)
    response = connection.getresponse()
    return response.status, response.read().decode()


def wait_page(address: str, authorization: str) -> None:
    """Wait until the node shows `/status` to this user."""
    wait_for(lambda: page(address, "/status", authorization)[0] == 200, 60, f"user at {address}")


def wait_accepted(client: WireClient) -> None:
    """Wait until the node knows the connection's user."""
    wait_for(lambda: refused(client) is None, 60, "the user at this node")


def wait_refused(client: WireClient) -> None:
    """Wait until the connection has lost its rights."""
    wait_for(lambda: refused(client) == "Unauthenticated", 60, "the end of the rights")


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def test_a_stranger_gets_nothing_from_any_node(nodes: ProcessCluster) -> None:
    requests: list[tuple[str, dict[str, Any]]] = [
        ("Perform", {"request": {"GetSchema": {"entity_type": "User"}}}),
        ("GetEntityTypes", {}),
        ("GetMetrics", {}),
        ("Init", {"nodes": []}),
        ("AddLearner", {"node_id": 9, "node_addr": "127.0.0.1:1"}),
        ("AddJoinToken", {"token_id": "x", "public_key": "ed25519:" + "A" * 43}),
        ("ListJoinTokens", {}),
        ("DeleteJoinToken", {"token_id": "x"}),
        ("ChangeMembership", {"members": [1]}),
        ("MoveMember", {"node_id": 1, "node_addr": "127.0.0.1:1"}),
        ("TransferLeader", {}),
        ("UpgradeMachine", {}),
        ("SaveSnapshot", {}),
        ("ReadSnapshot", {"last_included_index": 1, "offset": 0}),
        ("OpenSession", {"lifetime_ms": 1000}),
        ("RegisterNotification", {"config": {}}),
        ("SetUser", {"name": "eve", "password": PASSWORD, "roles": ["admin"]}),
        ("DeleteUser", {"name": "root"}),
        ("SetRole", {"name": "reader", "actions": ["users"]}),
        ("ListUsers", {}),
        ("CreateToken", {"user": "root"}),
        ("RevokeTokens", {"name": "root"}),
    ]
    for address in nodes.endpoints:
        with WireClient(address) as stranger:
            for name, fields in requests:
                _, value = stranger.exchange({name: {"id": "1", **fields}})
                code = value.get("detail", {}).get("code")
                assert code in ("Unauthenticated", "RemoteProtocolError"), (name, value)
                assert "response" not in value, (name, value)


def test_pages_need_a_user_except_for_probes(nodes: ProcessCluster, root: SyncClient) -> None:
    token = root.create_token("bob").token
    for address in nodes.endpoints:
        assert page(address, "/livez")[0] == 200
        assert page(address, "/readyz")[0] == 200
        for path in ("/status", "/metrics", "/nothing"):
            assert page(address, path)[0] == 401
        assert page(address, "/status", basic("bob", SECRET))[0] == 200
        assert page(address, "/status", basic("bob", "wrong"))[0] == 401
        assert page(address, "/metrics", f"Bearer {token}")[0] == 200
        assert page(address, "/metrics", f"Bearer {token}x")[0] == 401
        assert page(address, "/metrics", "Digest x")[0] == 401


def test_only_an_admin_makes_join_tokens(nodes: ProcessCluster, root: SyncClient) -> None:
    root.set_role("manager", actions=["observe", "read", "write", "manage", "users"])
    root.set_user("mia", password=SECRET, roles=["manager"])
    with SyncClient(nodes.endpoints, user="mia", password=SECRET) as mia:
        for ask in (mia.create_join_token, lambda: mia.add_learner(9, "127.0.0.1:1")):
            with pytest.raises(PermissionDenied):
                ask()
        token = root.create_join_token()
        assert [each.token_id for each in mia.list_join_tokens()] == [token.token_id]
        mia.delete_join_token(token.token_id)
        assert root.list_join_tokens() == []


def test_a_user_gets_what_its_roles_give(nodes: ProcessCluster, tmp_path: Path) -> None:
    for address in nodes.endpoints:
        with SyncClient([address], user="bob", password=SECRET) as bob:
            (ada,) = bob.find_entities("User").items
            bob.write(ada, "Phone", "1")
            assert bob.read(ada, "Phone") == "1"
            with pytest.raises(PermissionDenied):
                bob.write(ada, "Email", "x")
            with pytest.raises(PermissionDenied):
                bob.delete_entity(ada)
            with pytest.raises(PermissionDenied):
                bob.transfer_leader()
            with pytest.raises(PermissionDenied):
                bob.list_users()
            with pytest.raises(PermissionDenied):
                bob.set_user("bob", roles=["admin"])
            with pytest.raises(PermissionDenied):
                bob.create_token("root")
            with pytest.raises(PermissionDenied):
                bob.save_snapshot(tmp_path / "copy")
            assert bob.who_am_i().roles == ["reader"]
            assert bob.get_metrics()["id"] in (1, 2, 3)


def test_a_browser_authenticates_with_a_message(nodes: ProcessCluster) -> None:
    for address in nodes.endpoints:
        with WireClient(address) as browser:
            wrong = browser.ask("Authenticate", user="bob", password="wrong password")
            unknown = browser.ask("Authenticate", user="unknown", password="wrong password")
            assert wrong == unknown
            assert refused(browser) == "Unauthenticated"
            token = browser.ask("Authenticate", user="bob", password=SECRET)["Ok"]["token"]
            assert refused(browser) is None
        with WireClient(address) as browser:
            assert browser.ask("Authenticate", token=token)["Ok"]["user"] == "bob"
            assert browser.ask("WhoAmI")["Ok"]["user"] == "bob"


def test_open_connections_lose_their_rights(nodes: ProcessCluster, root: SyncClient) -> None:
    root.set_user("carl", roles=["reader"])
    token = root.create_token("carl").token
    with WireClient(nodes.endpoints[0]) as one, WireClient(nodes.endpoints[2]) as two:
        for client in (one, two):
            client.ask("Authenticate", token=token)
            wait_accepted(client)
        config = {
            "entity_type": "User",
            "field_type": "Email",
            "trigger_on_change": True,
            "context": [],
        }
        assert "Ok" in two.ask("StoreRegisterNotification", config={"EntityType": config})
        root.revoke_tokens("carl")
        # A watch ends although no change comes that its user may not see any more.
        ended = two.receive()["Error"]
        assert ended["detail"]["code"] == "Unauthenticated", ended
        for client in (one, two):
            wait_refused(client)
            assert "Err" in client.ask("Authenticate", token=token)
        fresh = root.create_token("carl").token
        assert "Ok" in one.ask("Authenticate", token=fresh)
        wait_accepted(one)
        root.delete_user("carl")
        wait_refused(one)
        root.set_user("carl", roles=["admin"])
        assert refused(one) == "Unauthenticated"  # another user with the same name
        root.delete_user("carl")


def test_rights_end_with_the_token(nodes: ProcessCluster, root: SyncClient) -> None:
    token = root.create_token("bob", ttl_s=1).token
    with WireClient(nodes.endpoints[1]) as client:
        assert client.ask("Authenticate", token=token)["Ok"]["expires_s"] <= 2
        wait_refused(client)
        assert "expired" in client.ask("Authenticate", token=token)["Err"]


def test_users_change_their_own_password(nodes: ProcessCluster, root: SyncClient) -> None:
    root.set_user("dora", password="the first secret", roles=[])
    with pytest.raises(AccessRefused, match=r'no user "dorra": .*`qcore user add`'):
        root.set_user("dorra", password="a mistyped name")
    with pytest.raises(Refused, match="a new user needs `roles`"):
        root.set_user("dorra")
    assert "dorra" not in [user.name for user in root.list_users()]
    with SyncClient(nodes.endpoints, user="dora", password="the first secret") as dora:
        with pytest.raises(Unauthenticated, match="old password"):
            dora.set_user("dora", password="another secret")
        with pytest.raises(Unauthenticated):
            dora.set_user("dora", password="another secret", old_password="wrong")
        with pytest.raises(PermissionDenied):
            dora.set_user("root", password="another secret", old_password="the first secret")
        dora.set_user("dora", password="another secret", old_password="the first secret")
        with pytest.raises(Unauthenticated):
            dora.set_user("dora", password="third secret", old_password="another secret")
    with SyncClient(nodes.endpoints, user="dora", password="another secret") as dora:
        assert dora.who_am_i().user == "dora"
    root.delete_user("dora")


def test_a_lost_password_is_replaced_offline(
    nodes: ProcessCluster, root: SyncClient, tmp_path: Path
) -> None:
    """The token is made without the cluster, so a revocation does not end it."""
    node = next(each for each in nodes.nodes.values() if each.address != nodes.endpoints[0])
    root.set_user("carol", password=PASSWORD, roles=["admin"])
    done = run_here("token", "recover", "--data-dir", str(node.data_dir), "--as", "carol")
    assert done.code == 0, done.stderr
    token = tmp_path / "token"
    token.write_text(done.stdout)
    options = ("--token-file", str(token), "--endpoints", ",".join(nodes.endpoints))
    root.revoke_tokens("carol")
    listed = run_here("user", "list", "-o", "json", *options)
    assert listed.code == 0, listed.stderr
    assert "root" in [each["name"] for each in json.loads(listed.stdout)]
    stranger = run_here("user", "list", "--endpoints", nodes.endpoints[0])
    assert stranger.code == 4
    assert "give --token-file FILE, or --user" in stranger.stderr


def test_a_node_that_is_cut_off_gives_no_copies_of_the_state(
    nodes: ProcessCluster, root: SyncClient, tmp_path: Path
) -> None:
    """It does not learn of revocations: who has a revoked token of an administrator would get everything there.

    It shows the members only to those who may observe.
    """
    root.set_role("plain", actions=["read", "write"])
    root.set_user("eve", password=PASSWORD, roles=["plain"])
    for user in ("eve", "bob"):
        (tmp_path / user).write_text(root.create_token(user).token)
    token = root.create_token("root").token
    leader = root.get_metrics()["current_leader"]
    alone = next(node for node in nodes.nodes.values() if node.node_id != leader)
    wait_for(lambda: page(alone.address, "/status", basic("eve", PASSWORD))[0] == 403, 60, "eve")
    others = [node for node in nodes.nodes.values() if node is not alone]
    recovery = run_here("token", "recover", "--data-dir", str(alone.data_dir)).stdout.strip()
    copy = {"SaveSnapshot": {"id": "1", "stale": True}}
    with WireClient(alone.address) as thief, WireClient(alone.address) as operator:
        thief.ask("Authenticate", token=token)
        operator.ask("Authenticate", token=recovery)
        assert "response" in thief.exchange(copy)[1]
        for node in others:
            node.pause()
        wait_for(lambda: "error" in thief.exchange(copy)[1], 60, "the end of the contact")
        for name in ("ListJoinTokens", "ListUsers", "SaveSnapshot", "TransferLeader"):
            detail = thief.exchange({name: {"id": "1"}})[1]["detail"]
            assert detail["code"] == "Overloaded", name
        assert "response" in thief.exchange({"GetMetrics": {"id": "1"}})[1]
        listed = {
            user: run_here(
                *("member", "list", "--endpoints", alone.address, "--timeout", "2"),
                *(() if user is None else ("--token-file", str(tmp_path / user))),
            )
            for user in ("bob", "eve", None)
        }
        assert {user: done.code for user, done in listed.items()} == {"bob": 0, "eve": 4, None: 4}
        assert "no leader answers: this is the configuration of index" in listed["bob"].stderr
        assert "it needs the action `observe`" in listed["eve"].stderr
        assert (listed["eve"].stdout, listed[None].stdout) == ("", "")
        assert "response" in operator.exchange(copy)[1]
        for node in others:
            node.resume()
        wait_for(lambda: "response" in thief.exchange(copy)[1], 60, "contact")
    root.get_metrics()


def test_no_secret_reaches_logs_or_the_log(
    nodes: ProcessCluster, root: SyncClient, directory: Path
) -> None:
    token = root.create_token("bob").token
    with SyncClient(nodes.endpoints, token=token) as bob:
        bob.who_am_i()
    audit = directory / AUDIT
    wait_for(lambda: "CreateToken" in audit.read_text(), 60, "a line of the audit log")
    time.sleep(0.05)
    lines = [json.loads(line) for line in audit.read_text().splitlines()]
    assert {"login", "SetUser", "SetRole", "CreateToken"} <= {line["action"] for line in lines}
    made = [
        line
        for line in lines
        if line["action"] == "SetUser" and line["what"].startswith("bob;") and line["user"] != "bob"
    ]
    assert [(line["user"], line["outcome"], line["error"]) for line in made] == [
        ("", "refused", "AccessRefused"),
        ("root", "done", None),
    ]
    assert made[1]["what"] == "bob; roles [reader]; password"
    assert made[1]["index"] > 1
    assert any(line["error"] == "PermissionDenied" for line in lines)
    assert audit.stat().st_mode & 0o077 == 0
    texts = {node.node_id: node.log_text() for node in nodes.nodes.values()}
    for text in (audit.read_text(), *texts.values()):
        for secret in (PASSWORD, SECRET, token, token.split(".")[2], "$argon2id$"):
            assert secret not in text
    for node in nodes.nodes.values():
        shown = run_here("log", "show", "--data-dir", str(node.data_dir)).stdout
        for secret in (PASSWORD, SECRET, token):
            assert secret not in shown
