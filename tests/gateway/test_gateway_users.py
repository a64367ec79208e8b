"""Users and tokens at gateways in front of a cluster that has users."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from qcore.testing import LocalCluster
from tests.gateway.etcd_client import EtcdClient, b64
from tests.gateway.started_gateway import Started, started

pytestmark = pytest.mark.process

PASSWORD = "a long secret of the tests"


@pytest.fixture(scope="module")
def gateways(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Started, Started]]:
    """Two gateways: one without a user, one that acts as `reader`."""
    directory = tmp_path_factory.mktemp("users")
    secret = directory / "password"
    secret.write_text(PASSWORD)
    secret.chmod(0o600)
    with LocalCluster(1, machine="kv") as cluster:
        with cluster.sync_client() as client:
            client.set_user("root", password=PASSWORD, roles=["admin"])
        cluster.sign_in("root", PASSWORD)
        with cluster.sync_client() as client:
            client.set_role("reader", actions=["read", "observe"])
            client.set_role("writer", actions=["read", "write"])
            client.set_user("reader", password=PASSWORD, roles=["reader"])
            client.set_user("writer", password=PASSWORD, roles=["writer"])
        options = ("--user", "reader", "--password-file", str(secret))
        with (
            started(directory, cluster.endpoints, name="plain") as plain,
            started(directory, cluster.endpoints, *options, name="reader") as reader,
        ):
            yield plain, reader


def log_in(gateway: Started, name: str) -> str:
    """The token that a gateway gives to a user."""
    answer = EtcdClient(gateway.address).post(
        "/v3/auth/authenticate", {"name": name, "password": PASSWORD}
    )
    assert answer.status == 200, answer
    return str(answer.body["token"])


def error_of(code: int, text: str) -> dict[str, object]:
    """An error as etcd's gateway has it."""
    return {"error": text, "message": text, "code": code}


def test_any_gateway_takes_the_token_of_another(gateways: tuple[Started, Started]) -> None:
    plain, reader = gateways
    token = log_in(plain, "writer")
    for gateway, given in ((plain, token), (reader, token), (reader, f"Bearer {token}")):
        client = EtcdClient(gateway.address, token=given)
        client.put("a")
        assert client.ok("/v3/lease/grant", TTL=60)["TTL"] == "60"
        with client.stream("/v3/watch", {"create_request": {"key": b64("a")}}) as stream:
            assert stream.result() == {"created": True}


def test_permissions_are_those_of_the_token(gateways: tuple[Started, Started]) -> None:
    plain, _ = gateways
    client = EtcdClient(plain.address, token=log_in(plain, "reader"))
    assert client.post("/v3/kv/range", {"key": b64("a")}).status == 200
    expected = (403, error_of(7, "etcdserver: permission denied"))
    assert client.post("/v3/kv/put", {"key": b64("a")}) == expected
    transaction = {"success": [{"request_put": {"key": b64("a")}}]}
    assert client.post("/v3/kv/txn", transaction) == expected
    # Neither this user nor the gateway, which has none, may read the numbers of the leader.
    writer = EtcdClient(plain.address, token=log_in(plain, "writer"))
    assert writer.post("/v3/maintenance/status", {}).status == 403


def test_without_a_token_a_request_is_that_of_the_gateway(
    gateways: tuple[Started, Started],
) -> None:
    plain, reader = gateways
    request = {"key": b64("a")}
    empty = (400, error_of(3, "etcdserver: user name is empty"))
    assert EtcdClient(plain.address).post("/v3/kv/range", request) == empty
    client = EtcdClient(reader.address)
    assert client.post("/v3/kv/range", request).status == 200
    assert client.post("/v3/kv/put", request).status == 403
    status = client.ok("/v3/maintenance/status")
    assert int(status["raftTerm"]) > 0
    for gateway in gateways:
        assert EtcdClient(gateway.address).get("/health") == (200, '{"health":"true"}')


def test_a_wrong_password_or_token_is_refused(gateways: tuple[Started, Started]) -> None:
    plain, _ = gateways
    client = EtcdClient(plain.address, token="no token")
    invalid = (401, error_of(16, "etcdserver: invalid auth token"))
    assert client.post("/v3/kv/range", {"key": b64("a")}) == invalid
    assert client.post("/v3/watch", {"create_request": {"key": b64("a")}}) == invalid
    client.token = "x" * 5000
    assert client.post("/v3/kv/range", {"key": b64("a")}) == invalid
    client.token = None
    text = "etcdserver: authentication failed, invalid user ID or password"
    wrong = {"name": "writer", "password": "wrong"}
    assert client.post("/v3/auth/authenticate", wrong) == (400, error_of(3, text))


def test_secrets_do_not_reach_the_log(gateways: tuple[Started, Started]) -> None:
    token = log_in(gateways[0], "writer")
    for gateway in gateways:
        assert PASSWORD not in gateway.text
        assert token not in gateway.text
