"""WebSocket requests of web pages: which origins a server lets in, and what it answers to the others."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from websockets.datastructures import Headers
from websockets.exceptions import InvalidStatus

from qcore.errors import ConfigError
from qcore.transport.limits import TransportLimits
from qcore.transport.server.origins import AllowedOrigins
from tests.transport.support.endpoints import (
    ask,
    assert_no_errors_logged,
    async_test,
    http,
    plain,
    running_server,
)

PAGE = "http://127.0.0.1:8000"

JUNK = [
    "",
    " ",
    "127.0.0.1:8000",
    "http:/127.0.0.1:8000",
    "http://127.0.0.1:8000/",
    "http://127.0.0.1:8000#",
    "http://127.0.0.1:08000000",
    "http://127.0.0.1:0",
    "http://127.0.0.1:65536",
    "http://user@127.0.0.1:8000",
    "http://127.0.0.1:8000, http://127.0.0.1:8000",
    f"http://{'a' * 5000}:8000/",
    "http://\u0661:8000",
    "NULL",
    "*",
]


@pytest.mark.parametrize(
    ("allowed", "origin"),
    [
        ([PAGE], PAGE),
        ([PAGE], "HTTP://127.0.0.1:8000"),
        (["HTTP://LocalHost:8000"], "http://localhost:8000"),
        (["http://a.example"], "http://a.example:80"),
        (["http://a.example:80"], "http://a.example"),
        (["https://a.example:443"], "https://a.example"),
        (["https://a.example:0443"], "https://a.example"),
        (["http://[::1]:8000"], "http://[::1]:8000"),
        (["https://b.example", "http://a.example"], "http://a.example"),
        (["null"], "null"),
        (["app+x-y.z://abc_d"], "app+x-y.z://ABC_D"),
        (["*"], PAGE),
        (["*"], "null"),
        (["null", "*"], "junk"),
    ],
)
def test_an_origin_of_the_list_is_allowed(allowed: Sequence[str], origin: str) -> None:
    assert AllowedOrigins(allowed).problem([origin]) == ""


@pytest.mark.parametrize(
    ("allowed", "origin"),
    [
        ([], PAGE),
        ([], "null"),
        ([PAGE], "null"),
        ([PAGE], "https://127.0.0.1:8000"),
        ([PAGE], "http://127.0.0.1"),
        ([PAGE], "http://127.0.0.1:8001"),
        ([PAGE], "http://localhost:8000"),
        ([PAGE], "http://127.0.0.1.example:8000"),
        (["http://a.example"], "http://a.example:443"),
        (["https://a.example"], "https://a.example:80"),
        (["http://a.example"], "http://b.a.example"),
        (["null"], PAGE),
    ],
)
def test_another_origin_is_refused_with_advice(allowed: Sequence[str], origin: str) -> None:
    problem = AllowedOrigins(allowed).problem([origin])
    assert problem.startswith(f"web pages of {origin} may not use this node; start it with")
    assert f"--allow-origin {origin} if" in problem or ":80 " in problem or ":443 " in problem


@pytest.mark.parametrize("origin", JUNK)
def test_a_header_that_is_no_origin_is_refused(origin: str) -> None:
    for allowed in (AllowedOrigins(), AllowedOrigins([PAGE, "null"])):
        problem = allowed.problem([origin])
        assert "is not an origin" in problem
        assert len(problem) < 300
    assert AllowedOrigins(["*"]).problem([origin]) == ""


@pytest.mark.parametrize("text", [each for each in JUNK if each != "*"])
def test_a_setting_that_is_no_origin_is_an_error(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^allow_origins: .* is not an origin: write scheme://"):
        AllowedOrigins([PAGE, text])


def test_one_text_in_place_of_a_list_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"is one text; give a list of texts: \['http"):
        AllowedOrigins(PAGE)


def test_each_of_several_headers_must_be_allowed() -> None:
    allowed = AllowedOrigins([PAGE])
    assert allowed.problem([]) == ""
    assert allowed.problem([PAGE, PAGE]) == ""
    assert "http://b.example" in allowed.problem([PAGE, "http://b.example"])


def page(origin: str, **more: str) -> Headers:
    return Headers({"Origin": origin, **more})


@async_test
async def test_a_page_is_let_in_only_if_it_is_allowed(caplog: pytest.LogCaptureFixture) -> None:
    async with running_server(origins=AllowedOrigins([PAGE])) as (server, handler, address):
        async with plain(address, additional_headers=page(PAGE)) as socket:
            reply = await ask(socket, {"GetMetrics": {"id": "1"}})
            assert reply["GetMetricsResponse"]["id"] == "1"
        async with plain(address) as socket:  # a program sends no origin
            assert "GetMetricsResponse" in await ask(socket, {"GetMetrics": {"id": "2"}})
        opened = len(handler.opened)
        # A page cannot send the header of a role. If it could, that would not help it.
        for role in ({}, {"Qcore-Role": "peer"}, {"Qcore-Role": "admin"}):
            with pytest.raises(InvalidStatus) as refused:
                await plain(address, additional_headers=page("http://b.example", **role))
            response = refused.value.response
            assert response.status_code == 403
            assert b"start it with --allow-origin http://b.example if you trust" in response.body
        assert len(handler.opened) == opened
        assert server.stats.policy_violations == 3
    assert "web pages of http://b.example may not use this node" in caplog.text
    assert_no_errors_logged(caplog)


@async_test
async def test_no_page_is_allowed_unless_configured(caplog: pytest.LogCaptureFixture) -> None:
    async with running_server() as (_, handler, address):
        for origin in (PAGE, f"http://{address}", "null", *JUNK[:-4]):
            with pytest.raises(InvalidStatus) as refused:
                await plain(address, additional_headers=page(origin))
            assert refused.value.response.status_code == 403
        assert not handler.opened
    assert_no_errors_logged(caplog)


@async_test
async def test_junk_in_the_header_is_escaped(caplog: pytest.LogCaptureFixture) -> None:
    async with running_server() as (_, _, address):
        answer = await http(
            address,
            b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
            b"Origin: http://\xe2\x80\xae\xff/\r\n\r\n",
        )
        assert answer.startswith(b"HTTP/1.1 40")
        assert b"\xff" not in answer
        assert b"\xe2\x80\xae" not in answer
    assert_no_errors_logged(caplog)


@async_test
async def test_a_plain_get_needs_no_allowed_origin() -> None:
    """A browser shows its answer only to pages of the node's origin, and the node has none."""
    async with running_server() as (_, _, address):
        answer = await http(address, b"GET /livez HTTP/1.1\r\nHost: a\r\nOrigin: http://b\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200")
        assert b"access-control" not in answer.lower()


@async_test
async def test_refused_pages_take_no_place_of_a_client() -> None:
    async with running_server(limits=TransportLimits(max_clients=1)) as (_, _, address):
        for _ in range(3):
            with pytest.raises(InvalidStatus):
                await plain(address, additional_headers=page(PAGE))
        async with plain(address) as socket:
            assert "GetMetricsResponse" in await ask(socket, {"GetMetrics": {"id": "1"}})
