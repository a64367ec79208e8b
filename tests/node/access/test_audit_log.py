"""The audit log: one line for each request that ends, with its outcome; lines that repeat are counted.

And logins that fail: a metric, and lines in the log of the node.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
import time
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect

from qcore.client.client import Client
from qcore.errors import (
    ChangeRefused,
    NotLeader,
    OutcomeUnknown,
    PermissionDenied,
    QcoreError,
    StorageError,
    Unauthenticated,
)
from qcore.node.access.audit.audit_log import AUDIT_KEYS, AuditLog
from qcore.node.access.audit.audited_request import AUDITED_MESSAGES, what_of
from qcore.node.access.audit.repeated_records import INTERVAL_S, MAX_KINDS
from qcore.node.node import Node
from qcore.node.peers.node_key_file import load_key
from qcore.security.users.token import TokenClaims, sign_token
from qcore.transport.wire import users as users_wire
from qcore.transport.wire.users import RuleInfo
from tests.checkout import CHECKOUT
from tests.node.access.test_http_basic import basic
from tests.node.embedded.embedded_nodes import config_of
from tests.process.support.wire_client import string_schema
from tests.transport.support.endpoints import async_test

PASSWORD = "correct horse battery"
STRANGER = "192.0.2.7:5000"


@dataclass
class Lines:
    """An audit log in memory, and its clock."""

    now: float = 1000.0
    texts: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.log = AuditLog(self, lambda: int(self.now * 1e6), lambda: self.now)

    def put(self, lines: bytes) -> None:
        """See `LineSink`."""
        self.texts.append(lines)

    def take(self) -> list[dict[str, Any]]:
        """The lines since the last call."""
        taken, self.texts = [json.loads(each) for each in self.texts], []
        return taken


def test_repeated_refusals_are_counted_in_a_summary() -> None:
    lines = Lines()
    for number in range(38):
        error = PermissionDenied("it needs the action `manage`")
        lines.log.ended(f"192.0.2.7:{number}", "bob", "ChangeMembership", "voters [1]", None, error)
    (first,) = lines.take()
    assert (first["user"], first["outcome"], first["error"]) == (
        "bob",
        "refused",
        "PermissionDenied",
    )
    lines.log.tick()
    assert lines.take() == []
    lines.now += INTERVAL_S
    lines.log.tick()
    (summary,) = lines.take()
    assert (summary["more"], summary["seconds"], summary["user"]) == (37, 60, "bob")
    assert summary["remote"] == "192.0.2.7"
    lines.now += INTERVAL_S
    lines.log.tick()  # nothing came, so the next one is written again
    lines.log.ended(STRANGER, "bob", "ChangeMembership", "voters [1]", None, error)
    assert [line["remote"] for line in lines.take()] == [STRANGER]
    lines.log.ended(STRANGER, "bob", "ChangeMembership", "voters [2]", None, error)
    lines.log.tick(at_end=True)
    (summary,) = lines.take()
    assert (summary["more"], summary["what"]) == (1, "")


def test_many_strangers_cannot_fill_the_log_and_all_count() -> None:
    lines = Lines()
    for number in range(1000):
        remote = f"192.0.{number // 200}.{number % 200}:1"
        lines.log.login(remote, f"eve{number}", "password", Unauthenticated("wrong"))
    lines.log.tick(at_end=True)
    found = lines.take()
    assert len(found) <= MAX_KINDS + 2
    written = sum("more" not in line for line in found)
    assert written + sum(line.get("more", 0) for line in found) == 1000


def test_what_the_log_holds_is_written_every_time() -> None:
    lines = Lines()
    for index in range(5, 45):
        lines.log.ended(STRANGER, "root", "SetUser", "ann; password", index, None)
    assert [line["index"] for line in lines.take()] == [*range(5, 45)]


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (None, "done"),
        (ChangeRefused("pending", "another change is in progress"), "refused"),
        (NotLeader(), "refused"),
        (StorageError("the disk is gone"), "failed"),
        (OutcomeUnknown("no answer in time"), "unknown"),
    ],
)
def test_the_outcome_of_a_request(error: QcoreError | None, outcome: str) -> None:
    lines = Lines()
    lines.log.ended(STRANGER, "root", "TransferLeader", "to node 2", None, error)
    (line,) = lines.take()
    assert line["outcome"] == outcome
    assert line["error"] == (None if error is None else error.code)
    assert line["why"] == ("" if error is None else str(error))


def test_a_node_that_names_the_leader_writes_no_line() -> None:
    lines = Lines()
    lines.log.ended(STRANGER, "root", "TransferLeader", "", None, NotLeader(2, "b:1"))
    assert lines.take() == []


def test_what_changes_is_named_and_no_secret() -> None:
    user = users_wire.SetUser("1", "ann", PASSWORD, ["reader", "writer"], "old password")
    assert what_of(user) == "ann; roles [reader, writer]; password"
    assert what_of(users_wire.SetUser("1", "ann", PASSWORD)) == "ann; password"
    role = users_wire.SetRole("1", "reader", ["read"], [RuleInfo("*", "*", "read")], ["calibrate"])
    assert what_of(role) == "reader; actions [read]; rules [read *.*]; permissions [calibrate]"
    role = users_wire.SetRole("1", "r", permissions=["p"] * 1000)
    assert len(what_of(role)) < 200
    assert {"SetUser", "CreateToken", "ChangeMembership", "ReadSnapshot"} <= AUDITED_MESSAGES
    assert not AUDITED_MESSAGES & {"Perform", "GetMetrics", "OpenSession", "StoreRead"}


def test_the_document_has_the_keys_of_a_line() -> None:
    text = (CHECKOUT / "docs" / "security.md").read_text()
    table = text.partition("| key of a line | meaning |")[2].partition("\n\n")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", table, re.MULTILINE))
    assert rows == AUDIT_KEYS
    lines = Lines()
    for _ in range(2):
        lines.log.refused(STRANGER, "", "GET", Unauthenticated("no user"))
    lines.log.tick(at_end=True)
    first, summary = lines.take()
    assert [*summary] == [*AUDIT_KEYS]
    assert [*first] == [key for key in AUDIT_KEYS if key not in ("more", "seconds")]


@asynccontextmanager
async def audited_node(folder: Path) -> AsyncIterator[tuple[Node, Client]]:
    """A node with the entity store, an audit log, and `root`; and a client of that user."""
    config = config_of(1, folder, machine="entity", audit_log=folder / "audit.jsonl")
    async with Node(config) as node:
        await node.client.init()
        await node.client.set_user("root", password=PASSWORD, roles=["admin"])
        async with Client([node.address], user="root", password=PASSWORD) as root:
            yield node, root


def lines_of(folder: Path) -> list[dict[str, Any]]:
    """The lines, once the node has stopped."""
    return [json.loads(line) for line in (folder / "audit.jsonl").read_text().splitlines()]


@async_test
async def test_requests_of_a_node_with_their_outcomes(tmp_path: Path) -> None:
    async with audited_node(tmp_path) as (node, root):
        await root.set_schema(string_schema("User", "Phone"))
        rules = [RuleInfo("*", "*", "read")]
        await root.set_role("reader", actions=["read", "write"], rules=rules)
        await root.set_user("bob", password=PASSWORD, roles=["reader"])
        ada = await root.create_entity("User", "ada")
        async with Client([node.address], user="bob", password=PASSWORD) as bob:
            await bob.read(ada, "Phone")
            with pytest.raises(PermissionDenied):
                await bob.write(ada, "Phone", "1")
            with pytest.raises(PermissionDenied):
                await bob.get_metrics()
            with pytest.raises(PermissionDenied):
                await bob.set_role("reader", actions=["users"])
        with pytest.raises(ChangeRefused):
            await root.change_membership([1, 2])
        await root.delete_user("bob")
        key, claims = load_key(tmp_path / "node1"), _recovery_claims()
        cluster_id = (await root.get_metrics())["qcore"]["cluster_id"]
        assert key is not None
        assert cluster_id is not None
        token = sign_token(key, cluster_id, claims)
        async with Client([node.address], token=token) as recovered:
            await recovered.list_users()
    found = lines_of(tmp_path)
    by_action = {line["action"]: line for line in found}
    assert {line["outcome"] for line in found} == {"done", "refused"}
    assert by_action["Init"]["index"] >= 1
    assert (by_action["DeleteUser"]["what"], by_action["DeleteUser"]["user"]) == ("bob", "root")
    assert by_action["DeleteUser"]["index"] > by_action["Init"]["index"]
    assert by_action["ChangeMembership"]["error"] == "ChangeRefused"
    denied = [line for line in found if line["error"] == "PermissionDenied"]
    assert [(line["user"], line["action"]) for line in denied] == [
        ("bob", "write"),
        ("bob", "GetMetrics"),
        ("bob", "SetRole"),
    ]
    assert "Phone" in denied[0]["why"]
    assert denied[2]["what"].startswith("reader; actions [users]")
    assert not any(line["action"] == "read" for line in found)
    logins = [(line["user"], line["what"]) for line in found if line["action"] == "login"]
    assert ("bob", "password") in logins
    assert ("root", "recovery token") in logins
    assert PASSWORD not in (tmp_path / "audit.jsonl").read_text()


def _recovery_claims() -> TokenClaims:
    now_us = int(time.time()) * 1_000_000
    return TokenClaims("root", 0, 1, "x", now_us, now_us + 900_000_000, is_recovery=True)


@async_test
async def test_a_request_that_the_stop_ends_has_a_line(tmp_path: Path) -> None:
    async with audited_node(tmp_path) as (node, root):
        token = (await root.create_token()).token
        headers = {"Authorization": f"Bearer {token}"}
        async with connect(f"ws://{node.address}", additional_headers=headers) as client:
            # No node answers there, so the request waits until the node stops.
            await client.send(
                '{"AddLearner":{"id":"1","node_id":2,"node_addr":"127.0.0.1:9","public_key":"ed25519:%s"}}'
                % ("A" * 43)
            )
            await client.send('{"WhoAmI":{"id":"2"}}')
            await client.recv()
            await node.stop()
    line = next(each for each in lines_of(tmp_path) if each["action"] == "AddLearner")
    assert (line["outcome"], line["what"]) == ("unknown", "node 2=127.0.0.1:9")


@async_test
async def test_failed_logins_are_counted_by_reason_and_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "qcore.node")
    async with audited_node(tmp_path) as (node, _):
        headers = [basic("root", f"wrong {number}") for number in range(3)]
        headers += ["Bearer x.y.z", "Digest x"]
        for header in headers:
            with contextlib.suppress(urllib.error.HTTPError):
                await asyncio.to_thread(page, node.address, header)
        text = await asyncio.to_thread(page, node.address, basic("root", PASSWORD))
    for reason, number in (("password", 3), ("token", 1), ("header", 1), ("throttled", 0)):
        assert f'qcore_failed_logins_total{{reason="{reason}"}} {number}.0' in text
    logged = [line for line in caplog.messages if "login failed" in line]
    assert len(logged) == 4, "the first of each kind, and the number of the others"
    assert "user=root remote=127.0.0.1:" in logged[0]
    assert "remote=127.0.0.1 reason=password more=2 seconds=" in logged[3]
    assert "wrong 0" not in caplog.text
    failed = [line for line in lines_of(tmp_path) if line["action"] == "login" and line["error"]]
    assert [line["what"] for line in failed] == ["password", "token", "header", "password"]
    assert failed[3]["more"] == 2


def page(address: str, authorization: str) -> str:
    request = urllib.request.Request(f"http://{address}/metrics")
    request.add_header("Authorization", authorization)
    with urllib.request.urlopen(request, timeout=20) as response:
        text: str = response.read().decode()
    return text
