"""Requests of web pages for the HTTP pages of a node: by which names, and from which sites, they are answered."""

from __future__ import annotations

from pathlib import Path

import pytest

from qcore.errors import ConfigError
from qcore.node.config import NodeConfig
from qcore.testing import LocalCluster
from qcore.transport.address import Address
from qcore.transport.server.page_guard import PageGuard
from tests.transport.support.endpoints import (
    assert_no_errors_logged,
    async_test,
    http,
    running_server,
)

PAGE = "http://127.0.0.1:8000"


def guard() -> PageGuard:
    """The guard of a node with a listening host, a second name and a page that may read."""
    return NodeConfig.of(
        1,
        Path("d"),
        ws_addr=Address("Node1.example", 8080),
        advertise_addr=Address("front.example", 80),
        allow_hosts=["Alias.example."],
        allow_origins=[PAGE],
    ).page_guard()


def request(path: str, *headers: str) -> bytes:
    """A GET, as it is sent."""
    return "\r\n".join((f"GET {path} HTTP/1.1", *headers, "", "")).encode("latin-1")


REQUESTS = [
    (200, ["Host: 127.0.0.1"]),
    (200, ["Host: 10.1.2.3:8080"]),
    (200, ["Host: [::1]:8080"]),
    (200, ["Host: localhost:8080"]),
    (200, ["Host: LOCALHOST."]),
    (200, ["Host: node1.example:8080"]),
    (200, ["Host: front.example"]),
    (200, ["Host: alias.example:9"]),
    (421, ["Host: evil.example:8080"]),
    (421, ["Host: localhost.evil.example"]),
    (421, ["Host: 127.0.0.1.evil.example"]),
    (421, ["Host: 127.0.0.1@evil.example"]),
    (421, ["Host: [evil]"]),
    (421, ["Host: [::zz]"]),
    (421, ["Host: "]),
    (421, []),
    (421, ["Host: localhost", "Host: evil.example"]),
    (421, ["Host: evil.example", f"Origin: {PAGE}"]),
    (200, ["Host: localhost", f"Origin: {PAGE}"]),
    (200, ["Host: localhost", f"Origin: {PAGE}", "Sec-Fetch-Site: cross-site"]),
    (403, ["Host: localhost", "Origin: http://evil.example"]),
    (403, ["Host: localhost", "Origin: null"]),
    (403, ["Host: localhost", f"Origin: {PAGE}", "Origin: http://evil.example"]),
    (403, ["Host: localhost", "Sec-Fetch-Site: cross-site"]),
    (403, ["Host: localhost", "Sec-Fetch-Site: same-site"]),
    (200, ["Host: localhost", "Sec-Fetch-Site: same-origin"]),
    (200, ["Host: localhost", "Sec-Fetch-Site: none"]),
]


@async_test
async def test_a_page_is_given_only_by_a_known_name(caplog: pytest.LogCaptureFixture) -> None:
    async with running_server(pages=guard()) as (server, _, address):
        for status, headers in REQUESTS:
            # The handler of these tests knows no such page, so a request that passes gets 404.
            answer = await http(address, request("/status", *headers))
            expected = 404 if status == 200 else status
            assert answer.startswith(f"HTTP/1.1 {expected} ".encode()), (headers, answer)
            probe = await http(address, request("/livez", *headers))
            assert probe.startswith(b"HTTP/1.1 200 "), (headers, probe)
        refused = sum(status != 200 for status, _ in REQUESTS)
        assert server.stats.policy_violations == refused
    assert_no_errors_logged(caplog)


@async_test
async def test_junk_in_the_host_is_not_repeated_raw() -> None:
    async with running_server(pages=guard()) as (_, _, address):
        answer = await http(address, request("/status?x", "Host: \xe2\x80\xae\xff" + "a" * 3000))
        assert answer.startswith(b"HTTP/1.1 421 ")
        assert b"\xff" not in answer
        long = await http(address, request("/status", "Host: " + "a" * 3000))
        assert long.startswith(b"HTTP/1.1 421 ")
        assert len(long) < 2000


@pytest.mark.parametrize("host", ["", "*", "http://a", "a:80", "a b", "é", "a/b"])
def test_a_setting_that_is_no_host_name_is_an_error(host: str) -> None:
    with pytest.raises(ConfigError, match=r"allow_hosts: .* is not a host name"):
        NodeConfig.of(1, Path("d"), allow_hosts=[host])


@pytest.mark.process
def test_a_real_node_hides_its_pages_from_other_names() -> None:
    with LocalCluster(1, settings={"allow_hosts": ["alias.example"]}) as cluster:
        (address,) = cluster.endpoints

        @async_test
        async def ask() -> None:
            for path in ("/status", "/metrics", "/nothing"):
                for host in ("evil.example", "evil.example:8080"):
                    answer = await http(address, request(path, f"Host: {host}"))
                    assert answer.startswith(b"HTTP/1.1 421 ")
                    assert b"qcore_" not in answer
                    assert b"term" not in answer
            for host in ("alias.example", address):
                assert b" 200 " in await http(address, request("/metrics", f"Host: {host}"))
            for path in ("/livez", "/readyz"):
                assert b" 200 " in await http(address, request(path, "Host: evil.example"))

        ask()
