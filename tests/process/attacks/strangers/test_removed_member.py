"""A member was removed and its data directory stolen: its key, and the tokens signed with it, are worth nothing."""

from __future__ import annotations

import time

import pytest

from qcore.client import SyncClient
from qcore.node.peers.node_key_file import load_key
from qcore.processes import ProcessCluster, wait_for
from qcore.security.users.token import TokenClaims, sign_token
from tests.process.attacks.strangers.stranger import ROOT_PASSWORD, Stranger, error_code
from tests.process.support.raw_peer import connect_as, hello_of

pytestmark = [pytest.mark.process, pytest.mark.long]


def _read(address: str, token: str) -> str:
    """What the token gives at a node: the code of the error, or `ok`."""
    with Stranger(address, None, f"Authorization: Bearer {token}") as thief:
        if thief.status != 101:
            return str(thief.status)
        return error_code(thief.exchange({"GetMetrics": {"id": "1"}}))


def _login(address: str) -> str | None:
    """A token by the password of root; None while the node has not applied the first user."""
    login = {"id": "1", "user": "root", "password": ROOT_PASSWORD}
    with Stranger(address, None) as browser:
        answer = browser.exchange({"Authenticate": login})
    if error_code(answer) == "AccessRefused":
        return None  # `no_users`
    token: str = answer[1]["response"]["Ok"]["token"]
    return token


def test_a_removed_member_signs_no_tokens(ready_cluster: ProcessCluster) -> None:
    cluster = ready_cluster
    leader = cluster.wait_leader()
    cluster_id: str = leader.status()["qcore"]["cluster_id"]
    victim = next(node for node in cluster.nodes.values() if node is not leader)
    key = load_key(victim.data_dir)
    assert key is not None
    with SyncClient(cluster.endpoints) as first:
        first.set_user("root", password=ROOT_PASSWORD, roles=["admin"])
    with SyncClient(cluster.endpoints, user="root", password=ROOT_PASSWORD) as root:
        (user,) = root.list_users()
        life_us = 3_600_000_000  # the cluster clock began just now
        claims = TokenClaims("root", user.epoch, victim.node_id, "x", 0, life_us)
        token = sign_token(key, cluster_id, claims)
        issued = wait_for(lambda: _login(victim.address), 60, "the first user at each node")
        assert _read(leader.address, token) == "ok", "a member signs tokens"
        assert _read(leader.address, issued) == "ok"
        with Stranger(leader.address, None, f"Authorization: Bearer {token}") as thief:
            others = sorted({*cluster.nodes} - {victim.node_id})
            root.change_membership(others, learners=[])
            wait_for(lambda: _read(leader.address, token) == "401", 60, "the end of the token")
            assert _read(leader.address, issued) == "401"
            assert error_code(thief.exchange({"GetMetrics": {"id": "1"}})) == "Unauthenticated"
        victim.kill()
        time.sleep(0.1)
        with Stranger(leader.address, None) as thief:
            hello = hello_of(victim.node_id, cluster_id, key, membership_index=10**9)
            assert "Err" in connect_as(thief, hello, key)
        root.who_am_i()
