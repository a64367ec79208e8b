"""HTTP Basic at a node: who guesses passwords has to wait, and gets to know for how long."""

from __future__ import annotations

import asyncio
import base64
import http.client
from pathlib import Path

from qcore.node.access.failed_logins import ADDRESS_FAILURES, FORGET_S
from qcore.node.node import Node
from tests.node.embedded.embedded_nodes import config_of
from tests.transport.support.endpoints import async_test

PASSWORD = "correct horse battery"


def page(address: str, authorization: str) -> tuple[int, str | None, str | None]:
    """Status, and the headers `Retry-After` and `WWW-Authenticate`."""
    connection = http.client.HTTPConnection(address, timeout=20)
    connection.request("GET", "/status", headers={"Authorization": authorization})
    response = connection.getresponse()
    response.read()
    connection.close()
    headers = response.headers
    return response.status, headers["Retry-After"], headers["WWW-Authenticate"]


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@async_test
async def test_failures_of_basic_have_to_wait(tmp_path: Path) -> None:
    async with Node(config_of(1, tmp_path)) as node:
        await node.client.init()
        await node.client.set_user("root", password=PASSWORD, roles=["admin"])

        async def get(authorization: str) -> tuple[int, str | None, str | None]:
            return await asyncio.to_thread(page, node.address, authorization)

        assert (await get(basic("root", PASSWORD)))[0] == 200
        failures = 0
        while (found := await get(basic("root", f"wrong {failures}")))[0] == 401:
            assert found[1] is None
            assert found[2] is not None
            failures += 1
            assert failures < 3 * ADDRESS_FAILURES
        assert failures >= ADDRESS_FAILURES
        status, retry_after, _ = found
        assert status == 429
        assert retry_after is not None
        assert 1 <= int(retry_after) <= FORGET_S + 1
        # The right password has to wait, too: otherwise the answer would show that it is right.
        assert (await get(basic("root", PASSWORD)))[0] == 429
        assert (await get("Bearer x"))[0] == 401


@async_test
async def test_other_web_pages_cannot_try_passwords(tmp_path: Path) -> None:
    async with Node(config_of(1, tmp_path)) as node:
        await node.client.init()
        await node.client.set_user("root", password=PASSWORD, roles=["admin"])
        wrong = {"Authorization": basic("root", "wrong")}
        upgrade = {
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
            "Sec-WebSocket-Version": "13",
        }
        origin = {"Origin": "https://evil.example"}
        for path, headers, status in (
            ("/", {**upgrade, **origin}, 403),
            ("/elsewhere", {**upgrade}, 404),
            ("/status", origin, 403),
            ("/status", {"Host": "evil.example"}, 421),
            ("/status", {"Sec-Fetch-Site": "cross-site"}, 403),
            ("/livez", {"Sec-Fetch-Site": "cross-site"}, 200),
        ):
            for _ in range(ADDRESS_FAILURES):
                found = await asyncio.to_thread(status_of, node.address, path, {**wrong, **headers})
                assert found == status, path
        authorization = basic("root", PASSWORD)
        assert (await asyncio.to_thread(page, node.address, authorization))[0] == 200


def status_of(address: str, path: str, headers: dict[str, str]) -> int:
    connection = http.client.HTTPConnection(address, timeout=20)
    connection.request("GET", path, headers=headers)
    status = connection.getresponse().status
    connection.close()
    return status
