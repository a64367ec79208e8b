"""Attacks with odd HTTP: origins, hosts, paths, smuggled headers, and TLS that is downgraded or cut off. Rows A2."""

from __future__ import annotations

import contextlib
import socket
import ssl

from tests.process.attacks.strangers.stranger import Target

#: The part of a request after its first line that opens a WebSocket connection.
_UPGRADE = (
    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    "Sec-WebSocket-Version: 13\r\n"
)


def pages_of_other_sites(target: Target) -> None:
    """A2: a web page on any site, also one whose host name was made to lead to the node (DNS rebinding)."""
    address = target.follower.address
    # A page that the node served has its scheme, and the host and port that the browser has dialled.
    other_scheme = "https" if target.tls is None else "http"
    another_program = f"{'http' if target.tls is None else 'https'}://127.0.0.1:8000"
    origins = (
        "http://evil.example",
        f"{other_scheme}://{address}",
        "null",
        "*",
        "",
        "file://",
        another_program,
        f"http://{address}.evil.example",
        f"http://{address}@evil.example",
        "http://evil.example\thttp://localhost",
    )
    for origin in origins:
        host = address if origin == another_program else origin.partition("://")[2] or address
        for name in ("Origin", "oRiGiN", "ORIGIN"):
            with target.stranger(f"{name}: {origin}", host=host) as page:
                assert page.status in (400, 403), origin
    with target.stranger("Origin: http://evil.example", f"Origin: http://{address}") as page:
        assert page.status in (400, 403)


def odd_paths(target: Target) -> None:
    """Paths that a careless check takes for another: they show nothing, and open nothing."""
    address = target.follower.address
    paths = (
        "//status",
        "/./status",
        "/%2e%2e/status",
        "/..%2fstatus",
        "/livez/../status",
        "/livez/%2e%2e/metrics",
        "/livez;/status",
        "/livez%00/status",
        "/livez#/status",
        "/status/",
        "/STATUS",
        "/status%20",
        f"http://{address}/status",
        "http://evil.example/metrics",
        "/../../../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/node.key",
        "/\x1b[2J",
        "/log.db",
        "*",
        "status",
        "\\status",
        "/livez\\..\\status",
        "/" + "a" * 30_000,
    )
    for path in paths:
        lines = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        for request in (f"{lines}\r\n", f"{lines}{_UPGRADE}\r\n"):
            answer = target.http(request)
            assert not answer.startswith((b"HTTP/1.1 200", b"HTTP/1.1 101")), (path, answer[:80])
            assert b"current_term" not in answer
            assert b"root:" not in answer
            assert b"seed" not in answer


def odd_requests(target: Target) -> None:
    """Methods, versions, bodies and requests in a row (smuggling): at most one response, and never of a second page."""
    inner = b"GET /status HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    requests = (
        b"POST /status HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n\r\n",
        b"PUT / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5\r\n\r\nhello",
        b"CONNECT x:1 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"TRACE / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: y\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 39\r\n\r\n" + inner,
        b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        + inner,
        b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: keep-alive\r\n\r\n" + inner,
        b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\nX:\x00y\r\n\r\n" + inner,
        b"GET /livez HTTP/1.1\nHost: 127.0.0.1\n\n" + inner,
        b"GET /livez HTTP/1.1\r\nHost : x\r\n folded: y\r\n\r\n" + inner,
        b"GET /livez HTTP/0.9\r\n\r\n",
        b"GET /livez HTTP/9.9\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET  /status  HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100),
        b"SSH-2.0-x\r\n\r\n",
        b"\r\n" * 1000,
        bytes(range(256)) * 200,
    )
    for request in requests:
        answer = target.http(request, timeout_s=0.4)
        assert answer.count(b"HTTP/1.1 ") <= 1, request[:60]
        assert b"current_term" not in answer


def oversized_heads(target: Target) -> None:
    """A head that is too long, of too many lines, or never ends."""
    many = "".join(f"X-{n}: y\r\n" for n in range(2000))
    requests = (
        "GET / HTTP/1.1\r\nX: " + "y" * 1_000_000 + "\r\n\r\n",
        f"GET / HTTP/1.1\r\n{many}\r\n",
        "GET / HTTP/1.1\r\n" + "Host: 127.0.0.1\r\n" * 1000 + "\r\n",
        "GET /" + "x" * 100_000,
        "x" * 1_000_000,
    )
    for request in requests:
        answer = target.http(request)
        assert not answer.startswith((b"HTTP/1.1 1", b"HTTP/1.1 2")), request[:40]


def odd_upgrades(target: Target) -> None:
    """Requests for a WebSocket connection with wrong or doubled headers, and compression bombs."""
    upgrades = (
        "Upgrade: websocket\r\nConnection: Upgrade\r\n",
        _UPGRADE.replace("13", "8"),
        _UPGRADE.replace("dGhlIHNhbXBsZSBub25jZQ==", "short"),
        _UPGRADE.replace("websocket", "h2c"),
        _UPGRADE + "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
    )
    for upgrade in upgrades:
        answer = target.http(f"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n{upgrade}\r\n")
        assert not answer.startswith(b"HTTP/1.1 101"), upgrade
    offer = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"
    with target.stranger(offer, "Sec-WebSocket-Protocol: admin") as stranger:
        assert b"permessage-deflate" not in stranger.received, (
            "a small frame could become a large one"
        )


def tls_tricks(target: Target) -> None:
    """No SNI, an odd SNI, old versions, weak suites, plain text, and a handshake that is cut off everywhere."""
    if target.tls is None:
        return
    host, _, port = target.follower.address.rpartition(":")
    for name in (None, "evil.example", "x" * 63 + ".example", "127.0.0.1"):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        plain = socket.create_connection((host, int(port)), timeout=5)
        with contextlib.suppress(OSError), context.wrap_socket(plain, server_hostname=name) as odd:
            odd.sendall(b"GET /status HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            answer = odd.recv(1 << 16)
            target.got.append(answer)
            assert answer.startswith(b"HTTP/1.1 401"), "without a user, no page"
    for version in (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_ciphers("ALL:@SECLEVEL=0")
        _set_versions(context, version)
        plain = socket.create_connection((host, int(port)), timeout=5)
        try:
            context.wrap_socket(plain)
        except OSError:
            plain.close()
        else:
            raise AssertionError(f"{version.name} was accepted")
    hello = _client_hello()
    for cut in (1, 5, 6, 40, len(hello) - 1):
        with target.wire(tls=False) as wire:
            wire.send(hello[:cut])
            wire.socket.shutdown(socket.SHUT_WR)
            wire.read_to_end(2)
    with target.wire(tls=False) as wire:
        wire.send(b"GET /status HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert b"200" not in wire.read_to_end(2)


def _set_versions(context: ssl.SSLContext, version: ssl.TLSVersion) -> None:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = version


def _client_hello() -> bytes:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    out = ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), out).do_handshake()
    return out.read()


ATTACKS = (
    pages_of_other_sites,
    odd_paths,
    odd_requests,
    oversized_heads,
    odd_upgrades,
    tls_tricks,
)
