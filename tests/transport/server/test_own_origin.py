"""Web pages that the nodes themselves serve: which may connect, and which only look like one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from websockets.datastructures import Headers
from websockets.exceptions import InvalidStatus

from qcore.security.tls import server_context
from qcore.transport.server.origins import AllowedOrigins
from qcore.transport.server.page_guard import PageGuard
from qcore.transport.server.page_origins import PageOrigins
from tests.security.certificates import Authority
from tests.transport.support.endpoints import (
    RecordingHandler,
    ask,
    async_test,
    http,
    plain,
    running_server,
)

MEMBERS = ("node1.example:8080", "node2.example:8081", "[::1]:8082", "10.0.0.3:80", "no address")


def guard() -> PageGuard:
    return PageGuard(["node1.example"], ["front.example"], AllowedOrigins(), ("/livez",), ("/",))


def problem(headers: Sequence[tuple[str, str]], *, tls: bool = False, known: bool = True) -> str:
    origins = PageOrigins(
        AllowedOrigins(["http://chosen.example"]),
        guard() if known else None,
        uses_tls=tls,
        members=lambda: MEMBERS,
    )
    return origins.problem(Headers(headers))


def asked(origin: str, *hosts: str) -> list[tuple[str, str]]:
    return [("Origin", origin), *(("Host", host) for host in hosts)]


OF_A_NODE = [
    asked("http://node1.example:8080", "node1.example:8080"),
    asked("HTTP://Node1.Example:8080", "node1.example:8080"),
    asked("http://node1.example", "node1.example"),
    asked("http://node1.example", "node1.example:80"),
    asked("http://front.example:9", "front.example:9"),
    asked("http://127.0.0.1:8080", "127.0.0.1:8080"),
    asked("http://localhost:8080", "localhost:8080"),
    asked("http://[::1]:8080", "[::1]:8080"),
    # of another member
    asked("http://node2.example:8081", "node1.example:8080"),
    asked("http://node2.example:8081", "127.0.0.1:8080"),
    asked("http://[::1]:8082", "[::1]:8080"),
    asked("http://10.0.0.3", "node1.example:8080"),
    # allowed by the operator, by whatever name
    asked("http://chosen.example", "rebound.example:8080"),
]


@pytest.mark.parametrize("headers", OF_A_NODE)
def test_a_page_of_a_node_may_connect(headers: list[tuple[str, str]]) -> None:
    assert problem(headers) == ""


OF_ANOTHER_SITE = [
    # A site whose own name stands for the address of the node: DNS rebinding.
    asked("http://rebound.example:8080", "rebound.example:8080"),
    asked("http://node1.example.evil.example:8080", "node1.example.evil.example:8080"),
    asked("http://127.0.0.1.evil.example:8080", "127.0.0.1.evil.example:8080"),
    # Another program on the same host.
    asked("http://node1.example:8000", "node1.example:8080"),
    asked("http://node1.example", "node1.example:8080"),
    asked("http://127.0.0.1:8000", "127.0.0.1:8080"),
    asked("http://localhost:8080", "127.0.0.1:8080"),
    asked("http://node2.example:8080", "node1.example:8080"),
    # Another scheme: this node has no TLS.
    asked("https://node1.example:8080", "node1.example:8080"),
    asked("https://node2.example:8081", "node1.example:8080"),
    asked("https://node1.example", "node1.example"),
    # No origin, several, or none that can be read.
    asked("null", "node1.example:8080"),
    asked("*", "node1.example:8080"),
    asked("", ""),
    asked("http://node1.example:8080/", "node1.example:8080"),
    asked("http://node1.example:8080@evil.example", "node1.example:8080"),
    [("Origin", "http://evil.example"), *asked("http://node1.example", "node1.example")],
    [*asked("http://node1.example", "node1.example"), ("Origin", "http://evil.example")],
    # The host that the browser dialled is not known.
    asked("http://front.example:8080"),
    asked("http://front.example:8080", "front.example:8080", "evil.example"),
    asked("http://evil.example:8080", "node1.example:8080"),
    asked("http://evil.example:8080", "127.0.0.1:8080"),
    asked("http://no address", "no address"),
]


@pytest.mark.parametrize("headers", OF_ANOTHER_SITE)
def test_a_page_of_another_site_may_not_connect(headers: list[tuple[str, str]]) -> None:
    assert problem(headers)


def test_with_tls_a_page_of_a_node_came_over_tls() -> None:
    for host, origin in (("node1.example:8080", "node1.example:8080"), ("localhost", "localhost")):
        assert problem(asked(f"https://{origin}", host), tls=True) == ""
        assert problem(asked(f"http://{origin}", host), tls=True)
    assert problem(asked("https://node2.example:8081", "node1.example:8080"), tls=True) == ""
    assert problem(asked("http://node2.example:8081", "node1.example:8080"), tls=True)


def test_without_known_names_no_page_is_the_nodes_own() -> None:
    assert problem(asked("http://127.0.0.1:8080", "127.0.0.1:8080"), known=False)


@async_test
async def test_a_server_lets_its_own_page_in_and_no_rebound_one() -> None:
    handler = RecordingHandler(members=["node2.example:8081"])
    async with running_server(handler, pages=guard()) as (server, _, address):
        for origin in (f"http://{address}", "http://node2.example:8081"):
            async with plain(address, additional_headers={"Origin": origin}) as socket:
                assert "GetMetricsResponse" in await ask(socket, {"GetMetrics": {"id": "1"}})
        port = address.rpartition(":")[2]
        for headers in (
            {"Origin": f"http://evil.example:{port}", "Host": f"evil.example:{port}"},
            {"Origin": f"https://{address}"},
            {"Origin": "http://node2.example:8082"},
        ):
            with pytest.raises(InvalidStatus) as refused:
                await plain(address, additional_headers=headers)
            assert refused.value.response.status_code == 403
        assert server.stats.policy_violations == 3


@async_test
async def test_the_scheme_of_a_servers_own_page_is_its_own(tmp_path: Path) -> None:
    files = Authority(tmp_path).issue("node")
    async with running_server(pages=guard(), tls=server_context(files)) as (server, _, address):
        assert server.page_origins.problem(Headers(asked(f"https://{address}", address))) == ""
        assert server.page_origins.problem(Headers(asked(f"http://{address}", address)))


@async_test
async def test_the_dashboard_opens_from_a_link_and_by_known_names() -> None:
    async with running_server(pages=guard()) as (_, _, address):
        for status, headers in (
            (426, "Host: node1.example\r\nSec-Fetch-Site: cross-site"),  # this handler has no page
            (426, "Host: localhost"),
            (421, "Host: evil.example"),
        ):
            answer = await http(address, f"GET / HTTP/1.1\r\n{headers}\r\n\r\n".encode())
            assert answer.startswith(f"HTTP/1.1 {status} ".encode()), answer
            assert b"x-content-type-options: nosniff" in answer.lower()
